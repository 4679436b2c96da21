"""A file of sampled tokens that is cut anywhere, half written, or lacks a part is refused by name with the fix."""

import h5py
import numpy as np
import pytest

from stages.drift.sample_files import (
    SampleError,
    SampleHeader,
    have_same_tokens,
    read_header,
    read_states,
    read_tokens,
    read_values,
    write_samples,
)
from stages.shared.digests import append_digest
from tests.support import drift_study as study
from tests.support.damage import edited_hdf5, flip

HEADER = SampleHeader("gpt2", "float32", {"torch": "2", "numpy": "1"})


def write(path, states, tasks=("one",)):
    path.parent.mkdir(exist_ok=True)
    found = ((study.state(name, step), dict.fromkeys(tasks, study.values())) for name, step in states)
    return write_samples(path, HEADER, dict.fromkeys(tasks, study.rows()), found)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "gpt2.h5"
    write(path, [("final", -1), ("untrained", -1)])
    return path


def test_an_untrained_state_comes_before_a_final_one_without_a_step(path):
    assert [state.name for state in read_states(path)] == ["untrained", "final"]


def test_states_are_given_back_as_they_were_written_and_read_by_their_steps(tmp_path):
    written = write(tmp_path / "a/gpt2.h5", [("step-100", 100), ("step-9", 9), ("final", 100), ("untrained", -1)])
    assert [state.name for state in written] == ["step-100", "step-9", "final", "untrained"]
    assert [state.name for state in read_states(tmp_path / "a/gpt2.h5")] == ["untrained", "step-9", "step-100", "final"]
    assert set(read_states(tmp_path / "a/gpt2.h5")) == set(written)


def test_values_are_kept_to_the_last_bit_of_float32_and_take_four_bytes_each(path):
    values = study.values().astype(np.float32)
    found = read_values(path, "final", "one")
    assert found.dtype == np.float32 and found.tobytes() == values.tobytes()
    assert path.stat().st_size < 2 * values.nbytes + 25_000


def test_equal_bytes_whatever_the_order_of_library_names(path, tmp_path):
    other = tmp_path / "other/gpt2.h5"
    turned = HEADER._replace(library_versions={"numpy": "1", "torch": "2"})
    states = ((study.state(name, -1), {"one": study.values()}) for name in ("final", "untrained"))
    write_samples(other, turned, {"one": study.rows()}, states)
    assert other.read_bytes() == path.read_bytes()
    assert read_header(other) == HEADER


def test_a_state_that_fails_leaves_no_file(tmp_path):
    def states():
        yield study.state("step-1", 1), {"one": study.values()}
        raise MemoryError("of the second state")

    with pytest.raises(MemoryError):
        write_samples(tmp_path / "new.h5", HEADER, {"one": study.rows()}, states())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_file_cut_anywhere_is_refused_by_every_reader(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for read in (
        lambda: read_header(path),
        lambda: read_states(path),
        lambda: read_tokens(path, "one"),
        lambda: read_values(path, "final", "one"),
        lambda: have_same_tokens(path, path, ["one"], []),
    ):
        with pytest.raises(
            SampleError, match="gpt2.h5 is truncated, damaged, or not the sampled tokens .*dvc repro drift"
        ):
            read()


def test_a_file_of_something_else_is_refused(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\n" * 100)
    with pytest.raises(SampleError, match="gpt2.h5 is truncated, damaged, or not the sampled tokens"):
        read_header(path)
    with h5py.File(path, "w") as file:
        file["something"] = np.ones(3)
    append_digest(path)
    with pytest.raises(SampleError, match="gpt2.h5: format_version None, expected 2"):
        read_header(path)


@pytest.mark.parametrize("part", ["tokens/one/prompt", "tokens/one", "final/one", "final"])
def test_a_part_that_is_not_there_is_refused_with_the_file(path, part):
    with edited_hdf5(path) as file:
        del file[part]
    read = (
        (lambda: read_tokens(path, "one")) if part.startswith("tokens") else (lambda: read_values(path, "final", "one"))
    )
    with pytest.raises(SampleError, match="gpt2.h5 .*dvc repro drift"):
        read()


def test_a_task_that_one_of_two_lacks_is_named(path, tmp_path):
    write(tmp_path / "more/gpt2.h5", [("final", 1)], ("one", "two"))
    assert have_same_tokens(path, tmp_path / "more/gpt2.h5", ["one"], [])
    with pytest.raises(SampleError, match="gpt2.h5 holds no tokens of two"):
        have_same_tokens(tmp_path / "more/gpt2.h5", path, ["one", "two"], [])


def test_the_second_task_is_compared_as_the_first(tmp_path):
    rows = {"one": study.rows(), "two": study.rows()._replace(token_hash="others")}
    values = {task: study.values() for task in rows}
    write(tmp_path / "a/gpt2.h5", [("final", 1)], ("one", "two"))
    write_samples(tmp_path / "b/gpt2.h5", HEADER, rows, iter([(study.state("final", 1), values)]))
    with pytest.raises(SampleError, match="a/gpt2.h5 and .*b/gpt2.h5 hold other tokens of two"):
        have_same_tokens(tmp_path / "a/gpt2.h5", tmp_path / "b/gpt2.h5", ["one", "two"], [])


def test_a_flipped_bit_anywhere_is_refused(path):
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=200):
        path.write_bytes(flip(whole, bit))
        with pytest.raises(SampleError, match=r"gpt2.h5.*dvc repro drift-measure"):
            read_header(path), read_states(path), read_tokens(path, "one")
            read_values(path, "final", "one"), read_values(path, "untrained", "one")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.4e34])
def test_values_that_no_model_has_are_refused_on_writing_and_on_reading(path, value):
    values = study.values()
    values[1, 2, 3] = value
    with pytest.raises(SampleError, match="final/one has values that are not finite or above 1e.08"):
        write_samples(path, HEADER, {"one": study.rows()}, iter([(study.state("final", 1), {"one": values})]))
    with edited_hdf5(path) as file:
        file["final/one"][1, 2, 3] = value
    with pytest.raises(SampleError, match="final/one has values that are not finite or above 1e.08"):
        read_values(path, "final", "one")


def test_the_file_of_another_model_is_refused(path):
    path.rename(path.with_stem("pythia"))
    with pytest.raises(SampleError, match="holds the sampled tokens of gpt2, not of pythia"):
        read_header(path.with_stem("pythia"))
