"""Names of sites, as TransformerLens writes them, and of the stages that make a model's files."""

from __future__ import annotations

import re

ORGANISM = re.compile(r"(\w+)-s(\d+)")
"""``{organism}-s{seed}``; any other name is that of a hub or local model."""

SITE_NAMES = ("resid_pre", "resid_mid", "resid_post")
"""Input of a block; the point between its attention and its MLP; its output."""


def hook_name(site: str, layer: int) -> str:
    """For example ``blocks.3.hook_resid_mid``."""
    return f"blocks.{layer}.hook_{site}"


def stage_of(kind: str, model: str) -> str:
    """The stage that collects or measures ``model``: ``collect@sft-0`` for sft-s0, ``collect-model@gpt2`` for gpt2."""
    organism = ORGANISM.fullmatch(model)
    return f"{kind}@{organism[1]}-{organism[2]}" if organism else f"{kind}-model@{model}"
