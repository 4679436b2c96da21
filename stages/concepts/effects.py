"""What a vector added in the middle of a model does to the words of an ontology."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from stages.concepts.intervention import Prefix, last_logits, run_prefix
from stages.concepts.ontologies.hierarchy import Hierarchy


class Groups(NamedTuple):
    """Columns of the logits of W words."""

    ids: np.ndarray
    """(W,) token ids"""
    own: dict[str, np.ndarray]
    """Of each kind: the held-out words under it."""
    every: dict[str, np.ndarray]
    """Of each kind: all words under it."""
    rivals: dict[str, list[str]]
    """Of each kind: the other kinds as deep as it."""
    held_out: np.ndarray
    """All held-out words"""


def groups(hierarchy: Hierarchy, ids: np.ndarray) -> Groups:
    place = {word: i for i, word in enumerate(hierarchy.words)}
    every = {kind: [place[word] for word in hierarchy.members(kind)] for kind in hierarchy.kinds}
    held = {place[word] for word in hierarchy.held_out}
    depth = {kind: len(hierarchy.above(kind)) for kind in hierarchy.kinds}
    rivals = {
        kind: [other for other in hierarchy.kinds if other != kind and depth[other] == depth[kind]]
        for kind in hierarchy.kinds
    }
    return Groups(
        np.asarray(ids),
        {kind: np.array([i for i in own if i in held]) for kind, own in every.items()},
        {kind: np.array(own) for kind, own in every.items()},
        rivals,
        np.array(sorted(held)),
    )


def of_word(word: str, hierarchy: Hierarchy, of: Groups) -> Groups:
    """The same for one word among those of its kind: what a child should move."""
    own = of.every[hierarchy.words[word]]
    place = {name: np.array([i]) for name, i in zip(np.array(list(hierarchy.words))[own].tolist(), own, strict=True)}
    rivals = {word: [name for name in place if name != word]}
    return Groups(of.ids, place, {word: own}, rivals, own)


class Before(NamedTuple):
    """Of C contexts without an intervention."""

    prefix: Prefix
    logits: torch.Tensor
    """(C, vocabulary)"""


def before(model: PreTrainedModel, rows: Sequence[np.ndarray], layer: int) -> Before:
    prefix = run_prefix(model, rows, layer)
    return Before(prefix, last_logits(model, prefix))


def effects(model: PreTrainedModel, delta: np.ndarray, kind: str, of: Groups, start: Before) -> dict[str, float]:
    """Of adding ``delta`` (C, d) or (d,) to the middle state at the end of each context, meant for ``kind``.

    on_target         rise of the mean logit of its held-out words over that of all other held-out words
    effect_size       its mean over its sd over contexts
    off_target        mean over rival kinds of the absolute rise of the same contrast of theirs
    sibling_contrast  sd of the rise over the held-out words of the kind: what should not move
    success, success_before   share of contexts in which the kind is ahead of its rivals, after and before
    ratio_kl          KL(before || after) in nats of the words under the kind given that it is one: 0 where their ratios stay
    all_kl            the same of the whole next token: how much is changed at all

    A kind that is alone at its depth has no rivals, one with all words no others: what needs them is NaN.
    """
    added = np.broadcast_to(delta, (len(start.logits), np.shape(delta)[-1])).copy()
    after = last_logits(model, start.prefix, torch.as_tensor(added, dtype=torch.float32))
    words = [logits[:, of.ids].double().cpu().numpy() for logits in (start.logits, after)]
    rise = words[1] - words[0]  # (C, W)
    on = _contrast(rise, of.own[kind], of.held_out)
    off = np.mean([abs(_contrast(rise, of.own[other], of.held_out).mean()) for other in of.rivals[kind]] or [np.nan])
    ahead = [np.mean(_ahead(logits, kind, of)) if of.rivals[kind] else np.nan for logits in words]
    own = [_log_softmax(logits[:, of.every[kind]]) for logits in words]
    whole = [_log_softmax(logits.double().cpu().numpy()) for logits in (start.logits, after)]
    return {
        "on_target": float(on.mean()),
        "effect_size": _effect_size(on),
        "off_target": float(off),
        "sibling_contrast": float(rise[:, of.own[kind]].std(axis=1).mean()),
        "success": float(ahead[1]),
        "success_before": float(ahead[0]),
        "ratio_kl": _kl(*own),
        "all_kl": _kl(*whole),
    }


def _effect_size(on: np.ndarray) -> float:
    """Mean over sd of (C,); 0 where nothing varies and nothing rises."""
    spread = on.std(ddof=1)
    return 0.0 if spread == 0 else float(on.mean() / spread)


def _contrast(rise: np.ndarray, own: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """(C,) mean of a kind's words less that of all other held-out words."""
    others = np.setdiff1d(held_out, own)
    if not len(others):
        return np.full(len(rise), np.nan)
    return rise[:, own].mean(axis=1) - rise[:, others].mean(axis=1)


def _ahead(logits: np.ndarray, kind: str, of: Groups) -> np.ndarray:
    """(C,) whether the mean logit of the kind's held-out words is above that of every rival's."""
    own = logits[:, of.own[kind]].mean(axis=1)
    return np.all([own > logits[:, of.own[other]].mean(axis=1) for other in of.rivals[kind]], axis=0)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> float:
    """Mean over contexts of KL(p || q), nats."""
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def each(
    model: PreTrainedModel,
    vectors: Mapping[str, np.ndarray],
    strengths: Sequence[float],
    unit: float,
    of: Groups,
    start: Before,
) -> Iterator[dict]:
    """A row for each kind and strength: its vector (d,), brought to a length of ``strength`` times ``unit``."""
    for kind, vector in vectors.items():
        direction = vector / np.linalg.norm(vector)
        for strength in strengths:
            yield {"kind": kind, "strength": strength} | effects(model, strength * unit * direction, kind, of, start)
