"""Find a model's files: an organism's own folder, a local directory, or a commit on the hub. No torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from stages.models.names import ORGANISM

MODELS = Path("data/models")
POINTER = "model.json"
LOCAL = "local"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SMALL_FILES = ["*.json", "*.txt", "tokenizer.model", "*.jinja"]
"""Configuration and tokenizer. Never *.py: no code of a repository is run."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class ModelError(ValueError):
    """A model cannot be found, fetched or loaded; the message names it, what was expected and the fix."""


class Checkpoint(NamedTuple):
    """A model on this machine."""

    name: str
    folder: Path
    """Holds config.json, the safetensors files and the tokenizer."""
    paradigm: str
    resolved_revision: str
    """Commit SHA on the hub, or "local"."""
    weight_hash: str
    architecture: str


def open_checkpoint(name: str, models: Path = MODELS) -> Checkpoint:
    """The checkpoint behind ``data/models/{name}/``: the folder itself, or what its model.json points to.

    A hub model is found by its commit SHA in the Hugging Face cache, downloaded if absent, and its
    weights must have the hash that fetch recorded. An organism's paradigm is its name without the seed.
    Raises ModelError naming the stage that makes what is missing.
    """
    folder = find_folder(name, models)
    found = weight_hash(folder)
    if (models / name / POINTER).exists():
        pointer = json.loads((models / name / POINTER).read_text())
        if found != pointer["weight_hash"]:
            raise ModelError(
                f"model {name}: the weights in {folder} hash to {found[:12]}, fetch recorded {pointer['weight_hash'][:12]}: "
                f"they changed since; run `dvc repro -f fetch@{name}` to take the new ones"
            )
        return Checkpoint(
            name, folder, pointer["paradigm"], pointer["resolved_revision"], found, pointer["architecture"]
        )
    organism = ORGANISM.fullmatch(name)
    return Checkpoint(name, folder, organism[1] if organism else "other", LOCAL, found, architecture(folder))


def find_folder(name: str, models: Path = MODELS) -> Path:
    """The folder with the files of the model ``name``, its weights unchecked: enough for a tokenizer."""
    directory = models / name
    if not directory.is_dir():
        organism = ORGANISM.fullmatch(name)
        stage = organism[1] if organism else f"fetch@{name}"
        raise ModelError(
            f"{directory} not found: expected a checkpoint, or a {POINTER} from fetch; run `dvc repro {stage}` or `dvc pull {directory}`"
        )
    if not (directory / POINTER).exists():
        return directory
    pointer = json.loads((directory / POINTER).read_text())
    folder = Path(pointer["path"]) if "path" in pointer else download(pointer["hub"], pointer["resolved_revision"])
    if not folder.is_dir():
        raise ModelError(f"model {name}: {folder} is not a directory: correct models.{name}.path in params.yaml")
    return folder


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files that make up the model, in order: the single one, or those of its index.

    Other shards in the directory are no part of the model.
    """
    if (directory / SINGLE).exists():
        return [directory / SINGLE]
    if not (directory / INDEX).exists():
        found = sorted(path.name for path in directory.glob("*") if path.suffix in PICKLED)
        pickled = (
            f" (found {', '.join(found)}: pickled weights can run code and are refused; save them as safetensors)"
            if found
            else ""
        )
        raise ModelError(f"{directory} has no weights: expected {SINGLE} or {INDEX}{pickled}")
    paths = [
        directory / name for name in sorted(set(json.loads((directory / INDEX).read_text())["weight_map"].values()))
    ]
    if missing := [path.name for path in paths if not path.exists()]:
        raise ModelError(
            f"{directory} lacks {len(missing)} of {len(paths)} weight files, e.g. {missing[0]}: copy or fetch it again"
        )
    return paths


def weight_hash(directory: Path) -> str:
    """SHA-256 over the bytes of the safetensors files, one after the other."""
    digest = hashlib.sha256()
    for path in weight_files(directory):
        with path.open("rb") as file:
            while block := file.read(2**22):
                digest.update(block)
    return digest.hexdigest()


def architecture(directory: Path) -> str:
    """`model_type` of the configuration."""
    path = directory / "config.json"
    if not path.exists():
        raise ModelError(
            f"{path} not found: expected a Hugging Face checkpoint (config.json, {SINGLE}, tokenizer.json)"
        )
    return json.loads(path.read_text())["model_type"]


def resolve_commit(hub: str, revision: str) -> str:
    """The commit SHA of ``revision``; raises ModelError where the hub, or safetensors in it, cannot be had."""
    from huggingface_hub import HfApi  # only hub models need it

    with _explained(hub, revision):
        info = HfApi().model_info(hub, revision=revision)
    names = [file.rfilename for file in info.siblings]
    if SINGLE not in names and INDEX not in names:
        raise ModelError(
            f"{hub} at {revision} has no {SINGLE} and no {INDEX}: pickled weights can run code and are refused; "
            "choose a revision with safetensors, or convert it once and give `path` instead of `hub`"
        )
    return info.sha


def download(hub: str, commit: str) -> Path:
    """The folder of ``hub`` at ``commit`` in the Hugging Face cache: configuration, tokenizer and the model's safetensors.

    What the cache holds at a commit is not asked for again.
    """
    from huggingface_hub import snapshot_download  # only hub models need it

    with _explained(hub, commit):
        folder = Path(snapshot_download(hub, revision=commit, allow_patterns=SMALL_FILES))
        # Only the shards of the index: some OLMo 3 branches hold a second set.
        names = (
            json.loads((folder / INDEX).read_text())["weight_map"].values() if (folder / INDEX).exists() else [SINGLE]
        )
        return Path(snapshot_download(hub, revision=commit, allow_patterns=[*SMALL_FILES, *sorted(set(names))]))


@contextmanager
def _explained(hub: str, revision: str) -> Iterator[None]:
    """Turn an error of the hub's client into a ModelError that says what to do."""
    from huggingface_hub import errors

    fixes = {
        errors.GatedRepoError: f"the model is gated: accept its licence at https://huggingface.co/{hub}, then set HF_TOKEN",
        errors.RepositoryNotFoundError: "no such public model: correct hub in models of params.yaml, or set HF_TOKEN if it is private",
        errors.RevisionNotFoundError: f"no such revision: choose a branch, tag or commit listed at https://huggingface.co/{hub}",
        errors.HFValidationError: "not a hub id: expected organisation/name",
    }
    try:
        yield
    except (OSError, errors.HTTPError, errors.HFValidationError) as error:
        offline = (
            "the hub cannot be reached and the cache lacks files of it: connect once, or give `path` instead of `hub`"
        )
        fix = next((fix for kind, fix in fixes.items() if isinstance(error, kind)), offline)
        raise ModelError(f"cannot fetch {hub} at {revision}: {fix} ({type(error).__name__})") from error
