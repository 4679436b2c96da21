"""The models that the study reads, each with its reference."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stages.concepts.ontologies.hierarchy import Hierarchy
from stages.concepts.params import Concepts
from stages.shared.params import ParamsError

log = logging.getLogger(__name__)


def subjects_of(params: Concepts, seeds: Sequence[int]) -> dict[str, str]:
    """Return organisms of every family, then models, each with its reference; none of them is logged as a warning."""
    organisms = {f"{name}-s{seed}": f"base-s{seed}" for seed in seeds for name in params.organisms}
    subjects = organisms | params.models
    if not subjects:
        log.warning("nothing to read concepts of: concepts.models is empty, and there is no family of organisms")
    return subjects


def siblings_of(model: str, params: Concepts, seeds: Sequence[int]) -> list[str]:
    """Return the other models whose reference ``model`` is.

    Raises ParamsError where there are models to study and ``model`` is none that is its own reference.
    """
    subjects = subjects_of(params, seeds)
    if subjects and subjects.get(model) != model:
        references = [name for name, reference in subjects.items() if name == reference]
        raise ParamsError(
            f"params.yaml: autoencoders.model {model!r} is no reference of the study: expected one of {', '.join(references)}"
        )
    return [name for name, reference in subjects.items() if reference == model and name != model]


def single_token_hierarchy(hierarchy: Hierarchy, left_out: Sequence[str], params: Concepts) -> Hierarchy:
    """Return the hierarchy less the words that a model's tokenizer makes several tokens of."""
    return hierarchy.remove(set(left_out), params.ontology.least_words)
