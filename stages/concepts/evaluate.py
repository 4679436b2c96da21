"""Measure every trained autoencoder, on its own language model and on the siblings, and steer by it: python -m stages.concepts.evaluate.

Environment: DEVICE (cpu, cuda, auto) for the language models; JOBS, processes that share the autoencoders of an organism.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from joblib import Parallel, delayed

from stages.activations.params import Collect
from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.autoencoder_quality import baselines, bench, clamped, judged, matched_features, opened, steered
from stages.concepts.autoencoder_runs import Job, jobs_of, read_subjects, subject_of
from stages.concepts.params import Concepts, load_seeds, load_text
from stages.concepts.state_files import FINAL, UNTRAINED
from stages.concepts.subjects import siblings_of, subjects_of
from stages.concepts.tables import DICTIONARY_TABLES, ordered
from stages.models.checkpoint import find_checkpoint, open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.models.runs import is_organism
from stages.models.untrained import untrained_model
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.tasks.documents import read_documents_of

WORDS = Path("data/concepts/words")
AUTOENCODERS, RECORDS = Path("data/concepts/autoencoders"), Path("data/concepts/dictionaries")


def main() -> None:
    params, concepts = load("autoencoders", Autoencoders), load("concepts", Concepts)
    siblings = siblings_of(params.model, concepts, load_seeds())
    studied = subjects_of(concepts, load_seeds())
    jobs = [job for variant in params.variants for job in jobs_of(variant, siblings, params)] if studied else []
    workers = int(os.environ.get("JOBS", os.cpu_count() or 1)) if is_organism(params.model) else 1
    shares = [jobs[i::workers] for i in range(workers) if jobs[i::workers]]
    parts = Parallel(workers)(delayed(work)(share, siblings, params, concepts) for share in shares)
    quality = [row for part in parts for row in part[0]]
    of = read_subjects(WORDS, [params.model, *siblings] if jobs else [], params, concepts, load_text())
    if jobs:
        quality += baselines(of[params.model, FINAL], params.seeds)
    shared = [job for job in jobs if params.variants[job.variant].sibling_seeds > params.seeds.index(job.seed)]
    trained = {name: one for (name, state), one in of.items() if state == FINAL}
    features = [
        row
        for variant in dict.fromkeys(job.variant for job in shared)
        for row in matched_features([job for job in shared if job.variant == variant], trained, AUTOENCODERS)
    ]
    rows = {"quality": quality, "steering": [row for part in parts for row in part[1]], "features": features}
    DICTIONARY_TABLES.write(RECORDS, {name: ordered(name, content) for name, content in rows.items()})
    logging.info("%d autoencoders, %d rows", len(jobs), len(quality))


def work(
    jobs: list[Job], siblings: list[str], params: Autoencoders, concepts: Concepts
) -> tuple[list[dict], list[dict]]:
    """In a process of its own: one language model after the other, and on each the autoencoders that are tried on it."""
    budget, tokenizer = load("collect", Collect).tokens_per_batch, load_tokenizer(find_checkpoint(params.model))
    text = load_text()
    documents, known = read_documents_of(text), read_subjects(WORDS, [params.model, *siblings], params, concepts, text)
    quality: list[dict] = []
    steering: list[dict] = []
    trained = [job for job in jobs if params.variants[job.variant].trained]
    untrained = [job for job in jobs if not params.variants[job.variant].trained]
    plan = [(params.model, True, [job for job in trained if job.model == params.model])]
    # On siblings only where a variant has autoencoders of their own to compare with.
    moved = [job for job in trained if params.variants[job.variant].sibling_seeds]
    plan += [(name, True, [job for job in moved if job.model in (params.model, name)]) for name in siblings]
    plan += [(params.model, False, untrained)]
    for name, is_trained, tried in plan:
        if not tried:
            continue
        checkpoint, of = open_checkpoint(name), known[name, FINAL if is_trained else UNTRAINED]
        precision = of.words.header.precision
        model = (
            load_model(checkpoint, precision) if is_trained else untrained_model(checkpoint, precision, concepts.seed)
        )
        at = bench(name, of, model, tokenizer, documents, budget)
        on = steered(at, tokenizer, documents)
        for job in tried:
            autoencoder, scale = opened(job, known[subject_of(job, params)], AUTOENCODERS)
            common = {"variant": job.variant, "model": job.model, "noise": job.noise, "seed": job.seed}
            quality += [common | {"on": name} | row for row in judged(job, autoencoder, scale, at)]
            if job.model == params.model == name and is_trained:
                steering += [common | row for row in clamped(autoencoder, scale, at, on)]
    return quality, steering


if __name__ == "__main__":
    run_stage(main, __doc__)
