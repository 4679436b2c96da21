"""The measure stage from activation files to tables and metrics."""

import json
import shutil
import weakref

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.activations.store import ActivationError, ActivationHeader, Block, write
from stages.paradigms import measure, measure_jobs
from stages.paradigms.tables import RECORD_COLUMNS, RECORD_TABLES
from stages.shared.params import ParamsError
from stages.shared.tables import TableError
from tests.support.damage import edited_hdf5

N, D, LAYERS, TASKS, SITES = 64, 12, 3, ("logic", "strings"), ("resid_mid", "resid_post")
PARAMS = {
    "study": {"seeds": [0], "organisms": ["base", "sft"], "models": {}, "tasks": list(TASKS), "benchmarks": []},
    "measure": {
        "aggregation": "last_token", "positions": ["mean"], "unlike": [], "ks": [2, 3], "headline_k": 3, "interval_sites": ["resid_post"], "half_samples": 24,
        "plain_half_samples": 12, "confidence": 0.95, "decay_ranks": [{"first": 0.08, "last": 0.5}], "bands": [0, 0.3, 1], "components_share": 0.9,
        "legacy_k": 100, "nulls": {"subspaces": 100, "spectra": 2}, "topology": None, "seed": 0,
    },
}  # fmt: skip


def collect(model, task, change, prompts=N, token_hash="t", precision="float32"):
    header = ActivationHeader(
        model=model, task=task, resolved_revision="local", weight_hash="w", paradigm="base", architecture="olmo3", n_layers=LAYERS, d_model=D,
        aggregations=("last_token", "mean"), sites=SITES, mask="last real token", precision=precision, prompt_format="plain",
        prompt_ids=tuple(f"{task}-{i}" for i in range(prompts)), token_hash=token_hash, tokens_per_batch=1, library_versions={},
    )  # fmt: skip
    generator = np.random.default_rng(len(task))
    clouds = {
        (site, layer): generator.standard_normal((prompts, D)) * np.geomspace(3, 0.3, D) + 1
        for site in SITES
        for layer in range(LAYERS)
    }
    clouds["resid_mid", 0] = np.ones((prompts, D))  # every prompt ends in the same token
    blocks = (
        Block(position, site, layer, (change(x) + shift).astype(np.float32))
        for position, shift in (("last_token", 0), ("mean", 1))
        for (site, layer), x in clouds.items()
    )
    write(measure.ACTIVATIONS / model / f"{task}.h5", header, blocks)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    turn = np.eye(D) + 0.1 * np.random.default_rng(5).standard_normal((D, D))
    for task in TASKS:
        collect("base-s0", task, lambda x: x)
        collect("sft-s0", task, lambda x: x @ turn)
    return tmp_path


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_tables_and_metrics(study):
    measure.main("sft-s0", "base-s0")
    found = {name: RECORD_TABLES.read(measure.RECORDS / "sft-s0", name) for name in RECORD_COLUMNS}
    for name, table in found.items():
        assert list(table.columns) == list(RECORD_COLUMNS[name])
    records, replicates = found["records"], found["replicates"]
    assert not records.duplicated(["task", "aggregation", "site", "layer", "measure", "variant"]).any()
    assert set(replicates["site"]) == {"resid_post"} and replicates["replicate"].max() == 23
    assert set(found["spectra"]["variant"]) == {"raw", "centred"}
    metrics = json.loads((measure.METRICS / "sft-s0.json").read_text())
    assert set(metrics) == {"preservation_centred_k3", "effective_rank_centred_singular", "cka_debiased"}
    assert 0.5 < metrics["preservation_centred_k3"]["index"] < 1
    assert metrics["preservation_centred_k3"]["index_at_mean"] == metrics["preservation_centred_k3"]["index"]  # centred


def test_further_positions_have_what_hypotheses_may_be_about(study):
    measure.main("sft-s0", "base-s0")
    records = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records")
    there = records[records["aggregation"] == "mean"]
    assert set(there["measure"]) == {"preservation", "effective_rank", "cka"} and set(there["site"]) == {"resid_post"}
    assert there["standard_error"].notna().all()


def test_ranks_have_a_curve_over_the_number_of_prompts(study):
    measure.main("sft-s0", "base-s0")
    curve = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "rarefaction").query(
        "measure == 'effective_rank' and variant == 'centred_singular'"
    )
    assert sorted(set(curve["n"])) == [N // 4, N // 2, N]
    by_size = curve.groupby("n")["value"].mean()
    assert by_size.is_monotonic_increasing  # of the same cloud, more prompts fill more directions


def test_layers_are_compared_with_each_other(study):
    measure.main("sft-s0", "base-s0")
    layers = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "layers")
    assert len(layers) == len(TASKS) * LAYERS * (LAYERS - 1) / 2
    assert layers["cka"].abs().max() < 0.2  # the layers are drawn independently


def test_paths_bend_as_much_as_their_steps_make_random_walks_bend(study):
    measure.main("sft-s0", "base-s0")
    bends = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records").query("measure == 'menger_curvature'")
    assert set(bends["layer"]) == {1} and len(bends) == len(TASKS)
    assert ((bends["low"] < bends["value"]) & (bends["value"] < bends["high"])).all()
    # layers are drawn independently, so that a step and the next lean back: a little more bent than a walk
    assert ((bends["value"] / bends["null"]).between(0.8, 1.6)).all()


def test_clusters_and_loops_are_measured_where_they_are_asked_for(study):
    pytest.importorskip("gudhi")
    params = PARAMS | {"measure": PARAMS["measure"] | {"topology": {"points": 30, "draws": 2}}}
    (study / "params.yaml").write_text(yaml.safe_dump(params))
    measure.main("sft-s0", "base-s0")
    rows = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records").query("measure.str.startswith('persistence')")
    assert len(rows) == 10 * LAYERS * len(TASKS) and set(rows["aggregation"]) == {"last_token"}
    assert rows[["value", "null", "resample_baseline"]].notna().all(axis=None)


def test_values_without_one_have_a_reason_and_the_others_have_none(study):
    measure.main("sft-s0", "base-s0")
    records = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records")
    assert (records["value"].isna() == (records["missing"] != "")).all()
    constant = records["missing"].str.startswith("constant by design")
    assert constant.equals((records["site"] == "resid_mid") & (records["layer"] == 0))


def test_intervals_contain_their_estimate(study):
    measure.main("sft-s0", "base-s0")
    records = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records")
    has = records["standard_error"].notna()
    assert has.sum() > 20 and set(records.loc[has, "site"]) == {"resid_post"}
    assert (records.loc[has, "low"] <= records.loc[has, "value"]).all() and (
        records.loc[has, "value"] <= records.loc[has, "high"]
    ).all()


def test_the_reference_against_itself(study):
    measure.main("base-s0", "base-s0")
    assert json.loads((measure.METRICS / "base-s0.json").read_text())["preservation_centred_k3"] == {
        "index": 1.0,
        "index_at_mean": 1.0,
        "same_prompts": 1.0,
    }


def test_bytes_depend_neither_on_the_number_of_workers_nor_on_the_run(study, monkeypatch):
    found = []
    for workers in ("1", "3", "1"):
        monkeypatch.setenv("JOBS", workers)
        measure.main("sft-s0", "base-s0")
        found.append({**content(measure.RECORDS), **content(measure.METRICS)})
    assert found[0] == found[1] == found[2]


def test_all_models_share_their_halves(study):
    """A model that is the reference under another name has its replicates, value for value."""
    shutil.copytree(measure.ACTIVATIONS / "base-s0", measure.ACTIVATIONS / "twin")
    for task in TASKS:
        with edited_hdf5(measure.ACTIVATIONS / "twin" / f"{task}.h5") as file:
            file.attrs["model"] = "twin"
    measure.main("twin", "base-s0")
    measure.main("base-s0", "base-s0")
    twin, base = (RECORD_TABLES.read(measure.RECORDS / model, "replicates") for model in ("twin", "base-s0"))
    pd.testing.assert_frame_equal(twin, base, rtol=1e-6)


def nothing_written():
    return not measure.RECORDS.exists() and not measure.METRICS.exists()


@pytest.mark.parametrize("gone", [["sft"], ["base"], ["base", "sft"]])
def test_a_missing_file_names_both_models_and_the_stages_that_build_it(study, gone):
    for organism in gone:
        (measure.ACTIVATIONS / f"{organism}-s0" / "strings.h5").unlink()
    wanted = "sft-s0 cannot be measured against base-s0 on strings.*dvc repro " + " ".join(
        f"collect@{name}-0" for name in gone
    )
    with pytest.raises(ActivationError, match=f"{wanted}`"):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()


def test_a_truncated_file_is_named(study):
    path = measure.ACTIVATIONS / "sft-s0" / "strings.h5"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ActivationError, match="strings.h5"):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()


def test_other_tokens_are_not_comparable(study):
    collect("sft-s0", "strings", lambda x: x, token_hash="other")
    with pytest.raises(ActivationError, match="token_hash differs"):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()


def test_another_precision_is_compared_only_when_asked_for(study):
    for task in TASKS:
        collect("sft-s0", task, lambda x: x, precision="nf4")
    with pytest.raises(
        ActivationError, match="precision differs.*'float32' and 'nf4'.*add precision to measure.unlike"
    ):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()
    params = PARAMS | {"measure": PARAMS["measure"] | {"unlike": ["precision"]}}
    (study / "params.yaml").write_text(yaml.safe_dump(params))
    measure.main("sft-s0", "base-s0")
    assert (study / "data/records/sft-s0").exists()


def test_other_prompts_are_not_comparable(study):
    collect("sft-s0", "strings", lambda x: x, prompts=N - 4)
    with pytest.raises(
        ActivationError,
        match=r"base-s0 and sft-s0 on strings .* prompt_ids differs .sft-s0 lacks 4 of 64 prompts, e.g. strings-60.*dvc repro collect@base-0 collect@sft-0",
    ):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()


def test_a_headline_k_above_the_width_is_an_error(study):
    params = PARAMS | {"measure": PARAMS["measure"] | {"headline_k": 13, "ks": [2, 13]}}
    (study / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(
        ActivationError,
        match="sft-s0 cannot be compared with base-s0 on logic: k = 13 .*n = 64 prompts in d = 12 .*holds 12; lower measure.headline_k",
    ):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()


def test_too_few_prompts_for_the_headline_name_the_number_needed(study):
    for model in ("base-s0", "sft-s0"):
        collect(model, "strings", lambda x: x, prompts=15)  # a quarter of three rows has two centred directions
    with pytest.raises(
        ActivationError,
        match=r"sft-s0 cannot be compared with base-s0 on strings: k = 3 .*n = 15 .*holds 2; collect at least 16 prompts.*or lower measure.headline_k",
    ):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()


def test_too_few_prompts_for_another_k_is_a_missing_record(study):
    params = PARAMS | {"measure": PARAMS["measure"] | {"ks": [3, 7]}}
    (study / "params.yaml").write_text(yaml.safe_dump(params))
    for model in ("base-s0", "sft-s0"):
        for task in TASKS:
            collect(model, task, lambda x: x, prompts=24)
    measure.main("sft-s0", "base-s0")
    found = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records").query("measure == 'preservation' and layer == 1")
    missing = found.set_index("variant")["missing"]
    assert (missing["centred_k3"] == "").all() and missing["centred_k7"].str.contains("k = 7 is above 5").all()


def edit(model, dataset, change):
    """Change a dataset of a file by hand, as no program of the pipeline does."""
    with edited_hdf5(measure.ACTIVATIONS / model / "strings.h5") as file:
        values = file[dataset][:]
        change(values)
        file[dataset][:] = values


def test_a_row_that_is_not_finite_is_named(study):
    edit("sft-s0", "last_token/blocks.1.hook_resid_post", lambda values: values[7:9].fill(np.nan))
    with pytest.raises(
        ActivationError,
        match=r"sft-s0/strings.h5: last_token/blocks.1.hook_resid_post is not finite, first at prompt strings-7 \(row 7\).*dvc repro collect@sft-0",
    ):
        measure.main("sft-s0", "base-s0")
    assert nothing_written()


@pytest.mark.parametrize(("model", "who"), [("sft-s0", "the model"), ("base-s0", "the reference")])
def test_a_collapsed_site_of_one_model_is_missing_and_loses_no_other_site(study, model, who):
    """A finding about that model: no error, and its reason says whose activations have no variance."""

    def collapse(values):
        values[:] = values[0]

    edit(model, "last_token/blocks.1.hook_resid_post", collapse)
    measure.main("sft-s0", "base-s0")
    records = RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records")
    records = records[(records["aggregation"] == "last_token") & (records["measure"] != "menger_curvature")]
    collapsed = (records["task"] == "strings") & (records["site"] == "resid_post") & (records["layer"] == 1)
    assert records.loc[collapsed, "missing"].str.contains(f"last_token of {who} has no variance").all()
    assert records.loc[~collapsed & (records["layer"] == 1), "missing"].eq("").mean() > 0.5


@pytest.mark.parametrize("workers", [1, 3])
def test_each_worker_holds_two_layers_of_activations_and_no_more(study, monkeypatch, workers):
    held, most = [], 0
    read_site = measure_jobs.read_site

    def counted(*args):
        nonlocal most
        values = read_site(*args)
        held.append(weakref.ref(values))
        most = max(most, sum(reference() is not None for reference in list(held)))
        return values

    monkeypatch.setattr(measure_jobs, "read_site", counted)
    monkeypatch.setenv("JOBS", str(workers))
    measure.main("sft-s0", "base-s0")
    pairs = (len(SITES) + 1) * LAYERS * len(TASKS)  # resid_post at a second position, too
    depth = (LAYERS + LAYERS * (LAYERS + 1) // 2) * len(TASKS)
    assert len(held) == 2 * pairs + depth and 2 <= most <= 2 * workers


def test_a_bad_parameter_is_named(study):
    bad = {**PARAMS, "measure": {**PARAMS["measure"], "headline_k": 5}}
    (study / "params.yaml").write_text(yaml.safe_dump(bad))
    with pytest.raises(ParamsError, match=r"headline_k 5 must be one of ks \[2, 3\]"):
        measure.main("sft-s0", "base-s0")


def test_reading_a_table_that_is_not_there(tmp_path):
    with pytest.raises(TableError, match="dvc repro measure-model@gone"):
        RECORD_TABLES.read(tmp_path / "gone", "records")


def test_reading_a_damaged_table(study):
    measure.main("sft-s0", "base-s0")
    path = measure.RECORDS / "sft-s0" / "records.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(TableError, match="dvc repro measure@sft-0"):
        RECORD_TABLES.read(measure.RECORDS / "sft-s0", "records")
