"""Measure every trained autoencoder: what it explains, whether its latents are the concepts, what siblings share of it.

Rows of ``quality``: variant, model, noise, seed, on, measure, kind, value. ``on`` is the language model whose states
are read, the autoencoder's own or a sibling; ``kind`` is empty for what is no measure of a kind. The variants
``directions`` (the random initialisation itself) and ``probe`` (a linear one) are no autoencoders: what they reach
needs no training of codes. Rows of ``features``: pairs of autoencoders, see `matched_features`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.activations.massive_tokens import massive_tokens
from stages.activations.token_stream import content_states
from stages.concepts.autoencoder_jobs import (
    EncodedModel,
    Job,
    autoencoder_path,
    causal_inner_product,
    configuration,
    document_rows,
    encoded_state,
    new_autoencoder,
    state_scale,
)
from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.autoencoders import measures
from stages.concepts.autoencoders.codes import dense, directions, readers
from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical
from stages.concepts.autoencoders.training import Scale, load_weights
from stages.concepts.language_models import open_language_model
from stages.concepts.splicing import cross_entropy, recovered
from stages.concepts.state_files import FINAL, UNTRAINED
from stages.concepts.text_contexts import tested_part
from stages.concepts.word_states import WordStates, learning_and_test_states
from stages.models.checkpoint import open_checkpoint

# Held-out documents whose states are explained, and the first of them that pass through the whole model.
EXPLAINED_DOCUMENTS, SPLICED_DOCUMENTS = 192, 48


class Bench(NamedTuple):
    """One language model, ready to try autoencoders on."""

    name: str
    encoded: EncodedModel
    model: PreTrainedModel
    special: list[int]
    """Ids of the special tokens."""
    tokens_per_batch: int
    rows: list[np.ndarray]
    """Token ids of held-out documents."""
    states: np.ndarray
    """(n, d) middle states of their content tokens."""
    ordinary: np.ndarray
    """(n,) whether each is none of a massive token"""
    clean: float
    """Cross-entropy with the states as they are."""
    zero: float
    """Cross-entropy with 0 in their places."""
    mean: float
    """Cross-entropy with their mean in their places."""


def trials(jobs: Sequence[Job], siblings: Sequence[str], params: Autoencoders) -> Iterator[tuple[str, str, list[Job]]]:
    """Yield name and state of each language model with the autoencoders, of ``jobs``, that are tried on it."""
    trained = [job for job in jobs if params.variants[job.variant].trained]
    untrained = [job for job in jobs if not params.variants[job.variant].trained]
    # On siblings only where a variant has autoencoders of their own to compare with.
    compared = [job for job in trained if params.variants[job.variant].sibling_seeds]
    yield params.model, FINAL, [job for job in trained if job.model == params.model]
    for name in siblings:
        yield name, FINAL, [job for job in compared if job.model in (params.model, name)]
    yield params.model, UNTRAINED, untrained


def open_bench(
    state: str,
    encoded: EncodedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    tokens_per_batch: int,
) -> Bench:
    """Load a language model in ``state``, read the states of held-out documents and what ablating them costs."""
    name, layer, special = encoded.words.header.model, encoded.words.header.layer, tokenizer.all_special_ids
    precision = encoded.words.header.precision
    model = open_language_model(open_checkpoint(name), state, precision, encoded.concepts.seed)
    rows = document_rows(tokenizer, tested_part(documents)[:EXPLAINED_DOCUMENTS])
    states = content_states(model, layer, rows, special, tokens_per_batch)
    ordinary = ~massive_tokens(states, encoded.values.middle_limit)
    mean = states[ordinary].mean(dim=0)
    spliced = rows[:SPLICED_DOCUMENTS]
    losses = [
        cross_entropy(model, layer, spliced, special, tokens_per_batch, replace, encoded.values.middle_limit)
        for replace in (None, torch.zeros_like, lambda x: mean.to(x).expand_as(x))
    ]
    values = states.numpy().astype(np.float64)
    return Bench(name, encoded, model, special, tokens_per_batch, rows, values, ordinary.numpy(), *losses)


def open_autoencoder(job: Job, encoded: EncodedModel, folder: Path) -> tuple[Hierarchical | Flat, Scale]:
    """Return the trained autoencoder; CheckpointError where the file is missing or of another configuration."""
    model = new_autoencoder(job, encoded)
    return model, load_weights(autoencoder_path(job, folder), model, configuration(job, encoded))


def quality_rows(job: Job, autoencoder: Hierarchical | Flat, scale: Scale, bench: Bench) -> Iterator[dict]:
    """Yield rows of ``quality`` of one autoencoder on one language model; only `explained_with_sinks` has massive tokens."""
    causal = causal_inner_product(bench.encoded).double().numpy()

    def replace(x: torch.Tensor) -> torch.Tensor:
        return scale.outward(dense(autoencoder, scale.inward(x.cpu())).whole)

    codes = dense(autoencoder, scale.inward(torch.tensor(bench.states, dtype=torch.float32)))
    whole = scale.outward(codes.whole).double().numpy()
    layer, rows = bench.encoded.words.header.layer, bench.rows[:SPLICED_DOCUMENTS]
    limit, ordinary = bench.encoded.values.middle_limit, bench.ordinary
    spliced = cross_entropy(bench.model, layer, rows, bench.special, bench.tokens_per_batch, replace, limit)
    usage = measures.usage(torch.cat([codes.parents, codes.children], dim=1).numpy()[ordinary])
    parents, children = (side.numpy() for side in directions(autoencoder))
    values = {
        "explained": measures.explained(bench.states[ordinary], whole[ordinary]),
        "explained_with_sinks": measures.explained(bench.states, whole),
        "explained_causal": measures.explained(bench.states[ordinary], whole[ordinary], causal),
        "ce_recovered_zero": recovered(bench.clean, spliced, bench.zero),
        "ce_recovered_mean": recovered(bench.clean, spliced, bench.mean),
        "codes_per_token": usage.codes_per_token,
        "dead": usage.dead,
        "dense": usage.dense,
        "decoder_cosine": measures.decoder_cosine(np.concatenate([parents, children])),
    }
    yield from ({"measure": name, "kind": "", "value": value} for name, value in values.items())
    if bench.name == job.model:
        yield from concept_rows(autoencoder, scale, bench.encoded)


def concept_rows(autoencoder: Hierarchical | Flat, scale: Scale, encoded: EncodedModel) -> Iterator[dict]:
    """Yield rows of what is measured against the hierarchy: whether latents are its kinds, and children its words."""
    learning, test, kinds = learning_and_test_states(encoded)
    scaled = [scale.inward(torch.tensor(part.states, dtype=torch.float32)) for part in (learning, test)]
    codes = [dense(autoencoder, x) for x in scaled]
    learning_codes, test_codes = (part.parents.double().numpy() for part in codes)
    latent = measures.assign(learning_codes, learning.label, len(kinds))
    yield from kind_rows(test_codes, test, latent, kinds)
    probe = measures.probe(learning.states, learning.label, len(kinds))
    means = np.stack([learning.states[learning.label == k].mean(axis=0) for k in range(len(kinds))])
    latent_directions = measures.unit_rows(directions(autoencoder)[0].numpy())
    cosines = latent_directions @ measures.unit_rows(means - means.mean(axis=0)).T  # (P, K)
    absorbed = measures.absorption(test_codes, probe.scores(test.states) > 0, test.label, latent, cosines)
    yield from ({"measure": "absorption", "kind": k, "value": v} for k, v in zip(kinds, absorbed, strict=True))
    states = scaled[0].double().numpy()
    fan = measures.normal_fan(readers(autoencoder).double().numpy(), latent, states, learning.label)
    yield {"measure": "normal_fan", "kind": "", "value": fan}
    if isinstance(autoencoder, Hierarchical):
        parent, width = encoded.hierarchy.parent_index(), autoencoder.shape.children
        share = measures.consistency(codes[1].children.numpy(), test.word, parent, latent, width)
        yield {"measure": "consistency", "kind": "", "value": share}


def kind_rows(codes: np.ndarray, test: WordStates, latent: np.ndarray, kinds: Sequence[str]) -> Iterator[dict]:
    """Yield rows of each measure of each kind, of codes (n, P) of the test states; ``latent`` (K,) is each kind's."""
    values = {
        "purity": measures.purity(codes, test.label, latent),
        "auroc": [measures.auroc(codes, test.label == k)[latent[k]] for k in range(len(kinds))],
        "leakage": measures.leakage(codes, test.label, latent),
        "splitting": measures.splitting(codes, test.label, len(kinds)),
    }
    for measure, column in values.items():
        yield from ({"measure": measure, "kind": k, "value": float(v)} for k, v in zip(kinds, column, strict=True))


def baseline_rows(encoded: EncodedModel, seeds: Sequence[int]) -> Iterator[dict]:
    """Yield rows of ``directions``, with every seed, and of the linear ``probe``."""
    learning, test, kinds = learning_and_test_states(encoded)
    probe = measures.probe(learning.states, learning.label, len(kinds))
    scores = np.maximum(probe.scores(test.states), 0)
    name = encoded.words.header.model
    common = {"model": name, "noise": 0.0, "on": name}
    for row in kind_rows(scores, test, np.arange(len(kinds)), kinds):
        yield common | {"variant": "probe", "seed": -1} | row
    variants = encoded.params.variants.items()
    first = next(name for name, v in variants if v.architecture == "hierarchical" and v.initial == "random")
    for seed in seeds:
        autoencoder = new_autoencoder(Job(first, encoded.params.model, 0.0, seed), encoded)
        for row in concept_rows(autoencoder, state_scale(encoded), encoded):
            yield common | {"variant": "directions", "seed": seed} | row


def feature_rows(
    jobs: Sequence[Job], models: Mapping[tuple[str, str], EncodedModel], params: Autoencoders, folder: Path
) -> Iterator[dict]:
    """Yield rows of ``features`` of every variant that is trained on siblings too, of the seeds that it has there."""
    for variant, settings in params.variants.items():
        seeds = params.seeds[: settings.sibling_seeds]
        yield from matched_features(
            [j for j in jobs if j.variant == variant and j.seed in seeds], models, params, folder
        )


def matched_features(
    jobs: Sequence[Job], models: Mapping[tuple[str, str], EncodedModel], params: Autoencoders, folder: Path
) -> Iterator[dict]:
    """Yield rows of ``features``: pairs of autoencoders of one variant, by what they were trained on and from which seed.

    The mean cosine of directions paired one to one for the most, of parents and of children; ``chance`` is that of
    random directions as many. Two seeds on one language model are what there is to agree on.
    """
    sides = {}
    for job in jobs:
        autoencoder, _ = open_autoencoder(job, models[encoded_state(job, params)], folder)
        sides[job] = [side.double().numpy() for side in directions(autoencoder)]
    generator = np.random.default_rng(0)
    for first, second in itertools.combinations(jobs, 2):
        for level, left, right in zip(("parent", "child"), sides[first], sides[second], strict=True):
            if len(left):
                random = [generator.standard_normal(side.shape) for side in (left, right)]
                yield {
                    "one": first.model,
                    "other": second.model,
                    "level": level,
                    "one_seed": first.seed,
                    "other_seed": second.seed,
                    "cosine": float(measures.matched_cosine(left, right).mean()),
                    "chance": float(measures.matched_cosine(*random).mean()),
                }
