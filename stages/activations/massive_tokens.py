"""Massive tokens: those whose state dwarfs the others', by the one rule of `stages.geometry.norms`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stages.geometry.norms import is_massive, massive_limit


def massive_tokens(hidden: Tensor, limit: float) -> Tensor:
    """Return which tokens of ``hidden`` (..., d) have a norm above ``limit``: (...) bool, on the same device."""
    return torch.from_numpy(is_massive(_norms(hidden), limit)).to(hidden.device)


def massive_in_texts(hidden: Tensor, content: np.ndarray) -> np.ndarray:
    """Return which tokens of ``hidden`` (batch, length, d) are massive beside the ``content`` tokens of their own text.

    Their norm exceeds ten medians of those, so that it does not matter what else is in the batch: (batch, length) bool.
    """
    norms = _norms(hidden)
    return is_massive(norms, massive_limit(np.where(content, norms, np.nan))[:, None])


def _norms(hidden: Tensor) -> np.ndarray:
    return torch.linalg.vector_norm(hidden, dim=-1, dtype=torch.float64).cpu().numpy()
