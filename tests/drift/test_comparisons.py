"""One task of one model on clouds that move in known ways."""

import numpy as np
import pandas as pd
import pytest

from stages.drift.compared_models import ComparedModel
from stages.drift.comparisons import measure_task
from tests.support import drift_study as study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    study.write(folder, "base-s0")
    study.write(folder, "sft-s0", moved=study.MOVED)
    return folder


def tables(folder, model="sft-s0", **changes):
    found = measure_task(ComparedModel(model, "base-s0"), "one", folder, study.params(**changes))
    return {name: pd.DataFrame(rows) for name, rows in found.items()}


@pytest.fixture(scope="module")
def found(folder):
    return tables(folder)


def of(records, kind, measure="w2", basis="raw", tokens="content", state="final"):
    chosen = records["kind"].eq(kind) & records["measure"].eq(measure) & records["basis"].eq(basis)
    return records[chosen & records["tokens"].eq(tokens) & records["state"].eq(state)]


def test_every_pair_of_layers_lies_as_far_apart_as_the_steps_between_them(found):
    rows = of(found["records"], "layers")
    assert len(rows) == study.POINTS * (study.POINTS - 1) // 2
    path = np.concatenate([[0], np.cumsum(study.STEPS)])
    np.testing.assert_allclose(rows["value"], path[rows["other_point"]] - path[rows["point"]], rtol=1e-4)


def test_a_known_step_has_an_interval_about_it(found):
    """A translation is the same for all prompts: nothing is left to chance."""
    rows = of(found["records"], "layers")
    near = rows[rows["other_point"] == rows["point"] + 1]
    np.testing.assert_allclose(near["standard_error"], 0, atol=1e-5)
    assert (near["low"] <= near["value"]).all() and (near["resample_baseline"] > 0).all()
    far = rows[rows["other_point"] > rows["point"] + 1]
    assert far["standard_error"].isna().all()


def test_a_sibling_is_as_far_from_its_reference_as_it_was_moved(found):
    for measure, expected in (("w2", study.MOVED), ("identity_cost", study.MOVED**2), ("identity_ratio", 1.0)):
        np.testing.assert_allclose(of(found["records"], "models", measure)["value"], expected, rtol=1e-3)
    assert (of(found["records"], "models")["other_model"] == "base-s0").all()


def test_a_rotated_cloud_is_far_and_a_noisy_one_as_far_as_its_noise(found):
    size = np.sqrt(np.square(study.values()[:, study.rows().position > 0]).sum(axis=-1).mean(axis=1))  # (points,)
    noisy = of(found["records"], "noisy", "identity_cost").sort_values("point")["value"]
    np.testing.assert_allclose(np.sqrt(noisy), study.params().noise * size, rtol=0.15)
    assert of(found["records"], "rotated")["value"].min() > 2 * study.STEPS.max()


def test_the_untrained_model_and_the_checkpoints_are_told_apart(found):
    untrained = of(found["records"], "layers", state="untrained").sort_values("point")
    np.testing.assert_allclose(untrained["value"], 4 * study.STEPS, rtol=1e-4)
    between = of(found["records"], "checkpoints")
    np.testing.assert_allclose(between["value"], 0.1, rtol=1e-3)
    assert set(between["other_state"]) == {"step-10"}


def test_a_reference_is_compared_with_no_model(folder):
    assert "models" not in set(tables(folder, "base-s0")["records"]["kind"])


def test_sinks_of_great_length_change_their_own_rows_only(tmp_path, folder, found):
    values = {"one": study.values(moved=study.MOVED, sink=300.0)}
    from stages.drift.sample_files import SampleHeader, write_samples

    study.write(tmp_path, "base-s0")
    header = SampleHeader("sft-s0", "float32", {})
    write_samples(tmp_path / "sft-s0.h5", header, {"one": study.rows()}, iter([(study.state("final", 20), values)]))
    records, plain = tables(tmp_path)["records"], found["records"]
    for kind in ("layers", "models"):
        np.testing.assert_array_equal(of(records, kind)["value"], of(plain, kind)["value"])
    loud, quiet = (of(rows, "models", tokens="with_sinks")["value"].min() for rows in (records, plain))
    assert loud > 100 * quiet


def test_the_prior_formula_puts_a_mere_translation_far_away(found):
    """Its PCA of each layer centres a translation away; its entropic plan keeps a cloud from itself."""
    rows = of(found["records"], "layers", "legacy_sinkhorn", "per_layer_pca_4")
    assert len(rows) == study.POINTS - 1 and rows["value"].min() > 0.02
    rotated = of(found["records"], "rotated", "legacy_sinkhorn", "per_layer_pca_4")
    assert len(rotated) == study.POINTS and rotated["value"].min() > 0.02


def test_gromov_is_taken_where_it_is_asked_for(folder, found):
    assert "gromov_wasserstein" not in set(found["records"]["measure"])
    rows = of(tables(folder, gromov_rows=12)["records"], "layers", "gromov_wasserstein")
    np.testing.assert_allclose(rows["value"], 0, atol=1e-3)
    assert len(rows) == study.POINTS - 1 and set(rows["n"]) == {12}


def test_a_profile_grows_with_its_cloud(found):
    profile = found["profile"].query("tokens == 'content'")
    values = study.values(moved=study.MOVED)[:, study.rows().position > 0]
    norms = profile[profile["measure"] == "norm_mean"].sort_values("point")["value"]
    np.testing.assert_allclose(norms, np.linalg.norm(values, axis=-1).mean(axis=1), rtol=1e-5)
    variance = profile[profile["measure"] == "total_variance"]["value"]
    np.testing.assert_allclose(variance, values[0].var(axis=0).sum(), rtol=1e-4)  # shifts leave it as it is
