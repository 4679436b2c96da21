"""Every trained autoencoder measured: what it explains, whether its latents are the concepts, what steering by them does.

Rows of ``quality``: variant, model, noise, seed, on, measure, kind, value. ``on`` is the language model whose states
are read, the autoencoder's own or a sibling; ``kind`` is empty for what is no measure of a kind. The variants
``directions`` (the random initialisation itself) and ``probe`` (a linear one) are no autoencoders: what they reach
needs no training of codes. Rows of ``steering``: variant, noise, seed, chosen, level, kind, strength and effects.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.concepts.autoencoder_runs import (
    Job,
    Subject,
    built,
    causal_inner_product,
    configuration,
    documents_of,
    finished_at,
    scale_of,
)
from stages.concepts.autoencoders import quality
from stages.concepts.autoencoders.codes import dense, directions, readers
from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical
from stages.concepts.autoencoders.training import Scale, load
from stages.concepts.effects import Before, Groups, before, effects, groups, of_word
from stages.concepts.splicing import cross_entropy, recovered
from stages.concepts.text_contexts import find_contexts, tested_part
from stages.concepts.token_stream import content_states
from stages.geometry.causal import category_vector, causal_metric

EXPLAINED_DOCUMENTS, SPLICED_DOCUMENTS = 192, 48
"""Held-out documents whose states are explained, and the first of them that pass through the whole model."""
READS, WRITES = "reads", "writes"
"""How a latent is chosen for steering: it tells the kind's words best; or what it adds raises them most."""


class Bench(NamedTuple):
    """One language model, ready to try autoencoders on."""

    name: str
    of: Subject
    """Of its own states"""
    model: PreTrainedModel
    special: list[int]
    budget: int
    rows: list[np.ndarray]
    """Held-out documents"""
    states: np.ndarray
    """(n, d) of their content tokens"""
    clean: float
    zero: float
    mean: float
    """Cross-entropy with states as they are, with 0 and with their mean in their places"""


def bench(
    name: str,
    of: Subject,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    budget: int,
) -> Bench:
    rows = documents_of(tokenizer, tested_part(documents)[:EXPLAINED_DOCUMENTS])
    layer, special = of.words.header.layer, tokenizer.all_special_ids
    states = content_states(model, layer, rows, special, budget)
    spliced = rows[:SPLICED_DOCUMENTS]
    mean = states.mean(dim=0)
    losses = [
        cross_entropy(model, layer, spliced, special, budget, replace)
        for replace in (None, torch.zeros_like, lambda x: mean.to(x).expand_as(x))
    ]
    return Bench(name, of, model, special, budget, rows, states.numpy().astype(np.float64), *losses)


def opened(job: Job, of: Subject, folder: Path) -> tuple[Hierarchical | Flat, Scale]:
    """The trained autoencoder; CheckpointError where the file is missing or of another configuration."""
    model = built(job, of)
    return model, load(finished_at(job, folder), model, configuration(job, of))


def judged(job: Job, model: Hierarchical | Flat, scale: Scale, at: Bench) -> Iterator[dict]:
    """Rows of ``quality`` of one autoencoder on one language model."""
    causal = causal_inner_product(at.of).double().numpy()

    def replace(x: torch.Tensor) -> torch.Tensor:
        return scale.outward(dense(model, scale.inward(x.cpu())).whole)

    found = dense(model, scale.inward(torch.tensor(at.states, dtype=torch.float32)))
    whole = scale.outward(found.whole).double().numpy()
    spliced = cross_entropy(
        at.model, at.of.words.header.layer, at.rows[:SPLICED_DOCUMENTS], at.special, at.budget, replace
    )
    used = quality.usage(torch.cat([found.parents, found.children], dim=1).numpy())
    values = {
        "explained": quality.explained(at.states, whole),
        "explained_causal": quality.explained(at.states, whole, causal),
        "ce_recovered_zero": recovered(at.clean, spliced, at.zero),
        "ce_recovered_mean": recovered(at.clean, spliced, at.mean),
        "codes_per_token": used.codes_per_token,
        "dead": used.dead,
        "dense": used.dense,
    }
    parents, children = (side.numpy() for side in directions(model))
    values["decoder_cosine"] = quality.decoder_cosine(np.concatenate([parents, children]))
    yield from ({"measure": name, "kind": "", "value": value} for name, value in values.items())
    if at.name == job.model:
        yield from known(model, scale, at.of)


class Split(NamedTuple):
    """States (n, d) at words with the kind and the word of each row, to learn from or to test."""

    states: np.ndarray
    label: np.ndarray
    word: np.ndarray


def splits(of: Subject) -> tuple[Split, Split, list[str]]:
    """Words and templates that may be learnt from; held-out words in held-out templates; the kinds that labels stand for."""
    parents = of.hierarchy.parents()
    kind = np.array([parents.index(own) for own in of.hierarchy.words.values()])
    held = np.array([word in of.hierarchy.held_out for word in of.hierarchy.words])
    last = of.concepts.held_out_templates

    def one(states: np.ndarray, words: np.ndarray) -> Split:
        rows = states[:, words]  # (templates, words, d)
        index = np.tile(np.flatnonzero(words), len(rows))
        return Split(rows.reshape(-1, rows.shape[-1]).astype(np.float64), kind[index], index)

    return one(of.values.middle[:-last], ~held), one(of.values.middle[-last:], held), parents


def known(model: Hierarchical | Flat, scale: Scale, of: Subject) -> Iterator[dict]:
    """Rows of what is measured against the known hierarchy."""
    learnt, tested, parents = splits(of)
    inward = [scale.inward(torch.tensor(part.states, dtype=torch.float32)) for part in (learnt, tested)]
    codes = [dense(model, x) for x in inward]
    ours, theirs = (found.parents.double().numpy() for found in codes)
    latent = quality.assign(ours, learnt.label, len(parents))
    yield from concepts(theirs, tested, latent, parents)
    told = quality.probe(learnt.states, learnt.label, len(parents))
    means = np.stack([learnt.states[learnt.label == k].mean(axis=0) for k in range(len(parents))])
    along = unit_rows(directions(model)[0].numpy()) @ unit_rows(means - means.mean(axis=0)).T  # (P, K)
    absorbed = quality.absorption(theirs, told.scores(tested.states) > 0, tested.label, latent, along)
    yield from ({"measure": "absorption", "kind": k, "value": v} for k, v in zip(parents, absorbed, strict=True))
    inside = [x.double().numpy() for x in inward]
    fan = quality.normal_fan(readers(model).double().numpy(), latent, inside[0], learnt.label)
    yield {"measure": "normal_fan", "kind": "", "value": fan}
    if isinstance(model, Hierarchical):
        kind = np.array([parents.index(own) for own in of.hierarchy.words.values()])
        share = quality.consistency(codes[1].children.numpy(), tested.word, kind, latent, model.shape.children)
        yield {"measure": "consistency", "kind": "", "value": share}


def concepts(codes: np.ndarray, tested: Split, latent: np.ndarray, parents: Sequence[str]) -> Iterator[dict]:
    """Rows of a measure for each kind, of codes (n, P) of the tested states."""
    values = {
        "purity": quality.purity(codes, tested.label, latent),
        "auroc": [quality.auroc(codes, tested.label == k)[latent[k]] for k in range(len(parents))],
        "leakage": quality.leakage(codes, tested.label, latent),
        "splitting": quality.splitting(codes, tested.label, len(parents)),
    }
    for measure, found in values.items():
        yield from ({"measure": measure, "kind": k, "value": float(v)} for k, v in zip(parents, found, strict=True))


def baselines(of: Subject, seeds: Sequence[int]) -> Iterator[dict]:
    """Rows of ``directions``, with every seed, and of the linear ``probe``."""
    learnt, tested, parents = splits(of)
    told = quality.probe(learnt.states, learnt.label, len(parents))
    scores = np.maximum(told.scores(tested.states), 0)
    common = {"model": of.words.header.model, "noise": 0.0, "on": of.words.header.model}
    yield from (
        common | {"variant": "probe", "seed": -1} | row
        for row in concepts(scores, tested, np.arange(len(parents)), parents)
    )
    first = next(
        name for name, v in of.params.variants.items() if v.architecture == "hierarchical" and v.initial == "random"
    )
    for seed in seeds:
        model = built(Job(first, of.params.model, 0.0, seed), of)
        yield from (common | {"variant": "directions", "seed": seed} | row for row in known(model, scale_of(of), of))


class Steered(NamedTuple):
    """Contexts of held-out text, and the middle states at their ends."""

    of: Groups
    start: Before
    states: torch.Tensor
    """(C, d)"""


def steered(at: Bench, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> Steered:
    words, concepts = at.of.words, at.of.concepts
    ids = words.emitted[words.row]
    by_id = dict(zip(ids.tolist(), at.of.hierarchy.words, strict=True))
    count = concepts.interventions.contexts
    rows = find_contexts(tokenizer, tested_part(documents), by_id, count, concepts.seed).rows
    start = before(at.model, rows, words.header.layer)
    return Steered(groups(at.of.hierarchy, ids), start, start.prefix.ends.cpu())


def clamped(model: Hierarchical | Flat, scale: Scale, at: Bench, on: Steered) -> Iterator[dict]:
    """Rows of ``steering``: a latent's code set to a value, whatever it was; the rest of the state stays as it is.

    A parent is set to ``strength`` times the root mean square norm of states, which is what it then adds at least where
    it was silent: as long as the vectors of the interventions. Of every kind the child that fires most is set in the same
    way, and its word is what should rise, over the kind's other words.
    """
    learnt, _, parents = splits(at.of)
    codes = dense(model, scale.inward(torch.tensor(learnt.states, dtype=torch.float32)))
    present = dense(model, scale.inward(on.states))
    parent_rows, child_rows = (side.double().numpy() for side in directions(model))
    chosen = {
        READS: quality.assign(codes.parents.double().numpy(), learnt.label, len(parents)),
        WRITES: writers(parent_rows, at.of, parents),
    }
    unit = at.of.values.middle_rms
    for by, latent in chosen.items():
        for kind, own in zip(parents, latent, strict=True):
            silent = unit_code(present.parents[:, own], scale)
            for strength in at.of.concepts.interventions.strengths:
                delta = (strength * unit - silent)[:, None] * parent_rows[own]
                row = effects(at.model, delta, kind, on.of, on.start)
                yield {"chosen": by, "level": "parent", "kind": kind, "strength": strength} | row
    if not len(child_rows):
        return
    width, strength = model.shape.children, at.of.concepts.interventions.strengths[-1]
    child_codes, names = codes.children.double().numpy(), list(at.of.hierarchy.words)
    for kind, own in zip(parents, chosen[READS], strict=True):
        block = child_codes[:, own * width : (own + 1) * width] * (learnt.label == parents.index(kind))[:, None]
        child = int(block.sum(axis=0).argmax())
        word = names[learnt.word[int(block[:, child].argmax())]]
        silent = unit_code(present.children[:, own * width + child], scale)
        delta = (strength * unit - silent)[:, None] * child_rows[own * width + child]
        row = effects(at.model, delta, word, of_word(word, at.of.hierarchy, on.of), on.start)
        yield {"chosen": READS, "level": "child", "kind": kind, "strength": strength} | row


def writers(parent_rows: np.ndarray, of: Subject, parents: Sequence[str]) -> np.ndarray:
    """(K,) the latent whose direction raises the words of each kind most: λ'γ of a unit step, with the concept's ℓ."""
    metric = causal_metric(of.values.unembedding, of.concepts.shrinkage)
    coordinates = metric.words(of.values.unembedding)[of.words.row]
    names = np.array(list(of.hierarchy.words))
    known = ~np.isin(names, list(of.hierarchy.held_out))
    own = [known & np.isin(names, of.hierarchy.members(kind)) for kind in parents]
    concepts = np.stack([category_vector(coordinates[rows]) for rows in own])  # (K, d)
    return (unit_rows(metric.contexts(unit_rows(parent_rows))) @ unit_rows(concepts).T).argmax(axis=0)


def matched_features(jobs: Sequence[Job], of: Mapping[str, Subject], folder: Path) -> Iterator[dict]:
    """Rows of ``features``: pairs of autoencoders of one variant, by what they were trained on and from which seed.

    The mean cosine of directions paired one to one for the most, of parents and of children; ``chance`` is that of
    random directions as many. Two seeds on one language model are what there is to agree on.
    """
    rows = {job: [side.double().numpy() for side in directions(opened(job, of[job.model], folder)[0])] for job in jobs}
    generator = np.random.default_rng(0)
    for one, other in itertools.combinations(jobs, 2):
        for level, ours, theirs in zip(("parent", "child"), rows[one], rows[other], strict=True):
            if len(ours):
                random = [generator.standard_normal(side.shape) for side in (ours, theirs)]
                yield {
                    "one": one.model, "other": other.model, "level": level, "one_seed": one.seed, "other_seed": other.seed,
                    "cosine": float(quality.matched_cosine(ours, theirs).mean()),
                    "chance": float(quality.matched_cosine(*random).mean()),
                }  # fmt: skip


def unit_code(codes: torch.Tensor, scale: Scale) -> np.ndarray:
    """Codes (C,) as lengths in the space of the states."""
    return codes.double().numpy() * scale.scale


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
