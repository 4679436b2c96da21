"""The table of perturbed models: its means, its ranks, and a missing file."""

import numpy as np
import pytest

from stages.paradigms.perturbed_records import mean_index, perturbed_rows, read_perturbed
from stages.paradigms.tables import PERTURBED_TABLES
from stages.shared.tables import TableError

NULLS = {"isotropic": (0.90, 0.92, 0.94, 0.96), "spectrum_preserving": (0.70, 0.72, 0.74, 0.76)}


def point(kind, index, draw=0, t=None, displacement=0.1, layers=2):
    described = {"kind": kind, "draw": draw, "t": t, "step": None, "displacement": displacement}
    return [
        row
        for layer in range(layers)
        for row in perturbed_rows(
            described, "logic", layer,
            {"preservation": 0.5, "index": index + 0.01 * (-1) ** layer, "effective_rank": 9.0, "cka": 0.8},
        )
    ]  # fmt: skip


def study():
    rows = [row for kind, values in NULLS.items() for i, v in enumerate(values) for row in point(kind, v, i)]
    line = [row for t, v in ((0.25, 0.99), (1.0, 0.8)) for row in point("interpolation", v, t=t, displacement=t / 10)]
    return rows + line + point("negated", 0.81)


def test_a_layer_without_an_index_at_one_point_is_left_out_of_all(tmp_path):
    table = PERTURBED_TABLES.typed("points", study())
    gap = (table["kind"] == "negated") & (table["layer"] == 1)
    table.loc[gap, "index"] = np.nan
    found = mean_index(table)
    assert found["index"].notna().all()
    assert found.loc[found["t"] == 1, "index"].item() == pytest.approx(0.81)  # layer 0 alone


def test_tables_are_read_by_name_and_a_missing_one_names_its_stage(tmp_path):
    PERTURBED_TABLES.write(tmp_path / "sft-s0", {"points": study()})
    assert set(read_perturbed(tmp_path, {"sft-s0": "sft"})["recipe"]) == {"sft"}
    assert read_perturbed(tmp_path, {}).empty
    for model, stage in (("rl_zero-s1", "perturb@rl_zero-1"), ("big", "perturb-model@big")):
        with pytest.raises(TableError, match=f"{model}/points.parquet not found; rebuild it with `dvc repro {stage}`"):
            PERTURBED_TABLES.read(tmp_path / model, "points")
