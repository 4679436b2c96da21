"""The file of sampled tokens: what is written is read, and what is damaged or unlike is refused by name."""

import numpy as np
import pytest

from stages.drift import sample_files
from stages.drift.sample_files import SampleError
from tests.support import drift_study as study


def test_what_is_written_is_read(tmp_path):
    path = study.write(tmp_path, "base-s0")
    np.testing.assert_array_equal(sample_files.read_values(path, "final", "two"), study.values(1).astype(np.float32))
    found = sample_files.read_tokens(path, "one")
    np.testing.assert_array_equal(found.position, study.rows().position)
    assert found.token_hash == "tokens"
    assert sample_files.read_header(path) == sample_files.SampleHeader("base-s0", "float32", {"numpy": "2"})


def test_states_come_in_the_order_of_training(tmp_path):
    found = sample_files.read_states(study.write(tmp_path, "base-s0"))
    assert [(state.name, state.step) for state in found] == [("untrained", -1), ("step-10", 10), ("final", 20)]
    assert found[-1].weight_hash == "weights of final"


def test_equal_values_give_equal_bytes(tmp_path):
    first = study.write(tmp_path, "base-s0").read_bytes()
    assert study.write(tmp_path, "base-s0").read_bytes() == first


def test_a_failing_state_leaves_what_was_there(tmp_path):
    path = study.write(tmp_path, "base-s0")
    before = path.read_bytes()

    def states():
        yield study.state("final", 1), {"one": study.values()}
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        sample_files.write_samples(
            path, sample_files.SampleHeader("base-s0", "float32", {}), {"one": study.rows()}, states()
        )
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_truncated_file_is_named_with_the_fix(tmp_path, kept):
    path = study.write(tmp_path, "base-s0")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        SampleError, match=r"base-s0.h5 is truncated, damaged, or not the sampled tokens .*dvc repro drift"
    ):
        sample_files.read_values(path, "final", "one")


def test_a_missing_file_state_and_task_are_named(tmp_path):
    with pytest.raises(SampleError, match="sft-s0.h5 not found; .*dvc repro drift"):
        sample_files.read_header(tmp_path / "sft-s0.h5")
    path = study.write(tmp_path, "base-s0")
    with pytest.raises(SampleError, match="holds no one of step-99: it has final, step-10"):
        sample_files.read_values(path, "step-99", "one")


def test_another_format_is_refused(tmp_path, monkeypatch):
    path = study.write(tmp_path, "base-s0")
    monkeypatch.setattr(sample_files, "FORMAT_VERSION", 3)
    with pytest.raises(SampleError, match="format_version 2, expected 3"):
        sample_files.read_header(path)


def test_models_are_compared_on_the_same_tokens_precision_and_shape(tmp_path):
    base = study.write(tmp_path, "base-s0")
    assert sample_files.have_same_tokens(base, study.write(tmp_path, "sft-s0", moved=1.0), study.TASKS, [])
    with pytest.raises(SampleError, match="other tokens of one: expected the reference's tokenizer"):
        sample_files.have_same_tokens(base, study.write(tmp_path, "rl-s0", token_hash="others"), study.TASKS, [])
    path, shown = tmp_path / "think-s0.h5", {"one": study.rows()}
    narrow = {"one": study.values()[:, :, :4]}
    sample_files.write_samples(
        path, sample_files.SampleHeader("think-s0", "float32", {}), shown, iter([(study.state("final", 1), narrow)])
    )
    with pytest.raises(SampleError, match=r"shapes \(8, 96, 8\) and \(8, 96, 4\)"):
        sample_files.have_same_tokens(base, path, ["one"], [])
    sample_files.write_samples(
        path, sample_files.SampleHeader("think-s0", "bfloat16", {}), shown, iter([(study.state("final", 1), narrow)])
    )
    with pytest.raises(SampleError, match="computed in float32, .*in bfloat16"):
        sample_files.have_same_tokens(base, path, ["one"], [])
