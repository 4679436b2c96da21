"""Names of the residual-stream sites, as TransformerLens writes them."""

from __future__ import annotations

SITE_NAMES = ("resid_pre", "resid_mid", "resid_post")
"""Input of a block; the point between its attention and its MLP; its output."""


def hook_name(site: str, layer: int) -> str:
    """For example ``blocks.3.hook_resid_mid``."""
    return f"blocks.{layer}.hook_{site}"
