"""HDF5 files whose every bit is checked: what another process holds is said to be held, not to be damaged."""

import fcntl
import time

import numpy as np
import pytest

from stages.shared.files import FileError, FileSource
from stages.shared.hdf5_files import add_dataset, read_hdf5, write_hdf5
from tests.support.damage import flip

SOURCE = FileSource("values", "rebuild it with `dvc repro x`")


def write(path, rows=5):
    with write_hdf5(path) as file:
        file.attrs["name"] = "a" * 500
        add_dataset(file, "group/values", np.arange(rows * 3.0).reshape(rows, 3))
        add_dataset(file, "nothing", np.empty((0, 3)))
    return path


def read(path):
    with read_hdf5(path, SOURCE) as file:
        return file["group/values"][()]


@pytest.mark.parametrize("rows", [1, 5, 100_000])
def test_a_round_trip_in_one_chunk_or_several(tmp_path, rows):
    with read_hdf5(write(tmp_path / "a.h5", rows), SOURCE) as file:
        values = file["group/values"]
        assert values.fletcher32 and values.shape == (rows, 3) and values[-1, -1] == rows * 3 - 1
        assert file["nothing"].shape == (0, 3)


def test_equal_content_gives_equal_bytes(tmp_path):
    before = write(tmp_path / "a.h5").read_bytes()
    time.sleep(1.1)  # HDF5 times have a resolution of one second
    assert write(tmp_path / "a.h5").read_bytes() == before


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path):
    path = write(tmp_path / "a.h5")
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=300):
        path.write_bytes(flip(whole, bit))
        with pytest.raises(FileError, match=r"a.h5 is truncated, damaged, or not values .*dvc repro x"):
            read(path)


def test_a_file_that_is_locked_is_said_to_be(tmp_path):
    path = write(tmp_path / "a.h5")
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FileError, match="a.h5 is being written, or locked, by another process: wait"):
            read(path)
    assert read(path).shape == (5, 3)


def test_a_failure_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), write_hdf5(tmp_path / "a.h5"):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())
