"""Measure every trained autoencoder, on its own language model and on the siblings, and steer by it.

Usage: python -m stages.concepts.evaluate

Environment: DEVICE (cpu, cuda, auto) for the language models; JOBS, the number of processes that share the autoencoders
of an organism.
"""

from __future__ import annotations

import logging
from pathlib import Path

from joblib import Parallel, delayed

from stages.activations.params import Collect
from stages.concepts.autoencoder_evaluation import (
    baseline_rows,
    feature_rows,
    open_autoencoder,
    open_bench,
    quality_rows,
    trials,
)
from stages.concepts.autoencoder_jobs import Job, encoded_state, process_count, read_encoded_models, study_jobs
from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.latent_steering import steering_rows, steering_scene
from stages.concepts.params import Concepts, load_seeds, load_text
from stages.concepts.state_files import FINAL
from stages.concepts.tables import DICTIONARY_TABLES, ordered
from stages.models.checkpoint import find_checkpoint
from stages.models.loading import load_tokenizer
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.tasks.documents import read_text_documents

WORDS = Path("data/concepts/words")
AUTOENCODERS, RECORDS = Path("data/concepts/autoencoders"), Path("data/concepts/dictionaries")


def main() -> None:
    params, concepts = load("autoencoders", Autoencoders), load("concepts", Concepts)
    jobs, siblings = study_jobs(params, concepts, load_seeds())
    workers = process_count(params.model)
    shares = [jobs[i::workers] for i in range(workers) if jobs[i::workers]]
    parts = Parallel(workers)(delayed(work)(share, siblings, params, concepts) for share in shares)
    rows = {name: [row for part in parts for row in part[name]] for name in ("quality", "steering")}
    models = read_encoded_models(WORDS, [params.model, *siblings] if jobs else [], params, concepts, load_text())
    if jobs:
        rows["quality"] += baseline_rows(models[params.model, FINAL], params.seeds)
    rows["features"] = list(feature_rows(jobs, models, params, AUTOENCODERS))
    DICTIONARY_TABLES.write(RECORDS, {name: ordered(name, content) for name, content in rows.items()})
    logging.info("%d autoencoders, %d rows", len(jobs), len(rows["quality"]))


def work(jobs: list[Job], siblings: list[str], params: Autoencoders, concepts: Concepts) -> dict[str, list[dict]]:
    """Try autoencoders, in a process of its own, on one language model after the other; return rows of two tables."""
    text, tokens_per_batch = load_text(), load("collect", Collect).tokens_per_batch
    tokenizer, documents = load_tokenizer(find_checkpoint(params.model)), read_text_documents(text)
    models = read_encoded_models(WORDS, [params.model, *siblings], params, concepts, text)
    rows: dict[str, list[dict]] = {"quality": [], "steering": []}
    for name, state, tried in trials(jobs, siblings, params):
        if not tried:
            continue
        bench = open_bench(state, models[name, state], tokenizer, documents, tokens_per_batch)
        scene = steering_scene(bench.encoded, bench.model, tokenizer, documents)
        for job in tried:
            autoencoder, scale = open_autoencoder(job, models[encoded_state(job, params)], AUTOENCODERS)
            common = {"variant": job.variant, "model": job.model, "noise": job.noise, "seed": job.seed}
            rows["quality"] += [common | {"on": name} | row for row in quality_rows(job, autoencoder, scale, bench)]
            if job.model == params.model == name and state == FINAL:
                rows["steering"] += [common | row for row in steering_rows(autoencoder, scale, scene)]
    return rows


if __name__ == "__main__":
    run_stage(main, __doc__)
