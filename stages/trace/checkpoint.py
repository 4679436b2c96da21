"""One checkpoint from loading to tables: geometry of its activations, likelihood of answers, accuracy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.activations.moments import FINAL_NORM, Place, gather, places
from stages.activations.sequences import Sequences
from stages.models.capture import self_test, text_config
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model
from stages.tasks.item import verify
from stages.trace.answers import Answer
from stages.trace.generation import completions
from stages.trace.likelihood import answer_likelihoods
from stages.trace.params import Trace
from stages.trace.spectra import trace_place
from stages.trace.tables import Found


class Material(NamedTuple):
    """What every checkpoint of a run is shown."""

    tokenizer: PreTrainedTokenizerBase
    sequences: Sequences
    answers: dict[str, list[Answer]]
    """By task."""
    questions: dict[str, list[dict]]
    """Rows whose answers are verified, by task."""

    def digest(self) -> str:
        """SHA-256 over all of it but the tokenizer, whose work it is."""
        answers = [[task, *answer] for task, given in self.answers.items() for answer in given]
        content = [self.sequences.digest(), self.sequences.content.tolist(), answers, self.questions]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def trace_checkpoint(checkpoint: Checkpoint, precision: str, material: Material, params: Trace) -> Found:
    """Load the model, measure and examine it."""
    model = load_model(checkpoint, precision)
    self_test(model)
    tables, spectra = measure_geometry(model, material.sequences, params)
    tables["answers"] = follow_answers(model, material.answers, params.tokens_per_batch)
    tables["accuracy"] = examine(model, material, params) if params.accuracy else pd.DataFrame()
    return Found(tables, spectra, checkpoint.weight_hash, model.num_parameters())


def measure_geometry(
    model: PreTrainedModel, sequences: Sequences, params: Trace
) -> tuple[dict[str, pd.DataFrame], dict]:
    """The tables records, deviations and rarefaction, and the spectra of every place."""
    everywhere = places(text_config(model).num_hidden_layers)
    sums = gather(model, sequences, params.blocks, params.tokens_per_batch, with_intervals(everywhere, params))
    records, deviations, rarefaction, spectra = [], [], [], {}
    for place in everywhere:
        found = trace_place(sums[place], params.decay_ranks, params.bands, params.confidence)
        at = place._asdict()
        records += [at | row for row in found.records]
        rarefaction += [at | row for row in found.rarefaction]
        deviations += [
            at | {"measure": measure, "variant": variant, "half": half, "value": value}
            for (measure, variant), values in found.deviations.items()
            for half, value in enumerate(values.tolist())
        ]
        spectra[place.level, place.site, place.layer] = found.eigenvalues, found.n
    tables = {"records": records, "deviations": deviations, "rarefaction": rarefaction}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}, spectra


def with_intervals(everywhere: Sequence[Place], params: Trace) -> list[Place]:
    """Content tokens and last tokens, after the final norm and at ``interval_depths``."""
    layers = 1 + max(place.layer for place in everywhere)
    chosen = {max(round(depth * layers), 1) - 1 for depth in params.interval_depths}
    return [
        place
        for place in everywhere
        if place.level != "all_positions" and (place.site == FINAL_NORM or place.layer in chosen)
    ]


def follow_answers(model: PreTrainedModel, answers: dict[str, list[Answer]], tokens_per_batch: int) -> pd.DataFrame:
    """Log-likelihood of each answer."""
    return pd.DataFrame(
        {"task": task, "id": answer.id, **found._asdict()}
        for task, given in answers.items()
        for answer, found in zip(given, answer_likelihoods(model, given, tokens_per_batch), strict=True)
    )


def examine(model: PreTrainedModel, material: Material, params: Trace) -> pd.DataFrame:
    """Share of verified answers per task, one sample at temperature 1 to each prompt, with its binomial standard error."""
    rows = []
    for task, questions in material.questions.items():
        prompts = [row["prompt"] for row in questions]
        texts = completions(model, material.tokenizer, prompts, params.accuracy.new_tokens, params.seed)
        right = np.mean([
            text is not None and verify(text, row["answer"]) for text, row in zip(texts, questions, strict=True)
        ])  # fmt: skip
        error = np.sqrt(right * (1 - right) / len(questions))
        rows.append({"task": task, "accuracy": right, "standard_error": error, "prompts": len(questions)})
    return pd.DataFrame(rows)
