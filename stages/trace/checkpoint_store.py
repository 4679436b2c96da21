"""Results of single checkpoints in a scratch folder, so that a rerun computes only what is missing."""

from __future__ import annotations

from pathlib import Path

from stages.shared.files import FileSource, atomic_folder
from stages.shared.hdf5_files import add_dataset, read_hdf5, write_hdf5
from stages.shared.tables import read_table, write_table
from stages.trace.tables import SPECTRA, CheckpointResult

SCRATCH = Path(".dvc/tmp/trace")


def store(folder: Path, result: CheckpointResult) -> None:
    """Write ``result`` to ``folder``, as a whole."""
    with atomic_folder(folder) as temporary:
        for name, table in result.tables.items():
            write_table(temporary / f"{name}.parquet", table, f"{folder.name}/{name}")
        with write_hdf5(temporary / SPECTRA) as file:
            file.attrs.update(weight_hash=result.weight_hash, parameters=result.parameters)
            file.attrs["tables"] = " ".join(result.tables)
            for key, (values, n) in result.spectra.items():
                # Side by side, not in groups: they keep the order in which they were measured.
                add_dataset(file, " ".join(map(str, key)), values).attrs["n"] = n


def restore(folder: Path) -> CheckpointResult | None:
    """Return what `store` wrote to ``folder``, with the tables that were there; None where there is nothing.

    Raises FileError where it is damaged.
    """
    if not folder.is_dir():
        return None
    source = FileSource("what was measured of a checkpoint", f"remove {folder}, and it is measured again")
    with read_hdf5(folder / SPECTRA, source) as file:
        names = file.attrs["tables"].split()
        spectra = {_spectrum_key(name): (dataset[()], int(dataset.attrs["n"])) for name, dataset in file.items()}
        weight_hash, parameters = file.attrs["weight_hash"], int(file.attrs["parameters"])
    tables = {name: read_table(folder / f"{name}.parquet", source, f"{folder.name}/{name}") for name in names}
    return CheckpointResult(tables, spectra, weight_hash, parameters)


def _spectrum_key(name: str) -> tuple[str, str, int]:
    level, site, layer = name.split()
    return level, site, int(layer)
