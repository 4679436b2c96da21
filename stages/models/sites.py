"""The capture map: where each architecture has its residual-stream sites.

One row per `model_type` of the Hugging Face configuration. Module names mislead (`post_attention_layernorm`
reads resid_mid on Llama and the raw attention output on OLMo-2 and OLMo-3), so every row is checked on the
loaded model by `capture.self_test`. A new architecture is one row here; the tests then ask for a tiny model of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from stages.models.names import SITE_NAMES
from stages.shared.registry import did_you_mean

Side = Literal["input", "output"]


class CaptureError(ValueError):
    """A site does not exist or is not where the table says; the message names the family, the site and the choices."""


class Sites(NamedTuple):
    """The module names of one family: ``blocks`` from the base model (without its head), the others from a block."""

    blocks: str
    mid: str | None
    """The module whose input is resid_mid; None where no such point exists."""
    attention: str
    """The module whose output is what attention adds to the residual stream."""
    mlp: str
    """The module whose output is what the MLP adds."""
    why_no_mid: str = ""


_PRE_NORM = Sites("layers", mid="post_attention_layernorm", attention="self_attn", mlp="mlp")
# The norm follows the sublayer, so what is added is the norm's output, and the MLP reads the stream itself.
_POST_NORM = Sites("layers", mid="mlp", attention="post_attention_layernorm", mlp="post_feedforward_layernorm")
_SANDWICH = Sites(
    "layers", mid="pre_feedforward_layernorm", attention="post_attention_layernorm", mlp="post_feedforward_layernorm"
)

SITES: dict[str, Sites] = {
    "llama": _PRE_NORM,
    "mistral": _PRE_NORM,
    "qwen2": _PRE_NORM,
    "qwen3": _PRE_NORM,
    "phi3": _PRE_NORM,
    "olmo": _PRE_NORM,
    "olmo2": _POST_NORM,
    "olmo3": _POST_NORM,
    "gemma2": _SANDWICH,
    "gemma3_text": _SANDWICH,
    "gemma3": _SANDWICH._replace(blocks="language_model.layers"),  # the checkpoints that also see images
    "gpt2": Sites("h", mid="ln_2", attention="attn", mlp="mlp"),
    # Its post_attention_layernorm reads resid_pre, whatever its name says.
    "gpt_neox": Sites(
        "layers",
        mid=None,
        attention="attention",
        mlp="mlp",
        why_no_mid="attention and MLP run in parallel, both on resid_pre",
    ),
    # The same model_type with use_parallel_residual=False: see family_of.
    "gpt_neox_sequential": Sites("layers", mid="post_attention_layernorm", attention="attention", mlp="mlp"),
}


def family_of(config) -> str:
    """Return the table's key for a Hugging Face configuration: its `model_type`; raise CaptureError where it has no row."""
    family = require_family(config.model_type)
    return "gpt_neox_sequential" if family == "gpt_neox" and not config.use_parallel_residual else family


def require_family(model_type: str) -> str:
    """Return ``model_type`` itself; raise CaptureError listing the known ones, and how to add a row, where it has none."""
    if model_type not in SITES:
        raise CaptureError(
            f"unknown architecture: model_type {model_type!r}; known: {', '.join(SITES)}. To add it, write one row in "
            "stages/models/sites.py: the module whose input is resid_mid, and those whose outputs attention and MLP add to the stream"
        )
    return model_type


def sites_of(family: str) -> tuple[str, ...]:
    """Return the sites that exist in ``family``."""
    return tuple(site for site in SITE_NAMES if site != "resid_mid" or SITES[family].mid is not None)


def require_sites(family: str, sites: Sequence[str]) -> None:
    """Raise CaptureError unless every one of ``sites`` exists in ``family``."""
    choices = sites_of(family)
    for site in sites:
        if site in choices:
            continue
        hint = did_you_mean(site, choices).strip() or "no such site"
        reason = SITES[family].why_no_mid if site == "resid_mid" else hint
        raise CaptureError(
            f"{site!r} does not exist in {family}: {reason}; choose collect.sites from {', '.join(choices)}"
        )


def locate(family: str, point: str) -> tuple[str, Side]:
    """Return the module (relative to a block, "" is the block itself) and the side of it where ``point`` is read.

    ``point`` is a site, or ``attention`` or ``mlp`` for what these add to the stream.
    """
    row = SITES[family]
    return {
        "resid_pre": ("", "input"),
        "resid_mid": (row.mid, "input"),
        "resid_post": ("", "output"),
        "attention": (row.attention, "output"),
        "mlp": (row.mlp, "output"),
    }[point]
