"""The stage from end to end on a tiny family: its nulls, its path, what they must and must not tell apart."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from stages.activations.tokens import tokenise
from stages.models.checkpoint import ModelError, open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.paradigms import perturb
from stages.paradigms.last_tokens import last_tokens
from stages.paradigms.prompt_tokens import held_out_tokens
from stages.paradigms.tables import PERTURBED_TABLES
from stages.shared.params import ParamsError
from stages.tasks.item import TaskError
from tests.support.project import ROOT
from tests.support.tiny_models import VOCABULARY

PROMPTS, DRAWS, K = 48, 9, 2
WEIGHTS = "model.safetensors"
PERTURB = {
    "organisms": ["sft"], "like": "rl_zero", "models": {}, "draws": DRAWS, "prompts": PROMPTS, "half_samples": 12,
    "interpolation": [0.0, 0.5], "seed": 0,
}  # fmt: skip


@pytest.fixture
def family(tiny_folders, tmp_path, monkeypatch):
    """A base, and siblings that took a random step: sft a long one with two checkpoints, rl_zero a quarter of another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEVICE", "cpu")
    models = tmp_path / "data/models"
    for name in ("base-s0", "sft-s0", "rl_zero-s0"):
        shutil.copytree(tiny_folders["olmo3"], models / name)
    move("sft-s0", step(0.1, seed=1))
    for number, t in ((3, 0.5), (10, 1.0)):
        saved = models / f"sft-s0/checkpoints/step-{number}"
        shutil.copytree(tiny_folders["olmo3"], saved)
        move(f"sft-s0/checkpoints/step-{number}", step(0.1 * t, seed=1))
    move("rl_zero-s0", step(0.025, seed=2))
    (tmp_path / "data/tasks").mkdir()
    random = np.random.default_rng(0)
    for task in ("logic", "strings"):
        rows = [
            {"id": f"{task}-{i}", "prompt": " ".join(f"w{w}" for w in random.integers(3, VOCABULARY, size=4 + i % 5)), "answer": "1", "split": "held_out"}
            for i in range(PROMPTS + 2)
        ]  # fmt: skip
        (tmp_path / f"data/tasks/{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    edit_params()
    return tmp_path


def edit_params(**changes):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["study"] |= {"tasks": ["logic", "strings"], "benchmarks": []}
    params["measure"] |= {"ks": [K], "headline_k": K}
    params["perturb"] = {**PERTURB, **changes}
    Path("params.yaml").write_text(yaml.safe_dump(params))


def step(size, seed):
    def change(name, weight):
        random = np.random.default_rng([seed, len(name), sum(map(ord, name))])
        return weight + size * torch.from_numpy(random.standard_normal(weight.shape)).float()

    return change


def move(name, change):
    path = Path("data/models") / name / WEIGHTS
    weights = {key: change(key, weight).contiguous() for key, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def weights_of(name):
    return load_file(Path("data/models") / name / WEIGHTS)


def distance(name):
    ours, base = weights_of(name), weights_of("base-s0")
    return np.sqrt(
        sum(float((ours[key] - base[key]).double().square().sum()) for key in base)
        / sum(float(weight.double().square().sum()) for weight in base.values())
    )


def run(name="sft-s0", like="rl_zero-s0"):
    perturb.main(name, "base-s0", like)
    return PERTURBED_TABLES.read(perturb.PERTURBED / name, "points"), json.loads(
        (perturb.METRICS / f"{name}.json").read_text()
    )


def of(table, kind, measure="preservation", **where):
    rows = table[(table["kind"] == kind) & (table["measure"] == measure)]
    for column, value in where.items():
        rows = rows[np.isclose(rows[column].astype(float), value)]
    return rows


def test_points_and_their_displacements(family):
    table, found = run()
    counts = table.groupby("kind")["displacement"].count() / (2 * 3 * 3)  # tasks, layers, measures
    assert counts.to_dict() == {
        "isotropic": DRAWS, "spectrum_preserving": DRAWS, "negated": 1, "interpolation": 4, "checkpoint": 2,
    }  # fmt: skip
    for kind in ("isotropic", "spectrum_preserving", "negated"):
        assert of(table, kind)["displacement"].to_numpy() == pytest.approx(distance("sft-s0"), rel=1e-5)
    # 0, a half, the displacement of rl_zero, and the model itself
    line = sorted(set(of(table, "interpolation")["displacement"]))
    assert line == pytest.approx(
        [0, *sorted([distance("rl_zero-s0"), distance("sft-s0") / 2]), distance("sft-s0")], rel=1e-5
    )
    assert found["displacement"] == pytest.approx(distance("sft-s0"), rel=1e-5)
    assert "at_displacement_of_rl_zero-s0" in found


def test_the_ends_of_the_line_are_the_base_and_the_model(family):
    table, _ = run()
    assert of(table, "interpolation", t=0.0)["index"].to_numpy() == pytest.approx(1, abs=1e-6)
    tokenizer = load_tokenizer(open_checkpoint("base-s0"))
    tokens = {task: held_out_tokens(task, tokenizer, PROMPTS) for task in ("logic", "strings")}
    params, measure = perturb.load("perturb", perturb.PerturbParams), perturb.load("measure", perturb.MeasureParams)
    base, model = (load_model(open_checkpoint(name), "float32") for name in ("base-s0", "sft-s0"))
    for task, ids in tokens.items():
        ours, theirs = (last_tokens(network, ids, "resid_post", 1024) for network in (base, model))
        wanted = [
            perturb.compare(reference, rows)
            for reference, rows in zip(perturb.factorise_layers(ours, task, params, measure), theirs, strict=True)
        ]
        for measure_name, column, field in (
            ("preservation", "index", "index"), ("preservation", "value", "preservation"), ("cka", "value", "cka"),
            ("effective_rank", "value", "effective_rank"),
        ):  # fmt: skip
            rows = of(table, "interpolation", measure_name, t=1.0)
            rows = rows[rows["task"] == task].sort_values("layer")
            assert rows[column].to_numpy() == pytest.approx([getattr(w, field) for w in wanted], abs=1e-4)


def test_checkpoints_are_where_training_saved_them(family):
    table, _ = run()
    by_step = of(table, "checkpoint").set_index(["step", "task", "layer"])
    line = of(table, "interpolation", t=0.5).set_index(["task", "layer"])
    assert by_step.loc[10, "displacement"].to_numpy() == pytest.approx(distance("sft-s0"), rel=1e-5)
    pd.testing.assert_series_equal(
        by_step.loc[3, "index"], line["index"], rtol=1e-3
    )  # saved half-way on a straight line


def test_activations_in_memory_are_one_prompt_at_a_time(family):
    checkpoint = open_checkpoint("sft-s0")
    texts = ["w3 w4", "w5 w6 w7 w8 w9", "w9 w3 w4", "w11"]
    tokens = tokenise(load_tokenizer(checkpoint), texts, list("abcd"))
    model = load_model(checkpoint, "float32")
    found = last_tokens(model, tokens, "resid_post", 8)
    alone = np.concatenate([last_tokens(model, tokens.subset([i]), "resid_post", 8) for i in range(4)], axis=1)
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_an_update_along_the_top_directions_of_the_weights_is_told_from_random_ones(family):
    def without_top(name, weight):
        if weight.ndim < 2 or "lm_head" in name:
            return weight
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        return weight - u[:, :K] @ torch.diag(s[:K]) @ v[:K]

    shutil.copy(Path("data/models/base-s0") / WEIGHTS, Path("data/models/sft-s0") / WEIGHTS)
    move("sft-s0", without_top)
    _, found = run()
    assert found["spectrum_preserving"]["p_keeps_less"] == pytest.approx(1 / (DRAWS + 1))
    assert found["index"] < found["spectrum_preserving"]["lowest"] - 0.05


def test_a_random_update_is_not_told_from_random_ones(family):
    _, found = run()
    assert min(found["isotropic"]["p_keeps_less"], found["isotropic"]["p_keeps_more"]) > 1 / (DRAWS + 1)


def test_a_model_that_moved_less_has_no_matched_point(family):
    _, found = run("rl_zero-s0", "sft-s0")
    assert not [key for key in found if key.startswith("at_")]
    _, itself = run("rl_zero-s0", "rl_zero-s0")
    assert itself == found


def test_twice_the_same_bytes(family):
    outputs = []
    for _ in range(2):
        run()
        paths = [perturb.PERTURBED / "sft-s0/points.parquet", perturb.METRICS / "sft-s0.json"]
        outputs.append([path.read_bytes() for path in paths])
        shutil.rmtree(perturb.PERTURBED)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(("changes", "like", "error", "message"), [
    ({"organisms": ["stf"]}, "rl_zero-s0", ParamsError, "did you mean 'sft'"),
    ({"draws": -3}, "rl_zero-s0", ParamsError, "perturb.draws"),
    ({}, "think-s0", ModelError, "data/models/think-s0 not found: .*`dvc repro think`"),
    ({"prompts": 500}, "rl_zero-s0", TaskError, "500 asked for"),
])  # fmt: skip
def test_what_cannot_run_says_why_and_writes_nothing(family, changes, like, error, message):
    edit_params(**changes)
    with pytest.raises(error, match=message):
        perturb.main("sft-s0", "base-s0", like)
    assert not perturb.PERTURBED.exists() and not perturb.METRICS.exists()
