"""One checkpoint from loading to tables: geometry of its activations, likelihood of answers, accuracy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.activations.moments import MomentKey, gather_moments, moment_keys
from stages.activations.passes import FINAL_NORM
from stages.activations.sequences import Sequences
from stages.models.capture import self_test, text_config
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model
from stages.tasks.item import verify
from stages.trace.answers import Answer
from stages.trace.generation import completions
from stages.trace.likelihood import answer_likelihoods
from stages.trace.params import Trace
from stages.trace.spectra import spectral_result
from stages.trace.tables import CheckpointResult


class CheckpointInputs(NamedTuple):
    """The text, answers and questions that every checkpoint of a run is given."""

    tokenizer: PreTrainedTokenizerBase
    sequences: Sequences
    answers: dict[str, list[Answer]]
    """Answers whose likelihood is measured, by task."""
    questions: dict[str, list[dict]]
    """Rows whose answers are verified, by task."""

    def digest(self) -> str:
        """Return the SHA-256 of everything, the tokenizer's vocabulary, merges and special tokens included."""
        answers = [[task, *answer] for task, task_answers in self.answers.items() for answer in task_answers]
        content = [
            self.sequences.digest(),
            self.sequences.content.tolist(),
            answers,
            self.questions,
            tokenizer_content(self.tokenizer),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> list:
    """Return everything that decides how a tokenizer encodes, pads and decodes, as JSON values.

    Padding and truncation of the fast backend are left out: they are what its last call asked for.
    """
    special = [
        str(tokenizer.special_tokens_map),
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        tokenizer.clean_up_tokenization_spaces,
    ]
    if not tokenizer.is_fast:
        return [*special, sorted(tokenizer.get_vocab().items())]
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return [*special, {key: value for key, value in backend.items() if key not in ("padding", "truncation")}]


def measure_checkpoint(
    checkpoint: Checkpoint, precision: str, inputs: CheckpointInputs, params: Trace
) -> CheckpointResult:
    """Load the model; measure its geometry, the likelihood of answers and its accuracy."""
    model = load_model(checkpoint, precision)
    self_test(model)
    tables, spectra = measure_geometry(model, inputs.sequences, params)
    tables["answers"] = measure_answers(model, inputs.answers, params.tokens_per_batch)
    tables["accuracy"] = measure_accuracy(model, inputs, params) if params.accuracy else pd.DataFrame()
    return CheckpointResult(tables, spectra, checkpoint.weight_hash, model.num_parameters())


def measure_geometry(
    model: PreTrainedModel, sequences: Sequences, params: Trace
) -> tuple[dict[str, pd.DataFrame], dict]:
    """Return the tables records, deviations and rarefaction, and the eigenvalues and n by level, site and layer."""
    all_places = moment_keys(text_config(model).num_hidden_layers)
    in_blocks = interval_places(all_places, params)
    sums = gather_moments(model, sequences, params.blocks, params.tokens_per_batch, in_blocks)
    records, deviations, rarefaction, spectra = [], [], [], {}
    for place in all_places:
        result = spectral_result(sums[place], params.decay_ranks, params.bands, params.confidence)
        columns = place._asdict()
        records += [columns | row for row in result.records]
        rarefaction += [columns | row for row in result.rarefaction]
        deviations += [
            columns | {"measure": measure, "variant": variant, "half": half, "value": value}
            for (measure, variant), values in result.deviations.items()
            for half, value in enumerate(values.tolist())
        ]
        spectra[place.level, place.site, place.layer] = result.eigenvalues, result.n
    tables = {"records": records, "deviations": deviations, "rarefaction": rarefaction}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}, spectra


def interval_places(all_places: Sequence[MomentKey], params: Trace) -> list[MomentKey]:
    """Return the places that get intervals: content and last tokens, after the final norm and at ``interval_depths``."""
    depth = 1 + max(place.layer for place in all_places)
    interval_layers = {max(round(share * depth), 1) - 1 for share in params.interval_depths}
    return [
        place
        for place in all_places
        if place.level != "all_positions" and (place.site == FINAL_NORM or place.layer in interval_layers)
    ]


def measure_answers(model: PreTrainedModel, answers: dict[str, list[Answer]], tokens_per_batch: int) -> pd.DataFrame:
    """Return the log-likelihood of each answer: columns task, id, and those of `Likelihood`."""
    return pd.DataFrame(
        {"task": task, "id": answer.id, **likelihood._asdict()}
        for task, task_answers in answers.items()
        for answer, likelihood in zip(
            task_answers, answer_likelihoods(model, task_answers, tokens_per_batch), strict=True
        )
    )


def measure_accuracy(model: PreTrainedModel, inputs: CheckpointInputs, params: Trace) -> pd.DataFrame:
    """Return the share of verified answers per task, with its binomial standard error √(p (1 − p) / n).

    Each prompt gets one sample at temperature 1.
    """
    rows = []
    for task, questions in inputs.questions.items():
        prompts = [row["prompt"] for row in questions]
        texts = completions(model, inputs.tokenizer, prompts, params.accuracy.new_tokens, params.seed)
        correct = [text is not None and verify(text, row["answer"]) for text, row in zip(texts, questions, strict=True)]
        accuracy = np.mean(correct)
        error = np.sqrt(accuracy * (1 - accuracy) / len(questions))
        rows.append({"task": task, "accuracy": accuracy, "standard_error": error, "prompts": len(questions)})
    return pd.DataFrame(rows)
