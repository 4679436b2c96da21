"""The stage of token trajectories, from activation files to its table and metrics."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.activations.store import ActivationError, ActivationHeader, Block, read_site, write
from stages.paradigms import traverse as paths
from stages.shared.params import ParamsError

N, D, LAYERS = 24, 6, 4
PARAMS = {
    "study": {"seeds": [0], "organisms": ["base", "sft"], "models": {}, "tasks": ["logic"], "benchmarks": []},
    "paths": {
        "organisms": ["sft"], "models": {}, "site": "resid_post", "depths": [0.1, 0.5, 1], "prompts": 20, "directions": 3, "degree": 2,
        "kernel_order": 4, "half_samples": 12, "confidence": 0.95, "seed": 0,
    },
}  # fmt: skip


def collect(model, noise, aggregations=("all_tokens",), token_hash="t"):
    generator = np.random.default_rng(0)
    lengths = generator.integers(6, 12, N)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    mask = ~np.isin(np.arange(offsets[-1]), offsets)  # without position 0
    header = ActivationHeader(
        model=model, task="logic", resolved_revision="local", weight_hash="w", paradigm="base", architecture="olmo3", n_layers=LAYERS, d_model=D,
        aggregations=aggregations, sites=("resid_post",), mask="real tokens", precision="float32", prompt_format="plain",
        prompt_ids=tuple(f"logic-{i}" for i in range(N)), token_hash=token_hash, tokens_per_batch=1, library_versions={}, all_tokens_dtype="float32",
    )  # fmt: skip
    own = np.random.default_rng(1)
    blocks = []
    for aggregation in aggregations:
        for layer in range(LAYERS):
            rows = offsets[-1] if aggregation == "all_tokens" else N
            values = np.cumsum(generator.standard_normal((rows, D)), axis=0)
            values += noise * own.standard_normal(values.shape)
            values[offsets[:-1] if rows > N else []] *= 1000  # a sink
            blocks.append(Block(aggregation, "resid_post", layer, values.astype(np.float32)))
    ragged = {"offsets": offsets, "mask": mask} if "all_tokens" in aggregations else {}
    write(paths.ACTIVATIONS / model / "logic.h5", header, blocks, **ragged)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    collect("base-s0", 0.0)
    collect("sft-s0", 0.3)
    return tmp_path


def outputs():
    return [
        (folder / f"sft-s0.{kind}").read_bytes()
        for folder, kind in ((paths.TABLES, "parquet"), (paths.METRICS, "json"))
    ]


def test_table_and_metrics_are_complete_and_the_same_twice(study):
    paths.main("sft-s0", "base-s0")
    table = pd.read_parquet(paths.TABLES / "sft-s0.parquet")
    assert sorted(set(table["layer"])) == [0, 1, 3] and set(table["n"]) == {20}
    assert not table.isna().any().any()
    assert not table.duplicated(["task", "site", "layer", "measure", "variant"]).any()
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    found = json.loads((paths.METRICS / "sft-s0.json").read_text())
    assert set(found) == {"signature_distance_k3_degree2", "signature_shift_k3_degree2", "signed_area_distance_k3"}
    assert 0 < found["signature_shift_k3_degree2"] < 1
    before = outputs()
    paths.main("sft-s0", "base-s0")
    assert outputs() == before


def test_a_path_is_its_prompt_s_tokens_without_the_sink(study):
    file = paths.ACTIVATIONS / "base-s0/logic.h5"
    found = paths.read_paths(file, "resid_post", 2, 20)
    values = read_site(file, "all_tokens", "resid_post", 2)
    lengths = np.random.default_rng(0).integers(6, 12, N)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    assert len(found) == 20
    for path, start, length in zip(found, starts, lengths, strict=False):
        np.testing.assert_array_equal(path, values[start + 1 : start + length])


def test_without_all_tokens_the_error_names_what_to_set(study):
    collect("sft-s0", 0.3, aggregations=("last_token",))
    with pytest.raises(
        ActivationError,
        match=r"sft-s0/logic.h5 holds last_token: .* -S 'collect.aggregations=\[last_token,all_tokens\]'",
    ):
        paths.main("sft-s0", "base-s0")
    assert not paths.TABLES.exists()


def test_other_tokens_are_an_error(study):
    collect("sft-s0", 0.3, token_hash="u")
    with pytest.raises(ActivationError, match="not comparable: token_hash"):
        paths.main("sft-s0", "base-s0")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("depths", [0.5, 1.5], "less than or equal to 1"),
        ("depths", [1, 1], "every value may stand only once"),
        ("directions", 1, "greater than or equal to 2"),
        ("layers", [1], "unknown key paths.layers"),
    ],
)
def test_bad_params_name_the_key(study, key, value, message):
    content = {**PARAMS, "paths": {**PARAMS["paths"], key: value}}
    (study / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=message):
        paths.main("sft-s0", "base-s0")
