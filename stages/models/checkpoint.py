"""A model's files and where they lie: an organism's own folder, a local directory, or a commit on the hub. No torch here."""

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
ADAPTER = "adapter_config.json"
# Configuration and tokenizer. Never *.py: no code of a repository is run.
SMALL_FILES = ["*.json", "*.txt", "tokenizer.model", "*.jinja"]
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
GGUF = ".gguf"
RETROFIT = "olmo2-retrofit"
# An organism's folder holds the states saved along its training: checkpoints/step-N.
CHECKPOINTS, STEP = "checkpoints", "step-"
# The fields of a checkpoint that model.json holds.
RECORDED = ("paradigm", "resolved_revision", "weight_hash", "architecture", "precision", "prompt_format")


class ModelError(ValueError):
    """A model cannot be found, fetched or loaded; the message names it, what was expected and the fix."""


class Checkpoint(NamedTuple):
    """A model on this machine, and the condition under which it is measured."""

    name: str
    folder: Path
    """The folder of config.json, the safetensors files and the tokenizer; or of the GGUF file."""
    paradigm: str
    resolved_revision: str
    """Commit SHA on the hub, or "local"."""
    weight_hash: str
    """SHA-256 over the weight files; empty where they were not read: see `find_checkpoint`."""
    architecture: str
    precision: str | None = None
    """Precision that the registry asks for; None: what collect.precision says."""
    prompt_format: str = "plain"
    """Prompt format: plain or chat."""
    gguf: str | None = None
    """Name of the GGUF file in ``folder`` that is configuration, weights and tokenizer in one."""


def saved_steps(folder: Path) -> list[int]:
    """Return the training steps whose states lie in an organism's ``folder``, ascending; other models have none."""
    return sorted(int(path.name.removeprefix(STEP)) for path in (folder / CHECKPOINTS).glob(f"{STEP}*"))


def step_folder(folder: Path, step: int) -> Path:
    """Return the folder of the state that an organism's ``folder`` holds of a training step."""
    return folder / CHECKPOINTS / f"{STEP}{step}"


def open_checkpoint(name: str, models: Path = MODELS) -> Checkpoint:
    """Return the checkpoint behind ``data/models/{name}/``: the folder itself, or what its model.json points to.

    A hub model is found by its commit SHA in the Hugging Face cache, downloaded if absent, and its
    weights must have the hash that fetch recorded. Raises ModelError naming the stage that makes what is missing.
    """
    checkpoint = find_checkpoint(name, models)
    computed_hash = weight_hash(checkpoint.folder, checkpoint.gguf)
    if checkpoint.weight_hash not in ("", computed_hash):
        raise ModelError(
            f"model {name}: the weights in {checkpoint.folder} hash to {computed_hash[:12]}, fetch recorded "
            f"{checkpoint.weight_hash[:12]}: they changed since; run `dvc repro -f fetch@{name}` to take the new ones"
        )
    return checkpoint._replace(weight_hash=computed_hash)


def find_checkpoint(name: str, models: Path = MODELS) -> Checkpoint:
    """Return the checkpoint of `open_checkpoint` with its weights unread: enough for a tokenizer.

    An organism's paradigm is its name without the seed; its weight hash stays empty.
    """
    directory = models / name
    organism = ORGANISM.fullmatch(name)
    if not directory.is_dir():
        stage = organism[1] if organism else f"fetch@{name}"
        raise ModelError(
            f"{directory} not found: expected a checkpoint, or a {POINTER} from fetch; run `dvc repro {stage}` or `dvc pull {directory}`"
        )
    if not (directory / POINTER).exists():
        return Checkpoint(name, directory, organism[1] if organism else "other", LOCAL, "", architecture(directory))
    pointer = json.loads((directory / POINTER).read_text(encoding="utf-8"))
    if "path" in pointer:
        folder, gguf = local_files(name, pointer["path"])
    else:
        folder, gguf = download(pointer["hub"], pointer["resolved_revision"]), None
    recorded = {key: pointer[key] for key in RECORDED if key in pointer}
    return Checkpoint(name=name, folder=folder, gguf=gguf, **recorded)


def local_files(name: str, path: str) -> tuple[Path, str | None]:
    """Return the folder, and the name of the GGUF file if ``path`` is one; raise ModelError where there is nothing."""
    source = Path(path)
    if source.suffix == GGUF and source.is_file():
        return source.parent, source.name
    if source.suffix == GGUF or not source.is_dir():
        expected = "file" if source.suffix == GGUF else "directory"
        raise ModelError(
            f"model {name}: {source} is not a {expected}: correct {name}.path in data/registry/models.yaml"
        )
    return source, None


def weight_files(folder: Path, gguf: str | None = None) -> list[Path]:
    """Return the files that hold the weights, in order: the GGUF file, one safetensors file, or those of the index.

    Other shards in the folder are no part of the model. Raises ModelError where they are not all there, and as
    `require_no_adapter` does.
    """
    require_no_adapter(folder)
    if gguf is not None:
        return [folder / gguf]
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if not (folder / INDEX).exists():
        raise ModelError(f"{folder} has no weights: expected {SINGLE} or {INDEX}{_other_files(folder)}")
    paths = [folder / name for name in _indexed_files(folder)]
    if missing := [path.name for path in paths if not path.exists()]:
        raise ModelError(
            f"{folder} lacks {len(missing)} of {len(paths)} weight files, e.g. {missing[0]}: copy or fetch it again"
        )
    return paths


def require_no_adapter(folder: Path) -> None:
    """Raise ModelError where ``folder`` holds an adapter, which transformers would load on top of what was hashed."""
    if not (folder / ADAPTER).exists():
        return
    merge = (
        f"from peft import AutoPeftModelForCausalLM as M; M.from_pretrained({str(folder)!r}).merge_and_unload()"
        f".save_pretrained({f'{folder}-merged'!r})"
    )
    whole = (folder / SINGLE).exists() or (folder / INDEX).exists()
    alone = f"; or remove {ADAPTER} to measure the model beside it alone" if whole else ""
    raise ModelError(
        f"{folder} holds an adapter ({ADAPTER}), expected a whole model: merge it into its base, python -c "
        f'"{merge}", copy the tokenizer there and give that folder as path{alone}'
    )


def _indexed_files(folder: Path) -> list[str]:
    """Return the names of the weight files that the index lists, in order; ModelError where it lists none."""
    index = _read_object(folder / INDEX)
    weight_map = index.get("weight_map")
    names = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
    if wrong := [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]:
        raise ModelError(f"{folder / INDEX} lists {wrong[0]!r}: expected names of safetensors files beside it")
    if not names:
        raise ModelError(
            f"{folder / INDEX} lists no weight files: expected weight_map, the file of each weight; copy or fetch it again"
        )
    return names


def _read_object(path: Path) -> dict:
    """Return the JSON object in ``path``; ModelError where the file holds anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} is cut off or damaged ({error}): expected a JSON object; copy or fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds {str(content)[:40]!r}: expected a JSON object; copy or fetch it again")
    return content


def _other_files(folder: Path) -> str:
    """Return what ``folder`` holds in place of safetensors, for the message."""
    names = sorted(path.name for path in folder.glob("*"))
    if pickled := [name for name in names if name.endswith(PICKLED)]:
        return f" (found {', '.join(pickled)}: pickled weights can run code and are refused; save them as safetensors)"
    if gguf := [name for name in names if name.endswith(GGUF)]:
        return f" (found {', '.join(gguf)}: give the file itself as path)"
    return ""


def weight_hash(folder: Path, gguf: str | None = None) -> str:
    """Return the SHA-256 over the bytes of the weight files, one after the other."""
    digest = hashlib.sha256()
    for path in weight_files(folder, gguf):
        with path.open("rb") as file:
            while block := file.read(2**22):
                digest.update(block)
    return digest.hexdigest()


def same_weights(name: str, pointer: dict[str, object], models: Path = MODELS) -> list[str]:
    """Return the other fetched models with the weights of ``pointer`` under the same condition: some are published twice."""

    def condition(fields: dict[str, object]) -> list[object]:
        return [fields.get(key) for key in ("weight_hash", "precision", "prompt_format")]

    pointers = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(models.glob(f"*/{POINTER}"))
    }
    return [model for model, fields in pointers.items() if model != name and condition(fields) == condition(pointer)]


def architecture(folder: Path) -> str:
    """Return `model_type` of the configuration in config.json."""
    return read_config(folder)["model_type"]


def read_config(folder: Path) -> dict:
    """Return the content of config.json.

    The pre-release architecture olmo2-retrofit is read as olmo3, which it became: the same modules and names of
    weights. Olmo3Config itself fills in absent `layer_types` (full attention in every fourth layer), and
    loading refuses any missing or unexpected weight. Raises ModelError where there is no usable configuration, and as
    `require_no_adapter` does.
    """
    require_no_adapter(folder)
    path = folder / "config.json"
    if not path.exists():
        raise ModelError(
            f"{path} not found: expected a Hugging Face checkpoint (config.json, {SINGLE}, tokenizer.json)"
        )
    config = _read_object(path)
    if not isinstance(config.get("model_type"), str):
        raise ModelError(
            f'{path}: model_type is {config.get("model_type")!r}, expected the name of an architecture, such as "llama": '
            "add it, or copy or fetch the checkpoint again"
        )
    if config["model_type"] == RETROFIT:
        config |= {"model_type": "olmo3", "architectures": ["Olmo3ForCausalLM"]}
    return config


def resolve_commit(hub: str, revision: str) -> str:
    """Return the commit SHA of ``revision``; raise ModelError where the hub, or safetensors in it, cannot be had."""
    from huggingface_hub import HfApi  # only hub models need it

    with _explained(hub, revision):
        info = HfApi().model_info(hub, revision=revision)
    names = [file.rfilename for file in info.siblings]
    if ADAPTER in names:
        raise ModelError(
            f"{hub} at {revision} holds an adapter ({ADAPTER}), expected a whole model: merge it into its base once (peft's "
            "merge_and_unload, then save_pretrained) and give that folder as `path` instead of `hub`"
        )
    if SINGLE not in names and INDEX not in names:
        raise ModelError(
            f"{hub} at {revision} has no {SINGLE} and no {INDEX}: pickled weights can run code and are refused; "
            "choose a revision with safetensors, or convert it once and give `path` instead of `hub`"
        )
    return info.sha


def download(hub: str, commit: str) -> Path:
    """Return the folder of ``hub`` at ``commit`` in the Hugging Face cache, downloaded if absent.

    It holds configuration, tokenizer and the model's safetensors. What the cache holds at a commit is not asked for
    again.
    """
    from huggingface_hub import snapshot_download  # only hub models need it

    with _explained(hub, commit):
        folder = Path(snapshot_download(hub, revision=commit, allow_patterns=SMALL_FILES))
        # Only the shards of the index: some OLMo 3 branches hold a second set.
        names = _indexed_files(folder) if (folder / INDEX).exists() else [SINGLE]
        return Path(snapshot_download(hub, revision=commit, allow_patterns=[*SMALL_FILES, *names]))


@contextmanager
def _explained(hub: str, revision: str) -> Iterator[None]:
    """Turn an error of the hub's client into a ModelError that says what to do."""
    from huggingface_hub import errors

    fixes = {
        errors.GatedRepoError: f"the model is gated: accept its licence at https://huggingface.co/{hub}, then set HF_TOKEN",
        errors.RepositoryNotFoundError: "no such public model: correct hub in data/registry/models.yaml, or set HF_TOKEN if it is private",
        errors.RevisionNotFoundError: f"no such revision: choose a branch, tag or commit listed at https://huggingface.co/{hub}",
        errors.HFValidationError: "not a hub id: expected organisation/name",
    }
    try:
        yield
    except (OSError, errors.HTTPError, errors.HFValidationError) as error:
        offline = (
            "the hub cannot be reached and the cache lacks files of it: connect once, or give `path` instead of `hub`"
        )
        fix = next((fix for error_type, fix in fixes.items() if isinstance(error, error_type)), offline)
        raise ModelError(f"cannot fetch {hub} at {revision}: {fix} ({type(error).__name__})") from error
