"""Compare a model with others that moved as far from its reference, in other directions.

Usage: python -m stages.paradigms.perturb MODEL REFERENCE LIKE

Random updates of MODEL's size, its update negated, the line from REFERENCE to MODEL (with a point at the displacement
of LIKE, where MODEL moved further), and MODEL's checkpoints. All in float32, whatever collect.precision says: small
updates drown in bfloat16. The environment variable DEVICE (cpu, cuda, auto) chooses where.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from stages.activations.params import Collect
from stages.activations.tokens import Tokens, tokenise
from stages.geometry.subspace import chance
from stages.models.capture import self_test
from stages.models.checkpoint import Checkpoint, open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.paradigms.fast_scores import Reference, compare, references_of
from stages.paradigms.last_tokens import by_task
from stages.paradigms.params import Hypotheses, Measure, Perturb
from stages.paradigms.perturbation import update
from stages.paradigms.perturbed import headline, rows_of
from stages.paradigms.points import matched_t, placed, plan
from stages.paradigms.tables import PERTURBED_TABLES
from stages.shared.command import run_stage
from stages.shared.files import write_json
from stages.shared.params import load
from stages.shared.study import Study, all_tasks
from stages.statistics.half_sampling import partitions_for, quarters
from stages.tasks.rows import read_tasks

PERTURBED, METRICS = Path("data/probes/perturbed"), Path("metrics/perturb")


def main(name: str, reference_name: str, like_name: str) -> None:
    params, measure = load("perturb", Perturb), load("measure", Measure)
    site, budget = load("hypotheses", Hypotheses).site, load("collect", Collect).tokens_per_batch
    reference, sibling = open_checkpoint(reference_name), open_checkpoint(name)
    tokens = tokens_of(reference, params.prompts)
    delta = update(reference, sibling)
    matched = None
    if like_name != name and (matched := matched_t(delta, update(reference, open_checkpoint(like_name)))) is None:
        logging.warning("%s moved less than %s: its line has no point at that displacement", name, like_name)
    model = load_model(reference, "float32")
    self_test(model)
    references = {
        task: factorised(cloud, task, params, measure) for task, cloud in by_task(model, tokens, site, budget)
    }
    points, rows = plan([*params.interpolation, 1.0, *filter(None, [matched])], params.draws, sibling), []
    for point in tqdm(points, unit="model", mininterval=5):
        with placed(model, point, delta, reference, sibling, params.seed) as found:
            described = {**point._asdict(), "displacement": found.displacement}
            for task, cloud in by_task(model, tokens, site, budget):
                for layer, (ours, theirs) in enumerate(zip(references[task], cloud, strict=True)):
                    rows += rows_of(described, task, layer, compare(ours, theirs)._asdict())
    table = PERTURBED_TABLES.typed("points", rows)
    PERTURBED_TABLES.write(PERTURBED / name, {"points": table})
    write_json(METRICS / f"{name}.json", headline(table, like_name, matched))
    logging.info("%s beside %d models moved from %s", name, len(points), reference_name)


def tokens_of(reference: Checkpoint, prompts: int) -> dict[str, Tokens]:
    """Of every task the first held-out prompts, tokenised as the reference does it."""
    tokenizer, found = load_tokenizer(reference), {}
    for task in all_tasks(load("study", Study)):
        rows = read_tasks([task], "held_out", prompts)
        found[task] = tokenise(tokenizer, [row["prompt"] for row in rows], [row["id"] for row in rows])
    return found


def factorised(cloud: np.ndarray, task: str, params: Perturb, measure: Measure) -> list[Reference]:
    """The layers of the reference, (layers, n, d), as every model is compared with them."""
    parts = quarters(cloud.shape[1], partitions_for(params.half_samples), measure.seed, task)
    k, d = measure.headline_k, cloud.shape[2]
    return references_of(cloud, parts, k, float(chance(d, k, measure.nulls.subspaces, measure.seed).mean()))


if __name__ == "__main__":
    run_stage(main, __doc__)
