"""Interventions with concept vectors of one model: made in four ways, each beside vectors that should do nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.concepts.effects import before, each, groups
from stages.concepts.intervention import run_prefix
from stages.concepts.ontologies.hierarchy import Hierarchy
from stages.concepts.params import Concepts
from stages.concepts.state_files import States, Words
from stages.concepts.text_contexts import find_contexts, tested_part, trained_part
from stages.geometry.causal import category_vector, causal_metric

LEAST = 3
"""Contexts or words behind the vector of a kind."""
PER_CONTEXT = 16
"""Contexts that vectors are made of, for each one that is intervened on."""
BATCH = 256
log = logging.getLogger(__name__)


def intervene(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Words, values: States, hierarchy: Hierarchy,
    documents: Sequence[str], params: Concepts,
) -> pd.DataFrame:  # fmt: skip
    """Rows: method, kind, strength and the effects of `steering.effects`, on contexts of held-out documents.

    Methods: ``unembedding`` Σ^-1/2 ℓ, ℓ the category vector of the kind's words; ``words`` the mean state at its words
    less that at others; ``contexts`` the mean state where one of its words comes next less that where another does;
    ``shuffled`` the same with the contexts' labels dealt out at random; ``random`` of normal numbers.
    """
    ids = words.emitted[words.row]
    by_id = dict(zip(ids.tolist(), hierarchy.words, strict=True))
    count, layer = params.interventions.contexts, words.header.layer
    learnt = find_contexts(tokenizer, trained_part(documents), by_id, PER_CONTEXT * count, params.seed)
    tested = find_contexts(tokenizer, tested_part(documents), by_id, count, params.seed)
    states = np.concatenate(
        [
            run_prefix(model, learnt.rows[i : i + BATCH], layer).ends.cpu().numpy()
            for i in range(0, len(learnt.rows), BATCH)
        ]
    )
    of, start = groups(hierarchy, ids), before(model, tested.rows, layer)
    rows = []
    for method, vectors in concept_vectors(words, values, hierarchy, states, learnt.word, params).items():
        found = each(model, vectors, params.interventions.strengths, values.middle_rms, of, start)
        rows += [{"method": method} | row for row in found]
    return pd.DataFrame(rows)


def concept_vectors(
    words: Words, values: States, hierarchy: Hierarchy, states: np.ndarray, following: Sequence[str], params: Concepts
) -> dict[str, dict[str, np.ndarray]]:
    """Of every method the vector (d,) of each kind, from words that are not held out; a kind without `LEAST` is left out.

    ``states`` (n, d) are of contexts in training text, ``following`` the word after each.
    """
    generator = np.random.default_rng(params.seed)
    names = list(hierarchy.words)
    known = np.array([word not in hierarchy.held_out for word in names])
    under = {kind: np.isin(names, hierarchy.members(kind)) for kind in hierarchy.kinds}
    metric = causal_metric(values.unembedding, params.shrinkage)
    coordinates = metric.words(values.unembedding)[words.row]
    learnt = len(params.templates) - params.held_out_templates
    at_words = values.middle[:learnt].mean(axis=0)  # (W, d)
    next_known = np.isin(following, [name for name, kept in zip(names, known, strict=True) if kept])
    next_under = {kind: np.isin(following, hierarchy.members(kind)) for kind in hierarchy.kinds}
    dealt = generator.permutation(len(following))
    return {
        "unembedding": {
            kind: metric.as_context(category_vector(coordinates[own & known])) for kind, own in under.items()
        },
        "words": _differences(at_words, known, under),
        "contexts": _differences(states, next_known, next_under),
        "shuffled": _differences(states[dealt], next_known, next_under),
        "random": {kind: generator.standard_normal(states.shape[1]) for kind in hierarchy.kinds},
    }


def _differences(states: np.ndarray, known: np.ndarray, under: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean state of each kind's rows less that of the others, of rows that are known."""
    found = {}
    for kind, own in under.items():
        counts = int((own & known).sum()), int((~own & known).sum())
        if min(counts) < LEAST:
            log.warning("%s: %d states of it and %d of others, expected %d: no vector is made", kind, *counts, LEAST)
            continue
        found[kind] = states[own & known].mean(axis=0) - states[~own & known].mean(axis=0)
    return found
