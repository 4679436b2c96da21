"""Which models the concepts study reads, each with its reference."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stages.concepts.ontologies.hierarchy import Hierarchy
from stages.concepts.params import Concepts
from stages.shared.params import ParamsError

log = logging.getLogger(__name__)


def subjects_of(params: Concepts, seeds: Sequence[int]) -> dict[str, str]:
    """Organisms of every family, then models, each with its reference; with neither, there is nothing to study."""
    organisms = {f"{name}-s{seed}": f"base-s{seed}" for seed in seeds for name in params.organisms}
    found = organisms | params.models
    if not found:
        log.warning("nothing to read concepts of: concepts.models is empty, and there is no family of organisms")
    return found


def siblings_of(model: str, params: Concepts, seeds: Sequence[int]) -> list[str]:
    """The other models whose reference ``model`` is; ParamsError where it is not its own reference in a study of some."""
    found = subjects_of(params, seeds)
    if found and found.get(model) != model:
        known = [name for name, reference in found.items() if name == reference]
        raise ParamsError(
            f"params.yaml: autoencoders.model {model!r} is no reference of the study: expected one of {', '.join(known)}"
        )
    return [name for name, reference in found.items() if reference == model and name != model]


def without(hierarchy: Hierarchy, left_out: list[str], params: Concepts) -> Hierarchy:
    """The hierarchy as a model's tokenizer leaves it."""
    return hierarchy.without(set(left_out), params.ontology.least_words)
