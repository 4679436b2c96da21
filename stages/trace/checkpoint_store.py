"""Results of single checkpoints in a scratch folder, so that a rerun computes only what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stages.shared.files import atomic_folder, write_json
from stages.trace.tables import PER_CHECKPOINT, CheckpointResult

SCRATCH = Path(".dvc/tmp/trace")
SPECTRA, DESCRIPTION = "spectra.npz", "about.json"


def store(folder: Path, result: CheckpointResult) -> None:
    """Write ``result`` to ``folder``, as a whole."""
    with atomic_folder(folder) as temporary:
        for name, table in result.tables.items():
            table.to_parquet(temporary / f"{name}.parquet", index=False)
        np.savez(
            temporary / SPECTRA, **{"/".join(map(str, key)): values for key, (values, _) in result.spectra.items()}
        )
        rows = {"/".join(map(str, key)): n for key, (_, n) in result.spectra.items()}
        write_json(
            temporary / DESCRIPTION, {"weight_hash": result.weight_hash, "parameters": result.parameters, "rows": rows}
        )


def restore(folder: Path) -> CheckpointResult | None:
    """Return what `store` wrote to ``folder``; None where there is nothing."""
    if not folder.is_dir():
        return None
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in PER_CHECKPOINT}
    with np.load(folder / SPECTRA) as spectra:
        # in the order in which they were stored: the description is sorted
        eigenvalues = {_spectrum_key(name): (spectra[name], description["rows"][name]) for name in spectra.files}
    return CheckpointResult(tables, eigenvalues, description["weight_hash"], description["parameters"])


def _spectrum_key(name: str) -> tuple[str, str, int]:
    level, site, layer = name.split("/")
    return level, site, int(layer)
