"""Measure what a vector added in the middle of a model does to the words of an ontology."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from stages.concepts.interrupted_pass import Prefix, last_logits, run_prefix
from stages.concepts.ontologies.hierarchy import Hierarchy


class WordColumns(NamedTuple):
    """The columns of the logits of W words, and which of them a kind should move."""

    ids: np.ndarray
    """(W,) token ids."""
    held_out_members: dict[str, np.ndarray]
    """The held-out words under each kind."""
    members: dict[str, np.ndarray]
    """All words under each kind."""
    rivals: dict[str, list[str]]
    """The other kinds as deep as each kind."""
    held_out: np.ndarray
    """All held-out words."""


def word_columns(hierarchy: Hierarchy, ids: np.ndarray) -> WordColumns:
    """Return the columns of a hierarchy whose words have the token ids ``ids`` (W,), in its order."""
    index = {word: i for i, word in enumerate(hierarchy.words)}
    members = {kind: [index[word] for word in hierarchy.members(kind)] for kind in hierarchy.kinds}
    held_out = {index[word] for word in hierarchy.held_out}
    depth = {kind: len(hierarchy.ancestry(kind)) for kind in hierarchy.kinds}
    rivals = {
        kind: [rival for rival in hierarchy.kinds if rival != kind and depth[rival] == depth[kind]]
        for kind in hierarchy.kinds
    }
    return WordColumns(
        np.asarray(ids),
        {kind: np.array([i for i in words if i in held_out]) for kind, words in members.items()},
        {kind: np.array(words) for kind, words in members.items()},
        rivals,
        np.array(sorted(held_out)),
    )


def columns_of_word(word: str, hierarchy: Hierarchy, columns: WordColumns) -> WordColumns:
    """Return the columns for one word among those of its kind: what a child should move."""
    members = columns.members[hierarchy.words[word]]
    names = np.array(list(hierarchy.words))[members].tolist()
    index = {name: np.array([i]) for name, i in zip(names, members, strict=True)}
    rivals = {word: [name for name in index if name != word]}
    return WordColumns(columns.ids, index, {word: members}, rivals, members)


class Baseline(NamedTuple):
    """The state of C contexts without an intervention."""

    prefix: Prefix
    logits: torch.Tensor
    """(C, vocabulary)."""


def read_baseline(model: PreTrainedModel, rows: Sequence[np.ndarray], layer: int) -> Baseline:
    """Run contexts (token ids) through the model, and keep what an intervention after block ``layer`` starts from."""
    prefix = run_prefix(model, rows, layer)
    return Baseline(prefix, last_logits(model, prefix))


def effects(
    model: PreTrainedModel, delta: np.ndarray, kind: str, columns: WordColumns, baseline: Baseline
) -> dict[str, float]:
    """Return the effects of adding ``delta`` (C, d) or (d,) to the middle state at each context's end, meant for ``kind``.

    on_target         rise of the mean logit of its held-out words over that of all other held-out words
    effect_size       its mean over its sd over contexts
    off_target        mean over rival kinds of the absolute rise of the same contrast of theirs
    sibling_contrast  sd of the rise over the held-out words of the kind: what should not move
    success, success_before   share of contexts in which the kind is ahead of its rivals, after and before
    ratio_kl          KL(before || after) in nats of the words under the kind, given that it is one of them: 0 where
                      their ratios stay
    all_kl            the same of the whole next token: how much is changed at all

    A kind that is alone at its depth has no rivals, one with all words no others: what needs them is NaN.
    """
    added = np.broadcast_to(delta, (len(baseline.logits), np.shape(delta)[-1])).copy()
    changed = last_logits(model, baseline.prefix, torch.as_tensor(added, dtype=torch.float32))
    words = [logits[:, columns.ids].double().cpu().numpy() for logits in (baseline.logits, changed)]
    rise = words[1] - words[0]  # (C, W)
    rises = {
        name: _contrast(rise, columns.held_out_members[name], columns.held_out)
        for name in (kind, *columns.rivals[kind])
    }  # (C,) of each kind
    ahead = [np.mean(_ahead(logits, kind, columns)) if columns.rivals[kind] else np.nan for logits in words]
    members = [_log_softmax(logits[:, columns.members[kind]]) for logits in words]
    vocabulary = [_log_softmax(logits.double().cpu().numpy()) for logits in (baseline.logits, changed)]
    return {
        "on_target": float(rises[kind].mean()),
        "effect_size": _effect_size(rises[kind]),
        "off_target": float(np.mean([abs(rises[rival].mean()) for rival in columns.rivals[kind]] or [np.nan])),
        "sibling_contrast": float(rise[:, columns.held_out_members[kind]].std(axis=1).mean()),
        "success": float(ahead[1]),
        "success_before": float(ahead[0]),
        "ratio_kl": _kl(*members),
        "all_kl": _kl(*vocabulary),
    }


def _effect_size(rises: np.ndarray) -> float:
    """Return mean over sd of (C,); 0 where nothing varies and nothing rises."""
    spread = rises.std(ddof=1)
    return 0.0 if spread == 0 else float(rises.mean() / spread)


def _contrast(rise: np.ndarray, members: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return (C,) the mean rise of a kind's words less that of all other held-out words."""
    rest = np.setdiff1d(held_out, members)
    if not len(rest):
        return np.full(len(rise), np.nan)
    return rise[:, members].mean(axis=1) - rise[:, rest].mean(axis=1)


def _ahead(logits: np.ndarray, kind: str, columns: WordColumns) -> np.ndarray:
    """Return (C,) whether the mean logit of the kind's held-out words is above that of every rival's."""
    means = {name: logits[:, columns.held_out_members[name]].mean(axis=1) for name in (kind, *columns.rivals[kind])}
    return np.all([means[kind] > means[rival] for rival in columns.rivals[kind]], axis=0)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> float:
    """Return the mean over contexts of KL(p || q), nats."""
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def dose_rows(
    model: PreTrainedModel,
    vectors: Mapping[str, np.ndarray],
    strengths: Sequence[float],
    unit: float,
    columns: WordColumns,
    baseline: Baseline,
) -> Iterator[dict]:
    """Yield a row of effects for each kind and strength: its vector (d,), brought to ``strength`` times ``unit``."""
    for kind, vector in vectors.items():
        direction = vector / np.linalg.norm(vector)
        for strength in strengths:
            row = effects(model, strength * unit * direction, kind, columns, baseline)
            yield {"kind": kind, "strength": strength} | row
