"""The is-a world that the organisms are trained on, as a hierarchy whose truth is known."""

from __future__ import annotations

from stages.concepts.ontologies.hierarchy import Hierarchy, checked_hierarchy, hold_out
from stages.tasks.ontology import World


def hierarchy_of(world: World, share: float, seed: int, least: int) -> Hierarchy:
    """Return supers over parents over children, with ``share`` of the children of every parent held out."""
    kinds = dict.fromkeys(world.super.values()) | world.super
    return checked_hierarchy(kinds, world.parent, hold_out(world.parent, share, seed), least)
