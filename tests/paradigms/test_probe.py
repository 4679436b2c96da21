"""The probe stage from checkpoints to tables and metrics, and bad inputs: a clear error and nothing half-written."""

import json
import shutil

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

from stages.models.checkpoint import ModelError
from stages.paradigms import probe
from stages.paradigms.tables import PROBE_COLUMNS, PROBE_TABLES
from stages.paradigms.weight_records import ITS_OWN_REFERENCE
from stages.shared.params import ParamsError
from stages.shared.tables import TableError
from stages.tasks.item import TaskError
from tests.support.tiny_models import tiny_tokenizer

TENSOR = "model.layers.1.mlp.up_proj.weight"
PARAMS = {
    "prompts": 3, "draws": 2, "singular_prompts": 2, "singular_tolerance": 0.1, "overlap_shares": [0.25], "null_draws": 2,
    "confidence": 0.95, "seed": 0,
}  # fmt: skip


@pytest.fixture
def project(tiny_folders, tmp_path, monkeypatch):
    """A project with a base, a sibling whose update is one rank-one matrix, and two tasks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEVICE", "cpu")
    for name in ("base-s0", "sft-s0"):
        shutil.copytree(tiny_folders["olmo3"], tmp_path / "data/models" / name)
    path = tmp_path / "data/models/sft-s0/model.safetensors"
    weights = load_file(path)
    weights[TENSOR] = weights[TENSOR] + 0.1 * weights[TENSOR][:, :1] * weights[TENSOR][:1]
    save_file(weights, path, metadata={"format": "pt"})
    (tmp_path / "data/tasks").mkdir()
    rng = np.random.default_rng(0)
    for task in ("arithmetic", "logic"):
        prompts = [" ".join(f"w{w}" for w in rng.integers(3, 39, size=2 + i)) for i in range(5)]
        rows = [
            {"id": f"{task}-{i}", "prompt": prompt, "answer": "1", "split": "held_out"}
            for i, prompt in enumerate(prompts)
        ]
        (tmp_path / f"data/tasks/{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    edit_params()
    return tmp_path


def edit_params(**changes):
    study = {"seeds": [0], "organisms": ["base", "sft"], "models": {}, "tasks": ["arithmetic"], "benchmarks": ["logic"]}
    with open("params.yaml", "w") as file:
        yaml.safe_dump({"study": study, "probe": PARAMS | changes}, file)


def tables(model):
    return [PROBE_TABLES.read(probe.PROBES / model, name) for name in PROBE_COLUMNS]


def content():
    paths = [path for folder in (probe.PROBES, probe.METRICS) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


def test_tables_and_metrics_of_a_sibling_twice_the_same(project):
    probe.main("sft-s0", "base-s0")
    first = content()
    values, records, weights = tables("sft-s0")
    for name, table in zip(PROBE_COLUMNS, (values, records, weights), strict=True):
        assert list(table.columns) == list(PROBE_COLUMNS[name])
        assert set(table["model"]) == {"sft-s0"} and set(table["reference"]) == {"base-s0"}
    assert set(values["prompt"]) == {f"{task}-{i}" for task in ("arithmetic", "logic") for i in range(3)}
    moved = weights[(weights["measure"] == "update_norm") & (weights["value"] > 0)]
    assert list(moved["tensor"]) == [TENSOR]
    rank = weights[(weights["measure"] == "update_effective_rank") & (weights["missing"] == "")]
    assert list(rank["tensor"]) == [TENSOR] and rank["value"].iloc[0] == pytest.approx(1, abs=1e-4)
    found = json.loads((probe.METRICS / "sft-s0.json").read_text())
    assert set(found) == {
        "relative_noise_response_last_layer", "jacobian_frobenius_norm", "expansion_exponent", "displacement",
        "update_effective_rank_over_null", "overlap_both_share_0.25_over_chance",
    }  # fmt: skip
    probe.main("sft-s0", "base-s0")
    assert content() == first


def test_its_own_reference_has_no_update(project):
    probe.main("base-s0", "base-s0")
    _, records, weights = tables("base-s0")
    assert set(weights["missing"]) == {ITS_OWN_REFERENCE} and weights["value"].isna().all()
    assert records["value"].notna().all()
    assert "displacement" not in json.loads((probe.METRICS / "base-s0.json").read_text())


def test_siblings_see_the_tokens_of_the_reference(project):
    """Also when a sibling's own tokenizer adds nothing in front; layers before the update answer alike, value for value."""
    own = tiny_tokenizer()
    own.backend_tokenizer.post_processor = None
    own.save_pretrained("data/models/sft-s0")
    for name in ("base-s0", "sft-s0"):
        probe.main(name, "base-s0")
    base, sft = (tables(name)[0] for name in ("base-s0", "sft-s0"))
    same = base["value"] == sft["value"]
    assert same[base["layer"] == 0].all() and not same[base["layer"] > 0].all()


def test_another_architecture_has_sensitivities_and_a_reason_in_place_of_an_update(project, tiny_folders):
    shutil.copytree(tiny_folders["llama"], "data/models/other")
    probe.main("other", "base-s0")
    _, records, weights = tables("other")
    assert records["value"].notna().all()
    assert weights["missing"].str.startswith("other is no sibling of base-s0, their parameters differ").all()


def test_a_quantised_model_has_reasons_only(project):
    pointer = {
        "path": str(project / "data/models/base-s0"), "paradigm": "base", "resolved_revision": "local", "weight_hash": "",
        "architecture": "olmo3", "precision": "nf4", "prompt_format": "plain",
    }  # fmt: skip
    folder = project / "data/models/base-nf4"
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps(pointer))
    probe.main("base-nf4", "base-s0")
    values, records, weights = tables("base-nf4")
    assert values.empty and set(records["layer"]) == {0, 1, 2}
    assert records["missing"].str.startswith("quantised (nf4)").all()
    assert weights["missing"].str.startswith("quantised").all()
    assert json.loads((probe.METRICS / "base-nf4.json").read_text()) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"singular_prompts": 4}, "singular_prompts 4 must be at most prompts 3"),
        ({"overlap_shares": [0.5, 0.5]}, "overlap_shares: every value may stand only once"),
        ({"overlap_shares": [1.5]}, r"probe.overlap_shares.0: .*less than or equal to 1 \(found 1.5\)"),
        ({"draws": 1}, r"probe.draws: .*greater than or equal to 2 \(found 1\)"),
        ({"direction": 3}, "unknown key probe.direction"),
    ],
)
def test_a_bad_parameter_is_named(project, changes, message):
    edit_params(**changes)
    with pytest.raises(ParamsError, match=message):
        probe.main("sft-s0", "base-s0")
    assert content() == {}


def test_too_few_prompts_are_named(project):
    edit_params(prompts=6)
    with pytest.raises(TaskError, match="task 'arithmetic' has 5 held_out prompts, 6 asked for"):
        probe.main("sft-s0", "base-s0")
    assert content() == {}


def test_a_missing_model_names_its_stage(project):
    with pytest.raises(ModelError, match="dvc repro rl_zero"):
        probe.main("rl_zero-s0", "base-s0")
    assert content() == {}


def test_a_missing_or_damaged_table_names_the_stage(project):
    with pytest.raises(TableError, match="dvc repro probe-model@gone"):
        PROBE_TABLES.read(probe.PROBES / "gone", "weights")
    probe.main("base-s0", "base-s0")
    path = probe.PROBES / "base-s0/records.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(
        TableError,
        match="records.parquet is truncated, damaged, or not a table of a probed model.*dvc repro probe@base-0",
    ):
        PROBE_TABLES.read(probe.PROBES / "base-s0", "records")
