"""The autoencoders of a study: all variants, steps of noise and seeds, on one stream of a model's middle states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.concepts.autoencoder_params import Autoencoders, Variant
from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical, Shape
from stages.concepts.autoencoders.losses import Weights
from stages.concepts.autoencoders.teacher import Teacher, initialise, teach
from stages.concepts.autoencoders.training import Plan, Run, Scale, begin, resume, save, train
from stages.concepts.ontologies.hierarchy import Hierarchy, read_hierarchy
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL, UNTRAINED, States, Words, read_words
from stages.concepts.subjects import without
from stages.concepts.text_contexts import trained_part
from stages.concepts.token_stream import stream
from stages.geometry.causal import causal_metric

LONGEST = 128
"""Tokens of a document at most."""


class Job(NamedTuple):
    """One autoencoder of a variant."""

    variant: str
    model: str
    """Language model"""
    noise: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.model}-noise{self.noise:g}-seed{self.seed}"


class Subject(NamedTuple):
    """What all autoencoders of a language model are made of."""

    words: Words
    values: States
    """Of the state that is encoded: trained or not"""
    hierarchy: Hierarchy
    params: Autoencoders
    concepts: Concepts
    text: str
    """Name of the text whose tokens are encoded"""


def read_subjects(
    folder: Path, names: Sequence[str], params: Autoencoders, concepts: Concepts, text: str
) -> dict[tuple[str, str], Subject]:
    """Of the language models ``names``, by name and state, from ``folder`` data/concepts/words."""
    hierarchy = read_hierarchy(folder / "hierarchy.json", concepts.ontology.least_words)
    found = {}
    for name in names:
        words = read_words(folder / name / "states.h5")
        own = without(hierarchy, words.header.left_out, concepts)
        for state, values in words.states.items():
            found[name, state] = Subject(words, values, own, params, concepts, text)
    return found


def subject_of(job: Job, params: Autoencoders) -> tuple[str, str]:
    """Name and state of the language model that the job encodes."""
    return job.model, state_of(params.variants[job.variant])


def jobs_of(variant: str, siblings: Sequence[str], params: Autoencoders) -> list[Job]:
    """On the study's model every seed and noise; on siblings, where the variant asks for them, the first seeds."""
    of = params.variants[variant]
    own = [Job(variant, params.model, noise, seed) for noise in of.noise for seed in params.seeds]
    more = [Job(variant, name, of.noise[0], seed) for name in siblings for seed in params.seeds[: of.sibling_seeds]]
    return own + more


def state_of(variant: Variant) -> str:
    return FINAL if variant.trained else UNTRAINED


def configuration(job: Job, of: Subject) -> dict:
    """All that the weights depend on."""
    settings = of.params.model_dump(exclude={"variants", "seeds", "model"})
    taught = hashlib.sha256(json.dumps(of.hierarchy._asdict() | {"held_out": sorted(of.hierarchy.held_out)}).encode())
    return settings | of.params.variants[job.variant].model_dump(exclude={"noise", "sibling_seeds"}) | {
        "noise": job.noise, "seed": job.seed, "weight_hash": of.words.header.weight_hash, "layer": of.words.header.layer,
        "text": of.text, "templates": of.concepts.templates, "hierarchy": taught.hexdigest(),
        "study_seed": of.concepts.seed, "precision": of.words.header.precision,
    }  # fmt: skip


def scale_of(of: Subject) -> Scale:
    covariance = of.values.middle_covariance
    return Scale(
        torch.tensor(of.values.middle_mean, dtype=torch.float32), float(np.sqrt(np.trace(covariance) / len(covariance)))
    )


def built(job: Job, of: Subject) -> Hierarchical | Flat:
    """The autoencoder before training."""
    params, variant, d = of.params, of.params.variants[job.variant], len(of.values.middle_mean)
    shape = Shape(d, params.parents, params.children, min(params.subspace, d), variant.k)
    if variant.architecture == "flat":
        weights = sum(value.numel() for value in Hierarchical(shape, 0).parameters())
        return Flat(d, weights // (2 * d), 2 * variant.k, job.seed)
    model = Hierarchical(shape, job.seed)
    if variant.initial != "random":
        initialise(model, teacher(of, job.seed if variant.initial == "shuffled" else None), job.noise, job.seed)
    return model


def teacher(of: Subject, shuffle: int | None) -> Teacher:
    """Of words that are not held out in templates that are not; ``shuffle`` seeds dealing them out to other kinds."""
    names, parents = list(of.hierarchy.words), of.hierarchy.parents()
    known = np.array([word not in of.hierarchy.held_out for word in names])
    parent = np.array([parents.index(kind) for kind in of.hierarchy.words.values()])[known]
    if shuffle is not None:
        parent = np.random.default_rng(shuffle).permutation(parent)
    learnt = of.values.middle[: -of.concepts.held_out_templates].mean(axis=0)[known]
    return teach(learnt.astype(np.float64), parent, len(parents))


def plan_of(variant: Variant, of: Subject) -> Plan:
    params, terms = of.params, of.params.terms
    causal = variant.orthogonality == "causal"
    weights = Weights(
        terms.top,
        terms.sparsity,
        0.0 if causal else terms.orthogonal,
        terms.biorthogonal,
        terms.orthogonal if causal else 0.0,
    )
    frozen = 0 if variant.initial == "random" else round(params.frozen * params.steps)
    return Plan(
        params.steps, params.batch, frozen, params.learning_rate, params.warmup, params.clip, weights,
        causal_inner_product(of) if causal else None,
    )  # fmt: skip


def causal_inner_product(of: Subject) -> Tensor:
    """Σ (d, d) float32 of contexts, in units in which its mean eigenvalue is 1."""
    root = causal_metric(of.values.unembedding, of.concepts.shrinkage).root
    form = root @ root
    return torch.tensor(form / np.trace(form) * len(form), dtype=torch.float32)


def documents_of(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> list[np.ndarray]:
    """Token ids of each document, cut at `LONGEST`; documents of the special tokens alone are left out."""
    rows = [np.array(ids[:LONGEST], np.int64) for ids in tokenizer(list(documents))["input_ids"]]
    return [ids for ids in rows if len(ids) > 1]


def kept_at(job: Job, of: Subject, scratch: Path) -> Path:
    """Where a run is kept until it is finished, and after: another configuration has another file."""
    digest = hashlib.sha256(json.dumps(configuration(job, of), sort_keys=True).encode()).hexdigest()[:16]
    return scratch / job.variant / f"{job.name}-{digest}.safetensors"


def finished_at(job: Job, folder: Path) -> Path:
    return folder / job.variant / f"{job.name}.safetensors"


def begun(job: Job, of: Subject, scratch: Path) -> Run:
    """From where it was cut off, or from the beginning."""
    run = begin(f"{job.variant}, {job.name}", built(job, of), plan_of(of.params.variants[job.variant], of))
    if (path := kept_at(job, of, scratch)).is_file():
        resume(path, run, configuration(job, of))
    return run


def run_jobs(
    jobs: Sequence[Job], of: Subject, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: Sequence[str],
    tokens_per_batch: int, scratch: Path, finished: Path,
) -> None:  # fmt: skip
    """Train jobs on one language model side by side; each is kept under ``scratch`` on the way."""
    params, scale = of.params, scale_of(of)
    rows = documents_of(tokenizer, trained_part(documents))
    per_portion = max(1, params.buffer // params.batch)
    runs = {job: begun(job, of, scratch) for job in jobs}
    jobs_by_name = {run.name: job for job, run in runs.items()}

    def portions(start: int) -> Iterator[Tensor]:
        return stream(
            model, of.words.header.layer, rows, tokenizer.all_special_ids, tokens_per_batch, per_portion * params.batch,
            of.concepts.seed, start,
        )  # fmt: skip

    def keep(run: Run) -> None:
        job = jobs_by_name[run.name]
        save(kept_at(job, of, scratch), run, scale, configuration(job, of), True)

    train(list(runs.values()), portions, per_portion, scale, keep)
    for job, run in runs.items():
        save(finished_at(job, finished), run, scale, configuration(job, of), False)


def curves(jobs: Sequence[Job], of: Subject, scratch: Path) -> list[dict]:
    """Rows of the training curves of finished jobs: variant, model, noise, seed, step, term, value."""
    return [job._asdict() | row for job in jobs for row in begun(job, of, scratch).progress["curve"]]
