"""Pin a model of the hub or of local files: commit SHA, architecture and weight hash; and try it out.

Usage: python -m stages.paradigms.fetch SLUG

The weights stay in the Hugging Face cache, or where they are; `data/models/{slug}/model.json` records
what they must be, and whoever loads the model checks it. `metrics/fetch/{slug}.json` is the smoke record.
"""

from __future__ import annotations

import logging
from pathlib import Path

from stages.models.checkpoint import (
    LOCAL,
    MODELS,
    POINTER,
    Checkpoint,
    architecture,
    download,
    local_files,
    resolve_commit,
    same_weights,
    weight_hash,
)
from stages.models.loading import load_config
from stages.models.registry import ComputePrecision, Model, load_entry
from stages.models.sites import require_family
from stages.paradigms.smoke import smoke_record
from stages.shared.cells import name_of
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder, write_json
from stages.shared.params import load

METRICS = Path("metrics/fetch")
log = logging.getLogger(__name__)


def main(slug: str) -> None:
    """Find the files of ``slug``, try the model out, and write its pointer and its smoke record."""
    entry = load_entry(slug)
    precision = entry.precision or load("collect.precision", ComputePrecision).root
    checkpoint = pin_checkpoint(slug, entry)
    pointer = entry.model_dump(exclude_defaults=True) | {
        "resolved_revision": checkpoint.resolved_revision,
        "architecture": checkpoint.architecture,
        "weight_hash": checkpoint.weight_hash,
    }
    record = smoke_record(checkpoint, precision)
    same = ", ".join(same_weights(slug, pointer))
    if same:
        log.warning("%s has the same weights as %s: one model under two names?", slug, same)
    with atomic_folder(MODELS / slug) as target:
        write_json(target / POINTER, pointer)
        write_json(METRICS / f"{slug}.json", record | {"same_weights_as": same or "none"})
    log.info("%s: %s at %s", slug, checkpoint.architecture, checkpoint.resolved_revision)


def pin_checkpoint(slug: str, entry: Model) -> Checkpoint:
    """Return the files of ``entry``, downloaded where they are on the hub, with architecture and weight hash."""
    if entry.hub is not None:
        commit = resolve_commit(entry.hub, entry.revision)
        folder, gguf = download(entry.hub, commit), None
    else:
        commit, (folder, gguf) = LOCAL, local_files(slug, entry.path)
    checkpoint = Checkpoint(slug, folder, entry.paradigm, commit, "", "", entry.precision, entry.prompt_format, gguf)
    family = require_family(architecture(folder) if gguf is None else load_config(checkpoint).model_type)
    return checkpoint._replace(architecture=family, weight_hash=weight_hash(folder, gguf))


if __name__ == "__main__":
    run_stage(main, __doc__, name_of)
