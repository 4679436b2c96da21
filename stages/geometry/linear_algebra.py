"""The costly linear algebra of the measures, in float64: on the processor through numpy, or on a GPU through torch.

Unless `use` says otherwise each function is one call of numpy, to the bit. After ``use("cuda")`` each sends its matrix
to the GPU and takes the result back: rows (n, d) for their Gram matrix or triangular factor, Gram matrices (m, m), m =
min(n, d), for their eigenvalues and vectors. Nothing stays on the GPU. Eigenvectors come out up to sign, which no
measure sees. Measures agree to 1e-9 through torch on the processor, where the tests compare them, and are held to 1e-6
on a GPU where the tests find one; not to the bit, so take one device for a whole study.

When it pays (by counting operations: it has not been timed on a GPU yet): the arithmetic grows with m³ and n d m, what
is sent with m² and n d, so with some hundred prompts of a 7B model (d = 4096), on a card with fast float64. The
matrices of organisms (d = 64) take longer to send than to factorise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# What `use` accepts, before a number.
DEVICES = ("cpu", "cuda", "auto", "mps")
# The device that torch computes on; None is numpy. One for the process: the threads that measure sites share it.
_device: str | None = None


class DeviceError(ValueError):
    """The device asked for is unknown or missing; the message names those that exist, and the fix."""


def use(device: str) -> None:
    """Compute on ``device`` from now on: cpu (numpy), cuda or cuda:1, or auto for cuda where there is one.

    mps, where models may run, has no float64: numpy too. Raises DeviceError on another name, and on a CUDA device that
    is not there.
    """
    global _device
    if device.partition(":")[0] not in DEVICES:
        raise DeviceError(f"DEVICE is {device!r}: expected one of {', '.join(DEVICES)}; unset, measures take cpu")
    if device == "auto":
        device = "cuda" if _cuda_is_available() else "cpu"
    elif device.startswith("cuda"):
        _require_usable(device)
    _device = device if device.startswith("cuda") else None


def gram(x: np.ndarray) -> np.ndarray:
    """Return x' x (..., d, d) of ``x`` (..., n, d)."""
    if _device is None:
        return np.swapaxes(x, -1, -2) @ x
    sent = _send(x)
    return _fetch(sent.mT @ sent)


def eigvalsh(symmetric: np.ndarray) -> np.ndarray:
    """Return the eigenvalues (..., m), ascending, of ``symmetric`` (..., m, m), of which the lower triangle is read."""
    if _device is None:
        return np.linalg.eigvalsh(symmetric)
    import torch

    return _fetch(torch.linalg.eigvalsh(_send(symmetric)))


def eigh(symmetric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (..., m), ascending, and orthonormal eigenvectors (..., m, m), columns, of ``symmetric``."""
    if _device is None:
        return np.linalg.eigh(symmetric)
    import torch

    values, vectors = torch.linalg.eigh(_send(symmetric))
    return _fetch(values), _fetch(vectors)


def triangular_factor(x: np.ndarray) -> np.ndarray:
    """Return the upper triangular R (d, d) with R' R = x' x, of ``x`` (n, d), n >= d, up to the signs of its rows.

    Without Q, in half the time.
    """
    if _device is None:
        return np.linalg.qr(x, mode="r")
    import torch

    return _fetch(torch.linalg.qr(_send(x), mode="r").R)


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


def _require_usable(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise DeviceError(
            f"DEVICE is {device!r}, but torch finds no such device here ({error}): set DEVICE=cpu or auto, "
            "or install a driver and a build of torch for it"
        ) from error


def _send(x: np.ndarray) -> torch.Tensor:
    import torch

    return torch.tensor(x, dtype=torch.float64, device=_device)


def _fetch(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
