"""Train the sparse autoencoders of every variant and seed: python -m stages.concepts.autoencode.

A run that was cut off goes on from .dvc/tmp/autoencoders, where unfinished and finished runs are kept under all that
their weights depend on: what did not change is not trained again. Environment: DEVICE (cpu, cuda, auto) for the
language model; JOBS, the number of processes that share an organism's autoencoders.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from stages.activations.params import Collect
from stages.concepts.autoencoder_jobs import Job, encoded_state, process_count, read_encoded_models, study_jobs
from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.autoencoder_runs import open_source, train_jobs
from stages.concepts.params import Concepts, load_seeds, load_text
from stages.shared.command import run_stage
from stages.shared.figure_style import save_table
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.tasks.documents import read_text_documents

WORDS = Path("data/concepts/words")
SCRATCH, FOLDER = Path(".dvc/tmp/autoencoders"), Path("data/concepts/autoencoders")
CURVES = ["variant", "model", "noise", "seed", "step", "term", "value"]


def main() -> None:
    params, concepts = load("autoencoders", Autoencoders), load("concepts", Concepts)
    jobs, _ = study_jobs(params, concepts, load_seeds())
    workers = process_count(params.model)
    jobs_by_state: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:  # what shares a stream of states
        jobs_by_state.setdefault(encoded_state(job, params), []).append(job)
    shares = [part[i::workers] for part in jobs_by_state.values() for i in range(workers) if part[i::workers]]
    with atomic_folder(FOLDER) as folder:
        curves = Parallel(workers)(delayed(work)(share, params, concepts, folder) for share in shares)
        rows = [row for share_rows in curves for row in share_rows]
        save_table(pd.DataFrame(rows, columns=CURVES).sort_values(CURVES[:-1]), folder / "curves.csv")
    logging.info("%d autoencoders of %d variants", len(jobs), len(params.variants))


def work(jobs: list[Job], params: Autoencoders, concepts: Concepts, folder: Path) -> list[dict]:
    """Load one language model, in a process of its own, and train autoencoders on it; return rows of their curves."""
    text, tokens_per_batch = load_text(), load("collect", Collect).tokens_per_batch
    models = read_encoded_models(WORDS, [jobs[0].model], params, concepts, text)
    encoded = models[encoded_state(jobs[0], params)]
    source = open_source(jobs[0], encoded, read_text_documents(text), tokens_per_batch)
    return train_jobs(jobs, encoded, source, SCRATCH, folder)


if __name__ == "__main__":
    run_stage(main, __doc__)
