"""What was measured of a checkpoint comes back as it was, or is refused where a bit flipped."""

import numpy as np
import pandas as pd
import pytest

from stages.shared.files import FileError
from stages.trace.checkpoint_store import restore, store
from stages.trace.tables import PER_CHECKPOINT, CheckpointResult
from tests.support.damage import flip


@pytest.fixture
def folder(tmp_path):
    tables = {name: pd.DataFrame({"value": [1.5, float("nan")]}) for name in PER_CHECKPOINT}
    spectra = {("tokens", "final_norm", 8): (np.arange(4.0), 20), ("tokens", "resid_post", 0): (np.ones(3), 7)}
    store(tmp_path / "kept", CheckpointResult(tables, spectra, "hash", 12))
    return tmp_path / "kept"


def test_a_round_trip_keeps_everything(folder):
    found = restore(folder)
    assert (found.weight_hash, found.parameters) == ("hash", 12) and set(found.tables) == set(PER_CHECKPOINT)
    values, rows = found.spectra["tokens", "final_norm", 8]
    assert rows == 20 and values.tolist() == [0, 1, 2, 3] and len(found.spectra) == 2
    assert restore(folder.with_name("absent")) is None


def test_a_part_keeps_its_tables_and_the_order_in_which_spectra_were_measured(tmp_path):
    places = [("tokens", "resid_post", layer) for layer in (10, 9, 0)]
    places += [("all_positions", "resid_post", 2), ("tokens", "final_norm", 3)]
    spectra = {place: (np.arange(3.0) + i, i) for i, place in enumerate(places)}
    for tables in ({}, {"records": pd.DataFrame({"value": [1.5]})}):
        store(tmp_path / "kept-unfinished", CheckpointResult(tables, spectra, "hash", 12))
        result = restore(tmp_path / "kept-unfinished")
        assert list(result.tables) == list(tables) and list(result.spectra) == places
        assert [rows for _, rows in result.spectra.values()] == [0, 1, 2, 3, 4]


def test_a_flipped_bit_anywhere_is_refused(folder):
    for path in folder.iterdir():
        whole = path.read_bytes()
        for bit in np.random.default_rng(0).integers(8 * len(whole), size=40):
            path.write_bytes(flip(whole, bit))
            with pytest.raises(
                FileError, match=f"{path.name} is truncated, damaged.*remove .*kept, and it is measured"
            ):
                restore(folder)
        path.write_bytes(whole)
