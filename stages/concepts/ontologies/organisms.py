"""The is-a world that the organisms are trained on, as a hierarchy whose truth is known."""

from __future__ import annotations

from stages.concepts.ontologies.hierarchy import Hierarchy, hold_out, sound
from stages.tasks.ontology import World


def hierarchy_of(world: World, share: float, seed: int, least: int) -> Hierarchy:
    """Supers over parents over children; ``share`` of the children of every parent held out."""
    kinds = dict.fromkeys(world.super.values()) | world.super
    return sound(kinds, world.parent, hold_out(world.parent, share, seed), least)
