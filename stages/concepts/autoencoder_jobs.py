"""The autoencoders of the study: which are trained, what each starts from, and the settings that its file records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from stages.activations.tokens import text_ids
from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical, Shape
from stages.concepts.autoencoders.losses import Weights
from stages.concepts.autoencoders.teacher import Teacher, initialise, teach
from stages.concepts.autoencoders.training import Scale, TrainingPlan
from stages.concepts.ontologies.hierarchy import Hierarchy, read_hierarchy
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL, UNTRAINED, States, Words, read_words
from stages.concepts.subjects import siblings_of, single_token_hierarchy, subjects_of
from stages.geometry.causal import causal_metric
from stages.models.runs import is_organism
from stages.shared.workers import worker_count

# Tokens of a document at most.
LONGEST = 128


class Job(NamedTuple):
    """One autoencoder of a variant."""

    variant: str
    model: str
    """Language model whose states are encoded."""
    noise: float
    seed: int

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        return f"{self.model}-noise{self.noise:g}-seed{self.seed}"


class EncodedModel(NamedTuple):
    """A language model in one state, trained or not, with all that its autoencoders are made of."""

    words: Words
    values: States
    """States of the model as it is encoded, trained or not."""
    hierarchy: Hierarchy
    params: Autoencoders
    concepts: Concepts
    text: str
    """Name of the text whose tokens are encoded."""
    file_hash: str
    """SHA-256 of the file that holds words and states."""


def study_jobs(params: Autoencoders, concepts: Concepts, seeds: Sequence[int]) -> tuple[list[Job], list[str]]:
    """Return all autoencoders of the study, and the siblings of its model; no job where there is no model to study.

    Raises ParamsError where the model is no reference of the study.
    """
    siblings = siblings_of(params.model, concepts, seeds)
    variants = params.variants if subjects_of(concepts, seeds) else ()
    return [job for variant in variants for job in variant_jobs(variant, siblings, params)], siblings


def variant_jobs(variant: str, siblings: Sequence[str], params: Autoencoders) -> list[Job]:
    """Return the jobs of a variant: on the study's model every noise and seed, on siblings the first seeds if asked for."""
    settings = params.variants[variant]
    model_jobs = [Job(variant, params.model, noise, seed) for noise in settings.noise for seed in params.seeds]
    sibling_seeds = params.seeds[: settings.sibling_seeds]
    return model_jobs + [Job(variant, name, settings.noise[0], seed) for name in siblings for seed in sibling_seeds]


def process_count(model: str) -> int:
    """Return how many processes share the work: JOBS of the environment on an organism; one on a large model."""
    return worker_count() if is_organism(model) else 1


def read_encoded_models(
    folder: Path, names: Sequence[str], params: Autoencoders, concepts: Concepts, text: str
) -> dict[tuple[str, str], EncodedModel]:
    """Read the language models ``names`` from ``folder`` data/concepts/words; return them by name and state."""
    hierarchy = read_hierarchy(folder / "hierarchy.json", concepts.ontology.least_words)
    models = {}
    for name in names:
        path = folder / name / "states.h5"
        words, file_hash = read_words(path), hashlib.sha256(path.read_bytes()).hexdigest()
        model_hierarchy = single_token_hierarchy(hierarchy, words.header.left_out, concepts)
        for state, values in words.states.items():
            models[name, state] = EncodedModel(words, values, model_hierarchy, params, concepts, text, file_hash)
    return models


def encoded_state(job: Job, params: Autoencoders) -> tuple[str, str]:
    """Return name and state of the language model that the job encodes."""
    return job.model, FINAL if params.variants[job.variant].trained else UNTRAINED


def configuration(job: Job, encoded: EncodedModel) -> dict:
    """Return the settings that the file of an autoencoder records; whoever reads it compares them with its own.

    They name the inputs; `autoencoder_runs.run_key` holds the content of the inputs, on which the weights depend too.
    """
    params, header, hierarchy = encoded.params, encoded.words.header, encoded.hierarchy
    content = json.dumps(hierarchy._asdict() | {"held_out": sorted(hierarchy.held_out)})
    settings = params.model_dump(exclude={"variants", "seeds", "model"})
    return {
        **settings,
        **params.variants[job.variant].model_dump(exclude={"noise", "sibling_seeds"}),
        "noise": job.noise,
        "seed": job.seed,
        "weight_hash": header.weight_hash,
        "layer": header.layer,
        "text": encoded.text,
        "templates": encoded.concepts.templates,
        "hierarchy": hashlib.sha256(content.encode()).hexdigest(),
        "study_seed": encoded.concepts.seed,
        "precision": header.precision,
    }


def state_scale(encoded: EncodedModel) -> Scale:
    """Return the mean of the middle states, and their root mean square distance from it over the root of d."""
    covariance = encoded.values.middle_covariance
    mean = torch.tensor(encoded.values.middle_mean, dtype=torch.float32)
    return Scale(mean, float(np.sqrt(np.trace(covariance) / len(covariance))))


def new_autoencoder(job: Job, encoded: EncodedModel) -> Hierarchical | Flat:
    """Return the autoencoder of a job before training.

    A flat one has as many codes a token as a hierarchical one, and at most as many weights.
    """
    params, variant, width = encoded.params, encoded.params.variants[job.variant], len(encoded.values.middle_mean)
    shape = Shape(width, params.parents, params.children, min(params.subspace, width), variant.k)
    if variant.architecture == "flat":
        weights = sum(value.numel() for value in Hierarchical(shape, 0).parameters())
        return Flat(width, weights // (2 * width), 2 * variant.k, job.seed)
    model = Hierarchical(shape, job.seed)
    if variant.initial != "random":
        shuffle = job.seed if variant.initial == "shuffled" else None
        initialise(model, concept_teacher(encoded, shuffle), job.noise, job.seed)
    return model


def concept_teacher(encoded: EncodedModel, shuffle: int | None) -> Teacher:
    """Return the concepts of words that are not held out, read in templates that are not.

    ``shuffle`` is the seed with which words are dealt out to other kinds; None leaves them where they belong.
    """
    hierarchy = encoded.hierarchy
    learnable = ~hierarchy.held_out_mask()
    parent = hierarchy.parent_index()[learnable]
    if shuffle is not None:
        parent = np.random.default_rng(shuffle).permutation(parent)
    states = encoded.values.middle[: -encoded.concepts.held_out_templates].mean(axis=0)[learnable]
    return teach(states.astype(np.float64), parent, len(hierarchy.parents()))


def training_plan(job: Job, encoded: EncodedModel) -> TrainingPlan:
    """Return the steps, rates and loss of a job."""
    params, terms, variant = encoded.params, encoded.params.terms, encoded.params.variants[job.variant]
    causal = variant.orthogonality == "causal"
    return TrainingPlan(
        steps=params.steps,
        batch=params.batch,
        frozen=0 if variant.initial == "random" else round(params.frozen * params.steps),
        learning_rate=params.learning_rate,
        warmup=params.warmup,
        clip=params.clip,
        weights=Weights(
            top=terms.top,
            sparsity=terms.sparsity,
            cross=0.0 if causal else terms.orthogonal,
            biorthogonal=terms.biorthogonal,
            causal=terms.orthogonal if causal else 0.0,
        ),
        metric=causal_inner_product(encoded) if causal else None,
    )


def causal_inner_product(encoded: EncodedModel) -> Tensor:
    """Return Σ (d, d) float32 of contexts, in units in which its mean eigenvalue is 1."""
    root = causal_metric(encoded.values.unembedding, encoded.concepts.shrinkage).root
    form = root @ root
    return torch.tensor(form / np.trace(form) * len(form), dtype=torch.float32)


def document_rows(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> list[np.ndarray]:
    """Return the token ids of each document, cut at `LONGEST`; documents of the special tokens alone are left out."""
    rows = [np.array(ids[:LONGEST], np.int64) for ids in text_ids(tokenizer, documents)]
    return [ids for ids in rows if len(ids) > 1]


def autoencoder_path(job: Job, folder: Path) -> Path:
    """Return the file of a finished autoencoder in ``folder`` data/concepts/autoencoders."""
    return folder / job.variant / f"{job.name}.safetensors"
