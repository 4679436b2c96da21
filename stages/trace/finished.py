"""Results of single checkpoints in a scratch folder, so that a rerun computes only what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stages.shared.files import atomic_folder, write_json
from stages.trace.tables import PER_CHECKPOINT, Found

SCRATCH = Path(".dvc/tmp/trace")
SPECTRA, ABOUT = "spectra.npz", "about.json"


def store(folder: Path, found: Found) -> None:
    """Write ``found`` to ``folder``, as a whole."""
    with atomic_folder(folder) as temporary:
        for name, table in found.tables.items():
            table.to_parquet(temporary / f"{name}.parquet", index=False)
        np.savez(temporary / SPECTRA, **{"/".join(map(str, key)): values for key, (values, _) in found.spectra.items()})
        rows = {"/".join(map(str, key)): n for key, (_, n) in found.spectra.items()}
        write_json(temporary / ABOUT, {"weight_hash": found.weight_hash, "parameters": found.parameters, "rows": rows})


def restore(folder: Path) -> Found | None:
    """Return what `store` wrote to ``folder``; None where there is nothing."""
    if not folder.is_dir():
        return None
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in PER_CHECKPOINT}
    with np.load(folder / SPECTRA) as spectra:
        found = {_place(name): (spectra[name], n) for name, n in about["rows"].items()}
    return Found(tables, found, about["weight_hash"], about["parameters"])


def _place(name: str) -> tuple[str, str, int]:
    level, site, layer = name.split("/")
    return level, site, int(layer)
