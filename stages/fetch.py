"""Pin a model of the hub or of a local directory: commit SHA, architecture and weight hash.

Usage: python -m stages.fetch SLUG

The weights stay in the Hugging Face cache, or where they are; `data/models/{slug}/model.json` records
what they must be, and whoever loads the model checks it.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from stages.models.checkpoint import (
    LOCAL,
    MODELS,
    POINTER,
    ModelError,
    architecture,
    download,
    resolve_commit,
    weight_hash,
)
from stages.models.sites import require_family
from stages.params.models import Model, load_entry
from stages.records.files import atomic_folder, write_json

log = logging.getLogger(__name__)


def main(slug: str) -> None:
    entry = load_entry(slug)
    commit, folder = locate(slug, entry)
    family = require_family(architecture(folder))
    pointer = entry.model_dump(exclude_none=True) | {
        "resolved_revision": commit,
        "architecture": family,
        "weight_hash": weight_hash(folder),
    }
    with atomic_folder(MODELS / slug) as target:
        write_json(target / POINTER, pointer)
    log.info("%s: %s at %s", slug, family, commit)


def locate(slug: str, entry: Model) -> tuple[str, Path]:
    """Commit SHA (or "local") and folder of the model's files."""
    if entry.hub is not None:
        commit = resolve_commit(entry.hub, entry.revision)
        return commit, download(entry.hub, commit)
    folder = Path(entry.path)
    if not folder.is_dir():
        raise ModelError(f"model {slug}: {folder} is not a directory: correct models.{slug}.path in params.yaml")
    return LOCAL, folder


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slug")
    main(parser.parse_args().slug)
