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
from stages.geometry.subspace import preservation_chance
from stages.models.capture import self_test
from stages.models.checkpoint import open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.paradigms.fast_scores import ReferenceLayer, compare, reference_layers
from stages.paradigms.last_tokens import last_tokens_by_task
from stages.paradigms.metrics import perturbation_metrics
from stages.paradigms.params import Hypotheses, MeasureParams, PerturbParams, model_reference_and_like
from stages.paradigms.perturbation import update
from stages.paradigms.perturbation_points import all_points, matched_t, moved_to
from stages.paradigms.perturbed_records import perturbed_rows
from stages.paradigms.prompt_tokens import fed_tokens
from stages.paradigms.tables import PERTURBED_TABLES
from stages.shared.command import run_stage
from stages.shared.files import write_json
from stages.shared.params import load
from stages.shared.study import Study, all_tasks
from stages.statistics.half_sampling import partitions_for, quarters

PERTURBED, METRICS = Path("data/probes/perturbed"), Path("metrics/perturb")


def main(name: str, reference_name: str, like_name: str) -> None:
    """Score every model that moved from the reference as far as ``name`` did; write their table and the metrics."""
    params, measure = load("perturb", PerturbParams), load("measure", MeasureParams)
    site, budget = load("hypotheses", Hypotheses).site, load("collect", Collect).tokens_per_batch
    reference, sibling = open_checkpoint(reference_name), open_checkpoint(name)
    tokenizer, tasks = load_tokenizer(reference), all_tasks(load("study", Study))
    tokens = fed_tokens(sibling, tokenizer, tasks, params.prompts)
    delta = update(reference, sibling)
    matched = None
    if like_name != name and (matched := matched_t(delta, update(reference, open_checkpoint(like_name)))) is None:
        logging.warning("%s moved less than %s: its line has no point at that displacement", name, like_name)
    model = load_model(reference, "float32")
    self_test(model)
    references = {
        task: factorise_layers(activations, task, params, measure)
        for task, activations in last_tokens_by_task(model, tokens, site, budget)
    }
    points, rows = all_points([*params.interpolation, 1.0, *filter(None, [matched])], params.draws, sibling), []
    for point in tqdm(points, unit="model", mininterval=5):
        with moved_to(model, point, delta, reference, sibling, params.seed) as applied:
            described = {**point._asdict(), "displacement": applied.displacement}
            for task, activations in last_tokens_by_task(model, tokens, site, budget):
                for layer, (reference_layer, x) in enumerate(zip(references[task], activations, strict=True)):
                    rows += perturbed_rows(described, task, layer, compare(reference_layer, x)._asdict())
    table = PERTURBED_TABLES.typed("points", rows)
    PERTURBED_TABLES.write(PERTURBED / name, {"points": table})
    write_json(METRICS / f"{name}.json", perturbation_metrics(table, like_name, matched))
    logging.info("%s beside %d models moved from %s", name, len(points), reference_name)


def factorise_layers(x: np.ndarray, task: str, params: PerturbParams, measure: MeasureParams) -> list[ReferenceLayer]:
    """Return what every model is compared with: the reference's activations ``x`` (layers, n, d) of ``task``, factorised."""
    parts = quarters(x.shape[1], partitions_for(params.half_samples), measure.seed, task)
    k, d = measure.headline_k, x.shape[2]
    return reference_layers(x, parts, k, float(preservation_chance(d, k, measure.nulls.subspaces, measure.seed).mean()))


if __name__ == "__main__":
    run_stage(main, __doc__, model_reference_and_like)
