"""A full disk: every way of writing ends in one error that names folder and bytes, and leaves what was there."""

import errno
import json
import subprocess
import sys

import h5py
import hdf5plugin
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from stages.shared.files import DiskFullError, atomic, atomic_folder, reserve
from stages.shared.hdf5_files import add_dataset, write_hdf5
from tests.support.project import ROOT
from tests.support.small_disk import resize, small_disk

SIZE = 2**20
VALUES = np.random.default_rng(0).standard_normal((512, 1024))  # 4 MiB


def fill_compressed(file):
    for index in range(3):
        file.create_dataset(
            f"values{index}", data=VALUES, chunks=(64, 1024), track_times=False, **hdf5plugin.Bitshuffle(cname="lz4")
        )


def fill_groups(file):
    for index in range(3):
        add_dataset(file.create_group(f"group{index}"), "values", VALUES)


def map_folder(path):
    with atomic_folder(path) as folder:
        array = folder / "values.npy"
        np.lib.format.open_memmap(array, mode="w+", dtype=np.float64, shape=VALUES.shape)
        reserve(array, array.stat().st_size)
        np.load(array, mmap_mode="r+")[:] = VALUES


def write_atomic(write):
    def run(path):
        with atomic(path) as temporary:
            write(temporary)

    return run


def write_filled(fill):
    def run(path):
        with write_hdf5(path) as file:
            fill(file)

    return run


WRITERS = {
    "text": write_atomic(lambda path: path.write_text("word " * 10**6, encoding="utf-8")),
    "csv": write_atomic(lambda path: pd.DataFrame({"value": VALUES.ravel()}).to_csv(path)),
    "parquet": write_atomic(lambda path: pd.DataFrame({"value": VALUES.ravel()}).to_parquet(path)),
    "safetensors": write_atomic(lambda path: save_file({"values": torch.tensor(VALUES)}, path)),
    "torch": write_atomic(lambda path: torch.save({"values": torch.tensor(VALUES)}, path)),
    "compressed HDF5": write_filled(fill_compressed),
    "HDF5 of groups": write_filled(fill_groups),
    "mapped": map_folder,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_writer_that_finds_the_disk_full_says_so_and_leaves_nothing(tmp_path, kind):
    with small_disk(tmp_path / "disk", SIZE) as disk:
        (disk / "earlier.txt").write_text("earlier", encoding="utf-8")
        with pytest.raises(DiskFullError) as caught:
            WRITERS[kind](disk / "output")
        message = str(caught.value)
        assert str(disk) in message and "bytes" in message and "free" in message and "\n" not in message
        assert [path.name for path in disk.iterdir()] == ["earlier.txt"]
        resize(disk, 2**26)
        WRITERS[kind](disk / "output")
        assert (disk / "output").exists()


def test_a_mapped_file_names_what_it_needs_and_what_there_is(tmp_path):
    with small_disk(tmp_path / "disk", SIZE) as disk:
        path = disk / "values.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=VALUES.shape)
        with pytest.raises(DiskFullError, match=r"values.npy needs 4,194,432 bytes, 1,04\d,\d{3} that were free"):
            reserve(path, path.stat().st_size)


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (ValueError("no"), OSError(errno.EACCES, "denied"), RuntimeError("no")):
        with pytest.raises(type(error)) as caught, atomic(tmp_path / "output"):
            raise error
        assert caught.value is error


def test_hdf5_files_hold_what_was_written(tmp_path):
    with write_hdf5(tmp_path / "values.h5") as file:
        fill_compressed(file)
        file.attrs["name"] = json.dumps({"a": 1})
    with h5py.File(tmp_path / "values.h5") as file:
        assert np.array_equal(file["values2"][()], VALUES) and file.attrs["name"] == '{"a": 1}'
    first = (tmp_path / "values.h5").read_bytes()
    with write_hdf5(tmp_path / "values.h5") as file:
        fill_compressed(file)
        file.attrs["name"] = json.dumps({"a": 1})
    assert (tmp_path / "values.h5").read_bytes() == first


@pytest.mark.parametrize("kind", ["output", "temporary files"])
def test_a_stage_ends_with_one_line(tmp_path, kind):
    code = {
        "output": "from stages.shared.files import write_json as w; w(Path('disk/output.json'), {'a': ['word'] * 10**6})",
        "temporary files": "import tempfile; tempfile.NamedTemporaryFile().write(bytes(2**22))",
    }[kind]
    program = f"from pathlib import Path\ndef main():\n    {code}\n"
    program += "from stages.shared.command import run_stage\nrun_stage(main, '')"
    with small_disk(tmp_path / "disk", SIZE) as disk:
        environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(disk)}
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1
    assert f"no space left in {disk}" in ended.stderr
