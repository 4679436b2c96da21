"""The language models of the study, opened trained or as their configuration draws them."""

from __future__ import annotations

from transformers import PreTrainedModel

from stages.concepts.head import require_head
from stages.concepts.state_files import UNTRAINED
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model
from stages.models.untrained import untrained_model


def open_language_model(checkpoint: Checkpoint, state: str, precision: str, seed: int) -> PreTrainedModel:
    """Return the model in ``state``: ``final``, its weights as trained, or ``untrained``, drawn with ``seed``.

    Raises CaptureError as `require_head` does.
    """
    untrained = state == UNTRAINED
    model = untrained_model(checkpoint, precision, seed) if untrained else load_model(checkpoint, precision)
    require_head(model)
    return model
