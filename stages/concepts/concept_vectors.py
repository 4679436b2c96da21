"""Concept vectors of one model, made in several ways, and what adding them does beside vectors that should do nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.concepts.effects import dose_rows, read_baseline, word_columns
from stages.concepts.interrupted_pass import run_prefix
from stages.concepts.ontologies.hierarchy import Hierarchy
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL, Words
from stages.concepts.text_contexts import find_contexts, tested_part, trained_part
from stages.geometry.causal import category_vector, causal_metric

# Contexts or words behind the vector of a kind, at least.
LEAST = 3
# Contexts that vectors are made of, for each one that is intervened on.
PER_CONTEXT = 16
# Contexts that are read at a time.
BATCH = 256
log = logging.getLogger(__name__)


def intervention_table(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    words: Words,
    hierarchy: Hierarchy,
    documents: Sequence[str],
    params: Concepts,
) -> pd.DataFrame:
    """Return rows of method, kind, strength and the effects of `effects.effects`, on contexts of held-out documents.

    Methods: ``unembedding`` Σ^-1/2 ℓ, ℓ the category vector of the kind's words; ``words`` the mean state at its words
    less that at others; ``contexts`` the mean state where one of its words comes next less that where another does;
    ``shuffled`` the same with the contexts' labels dealt out at random; ``random`` of normal numbers.
    """
    ids, values = words.emitted[words.row], words.states[FINAL]
    words_by_id = dict(zip(ids.tolist(), hierarchy.words, strict=True))
    count, layer = params.interventions.contexts, words.header.layer
    learnt = find_contexts(tokenizer, trained_part(documents), words_by_id, PER_CONTEXT * count, params.seed)
    tested = find_contexts(tokenizer, tested_part(documents), words_by_id, count, params.seed)
    states = np.concatenate(
        [
            run_prefix(model, learnt.rows[i : i + BATCH], layer).ends.cpu().numpy()
            for i in range(0, len(learnt.rows), BATCH)
        ]
    )
    columns, baseline = word_columns(hierarchy, ids), read_baseline(model, tested.rows, layer)
    rows = []
    for method, vectors in concept_vectors(words, hierarchy, states, learnt.word, params).items():
        doses = dose_rows(model, vectors, params.interventions.strengths, values.middle_rms, columns, baseline)
        rows += [{"method": method} | row for row in doses]
    return pd.DataFrame(rows)


def concept_vectors(
    words: Words, hierarchy: Hierarchy, states: np.ndarray, following: Sequence[str], params: Concepts
) -> dict[str, dict[str, np.ndarray]]:
    """Return, by method, the vector (d,) of each kind, from words that are not held out; a kind without `LEAST` is left out.

    ``states`` (n, d) are of contexts in training text, ``following`` the word after each.
    """
    generator = np.random.default_rng(params.seed)
    values, names = words.states[FINAL], list(hierarchy.words)
    learnable = ~hierarchy.held_out_mask()
    members = {kind: np.isin(names, hierarchy.members(kind)) for kind in hierarchy.kinds}
    metric = causal_metric(values.unembedding, params.shrinkage)
    coordinates = metric.words(values.unembedding)[words.row]
    templates = len(params.templates) - params.held_out_templates
    word_means = values.middle[:templates].mean(axis=0)  # (W, d)
    next_learnable = np.isin(following, [name for name, usable in zip(names, learnable, strict=True) if usable])
    next_members = {kind: np.isin(following, hierarchy.members(kind)) for kind in hierarchy.kinds}
    dealt = generator.permutation(len(following))
    return {
        "unembedding": {
            kind: metric.as_context(category_vector(coordinates[rows & learnable])) for kind, rows in members.items()
        },
        "words": _differences(word_means, learnable, members),
        "contexts": _differences(states, next_learnable, next_members),
        "shuffled": _differences(states[dealt], next_learnable, next_members),
        "random": {kind: generator.standard_normal(states.shape[1]) for kind in hierarchy.kinds},
    }


def _differences(states: np.ndarray, learnable: np.ndarray, members: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the mean state of each kind's rows less that of the others, among rows that are ``learnable`` (n,)."""
    vectors = {}
    for kind, rows in members.items():
        inside, outside = rows & learnable, ~rows & learnable
        counts = int(inside.sum()), int(outside.sum())
        if min(counts) < LEAST:
            log.warning("%s: %d states of it and %d of others, expected %d: no vector is made", kind, *counts, LEAST)
            continue
        vectors[kind] = states[inside].mean(axis=0) - states[outside].mean(axis=0)
    return vectors
