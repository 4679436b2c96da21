"""Results of single checkpoints in a scratch folder, so that a rerun computes only what is missing."""

from __future__ import annotations

from pathlib import Path

from stages.shared.files import FileSource, atomic_folder
from stages.shared.hdf5_files import add_dataset, read_hdf5, write_hdf5
from stages.shared.tables import read_table, write_table
from stages.trace.tables import PER_CHECKPOINT, SPECTRA, CheckpointResult

SCRATCH = Path(".dvc/tmp/trace")


def store(folder: Path, result: CheckpointResult) -> None:
    """Write ``result`` to ``folder``, as a whole."""
    with atomic_folder(folder) as temporary:
        for name, table in result.tables.items():
            write_table(temporary / f"{name}.parquet", table, f"{folder.name}/{name}")
        with write_hdf5(temporary / SPECTRA) as file:
            file.attrs.update(weight_hash=result.weight_hash, parameters=result.parameters)
            for key, (values, n) in result.spectra.items():
                add_dataset(file, "/".join(map(str, key)), values).attrs["n"] = n


def restore(folder: Path) -> CheckpointResult | None:
    """Return what `store` wrote to ``folder``; None where there is nothing. Raises FileError where it is damaged."""
    if not folder.is_dir():
        return None
    source = FileSource("what was measured of a checkpoint", f"remove {folder}, and it is measured again")
    tables = {name: read_table(folder / f"{name}.parquet", source, f"{folder.name}/{name}") for name in PER_CHECKPOINT}
    with read_hdf5(folder / SPECTRA, source) as file:
        spectra = {
            (level, site, int(layer)): (dataset[()], int(dataset.attrs["n"]))
            for level, sites in file.items()
            for site, layers in sites.items()
            for layer, dataset in layers.items()
        }
        return CheckpointResult(tables, spectra, file.attrs["weight_hash"], int(file.attrs["parameters"]))
