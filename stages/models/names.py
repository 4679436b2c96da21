"""Names of sites, as TransformerLens writes them, and of the stages that make a model's files."""

from __future__ import annotations

from stages.shared.study import ORGANISM

# Input of a block; the point between its attention and its MLP; its output.
SITE_NAMES = ("resid_pre", "resid_mid", "resid_post")


def hook_name(site: str, layer: int) -> str:
    """Return the hook's name in TransformerLens, for example ``blocks.3.hook_resid_mid``."""
    return f"blocks.{layer}.hook_{site}"


def stage_of(verb: str, model: str, suffix: str = "model") -> str:
    """Return the stage that makes a file of ``model``: ``collect@sft-0`` for sft-s0, ``collect-model@gpt2`` for gpt2.

    ``suffix`` is the ending of stages whose cells are no organisms.
    """
    organism = ORGANISM.fullmatch(model)
    return f"{verb}@{organism[1]}-{organism[2]}" if organism else f"{verb}-{suffix}@{model}"


def recipe_of(model: str) -> str:
    """Return the recipe of an organism, whatever its family; any other model stands for itself."""
    organism = ORGANISM.fullmatch(model)
    return organism[1] if organism else model
