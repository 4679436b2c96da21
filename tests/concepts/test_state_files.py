"""The file of a model's words and states: what goes in comes out, and what is damaged is named."""

import numpy as np
import pytest

from stages.concepts.state_files import FINAL, ConceptStateError, States, Words, WordsHeader, read_words, write_states
from tests.support.damage import edited_hdf5, flip


def words() -> Words:
    generator = np.random.default_rng(0)
    wide = [generator.standard_normal(shape).astype(np.float32) for shape in ((9, 4), (2, 3, 4), (2, 3, 4))]
    moments = [generator.standard_normal(shape) for shape in ((4, 4), (4,), (4, 4), (4,), (4, 4))]
    header = WordsHeader(
        "m", "hash", 3, ["a", "b", "c"], ["the {word}", "a {word}"], ["d"], {"parent": 0.5}, "float32", {"numpy": "2"}
    )
    return Words(header, np.arange(9), np.array([1, 4, 7]), {FINAL: States(*wide, *moments, 1.5)})


def test_a_round_trip_keeps_everything_and_equal_values_give_equal_bytes(tmp_path):
    paths = [tmp_path / name / "m/states.h5" for name in ("one", "two")]
    for path in paths:
        write_states(path, words())
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found, wanted = read_words(paths[0]), words()
    assert found.header == wanted.header
    for one, other in zip(found.states[FINAL], wanted.states[FINAL], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.row, wanted.row)


def test_missing_truncated_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "m/states.h5"
    with pytest.raises(ConceptStateError, match=r"states\.h5 not found; rebuild it with `dvc repro concepts-extract`"):
        read_words(path)
    write_states(path, words())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConceptStateError, match="is truncated, damaged, or not the words and states"):
        read_words(path)
    path.write_bytes(content)
    with edited_hdf5(path) as file:
        file.attrs["format_version"] = 0
    with pytest.raises(ConceptStateError, match="format_version 0, expected 2"):
        read_words(path)


def test_a_failure_leaves_no_file(tmp_path):
    broken = words()._replace(header=words().header._replace(left_out=[object()]))
    with pytest.raises(TypeError):
        write_states(tmp_path / "states.h5", broken)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m/states.h5"
    write_states(path, words())
    return path


def test_a_flipped_bit_anywhere_is_refused(path):
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=200):
        path.write_bytes(flip(whole, bit))
        with pytest.raises(ConceptStateError, match=r"states.h5.*dvc repro concepts-extract"):
            read_words(path)


@pytest.mark.parametrize(("name", "value"), [("middle", np.nan), ("unembedding", 1.4e34), ("fisher", np.inf)])
def test_values_that_no_model_has_are_refused(path, name, value):
    with edited_hdf5(path) as file:
        dataset = file[f"final/{name}"]
        dataset[(0,) * dataset.ndim] = value
    with pytest.raises(ConceptStateError, match=f"final/{name} has values that are not finite or above"):
        read_words(path)


def test_the_file_of_another_model_is_refused(path):
    path.parent.rename(path.parent.with_name("other"))
    with pytest.raises(ConceptStateError, match="holds the words and states of m, not of other"):
        read_words(path.parent.with_name("other") / "states.h5")
