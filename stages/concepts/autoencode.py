"""Train the sparse autoencoders of every variant and seed: python -m stages.concepts.autoencode.

A run that was cut off goes on from .dvc/tmp/autoencoders, where unfinished and finished runs are kept by their settings:
what did not change is not trained again. Environment: DEVICE (cpu, cuda, auto) for the language model; JOBS, processes
that share an organism's autoencoders.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from stages.activations.params import Collect
from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.autoencoder_runs import Job, curves, jobs_of, read_subjects, run_jobs, subject_of
from stages.concepts.params import Concepts, load_seeds, load_text
from stages.concepts.subjects import siblings_of, subjects_of
from stages.models.checkpoint import find_checkpoint, open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.models.runs import is_organism
from stages.models.untrained import untrained_model
from stages.shared.command import run_stage
from stages.shared.figure_style import save_table
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.tasks.documents import read_documents_of

WORDS = Path("data/concepts/words")
SCRATCH, FOLDER = Path(".dvc/tmp/autoencoders"), Path("data/concepts/autoencoders")
CURVES = ["variant", "model", "noise", "seed", "step", "term", "value"]


def main() -> None:
    params, concepts = load("autoencoders", Autoencoders), load("concepts", Concepts)
    siblings = siblings_of(params.model, concepts, load_seeds())
    studied = subjects_of(concepts, load_seeds())
    jobs = [job for variant in params.variants for job in jobs_of(variant, siblings, params)] if studied else []
    workers = int(os.environ.get("JOBS", os.cpu_count() or 1)) if is_organism(params.model) else 1
    parts: dict[tuple, list[Job]] = {}
    for job in jobs:  # what shares a stream of states
        parts.setdefault((job.model, params.variants[job.variant].trained), []).append(job)
    shares = [part[i::workers] for part in parts.values() for i in range(workers) if part[i::workers]]
    with atomic_folder(FOLDER) as folder:
        Parallel(workers)(delayed(work)(share, params, concepts, folder) for share in shares)
        of = read_subjects(WORDS, list(dict.fromkeys(job.model for job in jobs)), params, concepts, load_text())
        rows = [row for share in shares for row in curves(share, of[subject_of(share[0], params)], SCRATCH)]
        save_table(pd.DataFrame(rows, columns=CURVES).sort_values(CURVES[:-1]), folder / "curves.csv")
    logging.info("%d autoencoders of %d variants", len(jobs), len(params.variants))


def work(share: list[Job], params: Autoencoders, concepts: Concepts, folder: Path) -> None:
    """In a process of its own: load the language model and train a share of the jobs on it."""
    collect, text = load("collect", Collect), load_text()
    of = read_subjects(WORDS, [share[0].model], params, concepts, text)[subject_of(share[0], params)]
    checkpoint = open_checkpoint(share[0].model)
    precision = of.words.header.precision
    trained = params.variants[share[0].variant].trained
    model = load_model(checkpoint, precision) if trained else untrained_model(checkpoint, precision, concepts.seed)
    tokenizer, documents = load_tokenizer(find_checkpoint(params.model)), read_documents_of(text)
    run_jobs(share, of, model, tokenizer, documents, collect.tokens_per_batch, SCRATCH, folder)


if __name__ == "__main__":
    run_stage(main, __doc__)
