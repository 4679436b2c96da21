"""The checkpoints of a training run, one after the other: an organism's own, those of the hub, or of a local directory."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from stages.models.checkpoint import (
    CHECKPOINTS,
    LOCAL,
    MODELS,
    SMALL_FILES,
    STEP,
    Checkpoint,
    ModelError,
    architecture,
    download,
    resolve_commit,
    saved_steps,
    step_folder,
    weight_hash,
)
from stages.models.loading import load_tokenizer
from stages.models.names import ORGANISM
from stages.models.run_registry import load_run

log = logging.getLogger(__name__)


class SavedCheckpoint(NamedTuple):
    """A checkpoint of a run, and where it lies."""

    step: int
    tokens: int | None
    """Tokens seen by then, where the number is known."""
    revision: str
    """Branch, tag or commit of the hub, or name of the folder, verbatim."""
    folder: Path | None
    """Folder of a local checkpoint."""
    hub: str | None
    """Hub id of one that is not local."""


def is_organism(run: str) -> bool:
    """Return whether the name is that of a model trained inside the pipeline."""
    return ORGANISM.fullmatch(run) is not None


def saved_checkpoints(run: str, tokens_per_step: int | None = None, models: Path = MODELS) -> list[SavedCheckpoint]:
    """Return all checkpoints of ``run``, by ascending step.

    ``tokens_per_step`` is for organisms, whose folders do not say it. Raises ModelError where an organism has none.
    """
    if is_organism(run):
        folder = models / run
        steps = saved_steps(folder)
        if not steps:
            raise ModelError(
                f"{folder / CHECKPOINTS} holds no {STEP}*: run `dvc repro {run.rpartition('-s')[0]}` or `dvc pull {folder}`"
            )
        tokens = {step: None if tokens_per_step is None else step * tokens_per_step for step in steps}
        return [SavedCheckpoint(step, tokens[step], f"{STEP}{step}", step_folder(folder, step), None) for step in steps]
    entry = load_run(run)
    root = None if entry.path is None else Path(entry.path)
    return [
        SavedCheckpoint(c.step, c.tokens, c.revision, root and root / c.revision, c.hub or entry.hub)
        for c in entry.checkpoints
    ]


def run_tokenizer(run: str, models: Path = MODELS) -> PreTrainedTokenizerBase:
    """Return the tokenizer of all runs of the family: an organism's own (they are equal), or what the registry names.

    Raises ModelError where the hub does not give it.
    """
    if is_organism(run):
        return load_tokenizer(_local(run, models / run))
    entry = load_run(run)
    last = entry.checkpoints[-1]
    if entry.tokenizer is None and entry.path is not None:
        return load_tokenizer(_local(run, Path(entry.path) / last.revision))
    hub, revision = (
        (entry.tokenizer.hub, entry.tokenizer.revision) if entry.tokenizer else (last.hub or entry.hub, last.revision)
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(hub, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot fetch the tokenizer of {hub} at {revision}: correct {run}.tokenizer in data/registry/runs.yaml, or "
            f"connect once ({type(error).__name__})"
        ) from error
    if tokenizer.pad_token is None:  # of completions, whose padding is masked
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def weight_identity(saved: SavedCheckpoint) -> str:
    """Return what tells the checkpoint's weights from others': the commit on the hub, or the hash of local files.

    Raises ModelError where there is no such revision, folder or weights.
    """
    if saved.folder is None:
        return resolve_commit(saved.hub, saved.revision)
    if not saved.folder.is_dir():
        raise ModelError(f"{saved.folder} is not a directory: correct the revision in data/registry/runs.yaml")
    return weight_hash(saved.folder)


def settings_hash(saved: SavedCheckpoint) -> str:
    """Return the SHA-256 of a local checkpoint's configuration, generation settings and tokenizer files.

    Together with `weight_identity` it tells everything that the folder gives to a model. Empty for a checkpoint of the
    hub, whose commit holds these files too.
    """
    return "" if saved.folder is None else small_files_hash(saved.folder)


def small_files_hash(folder: Path) -> str:
    """Return the SHA-256 of the configuration and tokenizer files in ``folder``, their names and contents."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in SMALL_FILES for path in folder.glob(pattern)}):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def local_identities(run: str) -> dict[str, str]:
    """Return what tells each local checkpoint of ``run`` from others, or what is wrong with it; nothing for the hub's.

    The hub's never change: the registry names their revisions.
    """
    identities = {}
    for saved in saved_checkpoints(run):
        if saved.folder is not None:
            try:
                identities[saved.revision] = f"{weight_identity(saved)} {settings_hash(saved)}"
            except ModelError as error:
                identities[saved.revision] = str(error)
    return identities


@contextmanager
def open_saved(run: str, saved: SavedCheckpoint, identity: str) -> Iterator[Checkpoint]:
    """Open the checkpoint whose `weight_identity` is ``identity``, downloaded if absent.

    What this call downloaded is removed from the Hugging Face cache on leaving, unless the environment variable
    KEEP_WEIGHTS is set: a run of a 7B model would fill terabytes.
    """
    if saved.folder is not None:
        yield _local(run, saved.folder)._replace(weight_hash=identity)
        return
    was_cached = _holds_weights(identity)
    folder = download(saved.hub, identity)
    try:
        yield Checkpoint(run, folder, "other", identity, weight_hash(folder), architecture(folder))
    finally:
        if not was_cached and not os.environ.get("KEEP_WEIGHTS"):
            _drop(identity)


def _local(run: str, folder: Path) -> Checkpoint:
    return Checkpoint(run, folder, "other", LOCAL, "", architecture(folder))


def _holds_weights(commit: str) -> bool:
    """Return whether the Hugging Face cache has weights of ``commit``: what was there before stays."""
    from huggingface_hub import scan_cache_dir  # only hub runs need it
    from huggingface_hub.errors import CacheNotFound

    try:
        revisions = [revision for repository in scan_cache_dir().repos for revision in repository.revisions]
    except CacheNotFound:
        return False
    files = [file for revision in revisions if revision.commit_hash == commit for file in revision.files]
    return any(file.file_name.endswith(".safetensors") for file in files)


def _drop(commit: str) -> None:
    from huggingface_hub import scan_cache_dir

    plan = scan_cache_dir().delete_revisions(commit)
    log.info("dropping the weights of %s from the cache: %s", commit[:12], plan.expected_freed_size_str)
    plan.execute()
