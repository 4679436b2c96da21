"""The activation file: the one module that knows its format.

One HDF5 file per (model, task), `data/activations/{model}/{task}.h5`:

    {aggregation}/blocks.{layer}.hook_{site}   float32  (n_prompts, d_model), one row per prompt
    all_tokens/blocks.{layer}.hook_{site}      float32 or the bits of bfloat16 in uint16, as `all_tokens_dtype` says
                                                        (total_tokens, d_model), prompts one after the other
    token_ids/ids                              int64    (tokens,): what the model read, prompts and what follows them
    token_ids/lengths                          int64    (n_prompts,)
    all_tokens/offsets                         int64    (n_prompts + 1,): prompt i owns rows offsets[i]:offsets[i + 1]
    all_tokens/mask                            bool     (total_tokens,): the tokens that `mean` averages
    prompt_ids                                 str      (n_prompts,)
    attributes of the root                     the other fields of `ActivationHeader`

Hook names are those of TransformerLens. Values are never float16 (the residuals of models trained in
bfloat16 exceed its 65 504), never NaN or infinite, and the norms of rows lie within the bounds of the header: all
are refused on writing and on reading. So is a flipped bit, on reading (`stages.shared.hdf5_files`), and a file that is
of another model or task than its path says.
A file under its final name is complete, and writing the same values again gives the same bytes.
Datasets are compressed by bitshuffle with LZ4: whoever opens a file with h5py must import hdf5plugin first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple, Protocol

import h5py
import hdf5plugin
import numpy as np

from stages.models.names import hook_name, stage_of
from stages.shared.files import FileError, FileSource
from stages.shared.hdf5_files import add_dataset, read_hdf5, write_hdf5
from stages.shared.registry import did_you_mean

FORMAT_VERSION = 3
CHUNK_VALUES = 2**18  # values in one compressed chunk: 1 MiB of float32
# Rounding to bfloat16 can lengthen a row by so much.
ROUNDING = 2**-7
COMPARED = (
    "task",
    "prompt_ids",
    "prompt_format",
    "precision",
    "mask",
    "token_hash",
    "all_tokens_dtype",
    "aggregations",
    "sites",
    "n_layers",
    "d_model",
)
# Two models may be asked to differ in these. They stand before token_hash in COMPARED, as the mask does, because they
# explain the tokens.
CONDITIONS = ("prompt_format", "precision")
FIX = "rebuild it with `dvc repro {stage}`, or fetch it with `dvc pull`"


class ActivationError(FileError):
    """An activation file or request is unusable; the message names it, what was expected and the fix."""


@dataclass(frozen=True)
class ActivationHeader:
    """The description of a file: its content and how it was computed; a number never travels without it."""

    model: str
    task: str
    resolved_revision: str
    """Commit SHA on the hub, or "local" for an organism or a directory."""
    weight_hash: str
    """SHA-256 over the safetensors files."""
    paradigm: str
    architecture: str
    """`model_type` of the Hugging Face configuration."""
    n_layers: int
    d_model: int
    aggregations: tuple[str, ...]
    sites: tuple[str, ...]
    mask: str
    """The tokens that each aggregation reads, in words."""
    precision: str
    """Precision of weights and arithmetic: float32, bfloat16, or the quantised weights int8 and nf4."""
    prompt_format: str
    """Prompt format: plain, or chat, inside the model's own chat template."""
    prompt_ids: tuple[str, ...]
    """The stored prompts, in the order of the rows."""
    token_hash: str
    """SHA-256 over the token ids of the stored prompts and of what follows them."""
    tokens_per_batch: int
    """Batch composition moves the last bits of a forward pass, so it is recorded."""
    library_versions: dict[str, str]
    all_tokens_dtype: str = "bfloat16"
    """Storage of all_tokens; what has one row per prompt is stored as float32."""
    chat_date: str = ""
    """Day on which a chat template was filled in, where prompts stand in one."""
    norm_high: float = 1e6
    """Largest Euclidean norm of a row: `collect.quality.norm_high`."""
    format_version: int = FORMAT_VERSION


class SliceableRows(Protocol):
    """An array, or anything that gives rows when sliced: a dataset need not lie in memory."""

    shape: tuple[int, int]
    dtype: np.dtype

    def __getitem__(self, rows: slice) -> np.ndarray: ...


class Block(NamedTuple):
    """The values of one dataset with its name: (n_prompts, d_model), or (total_tokens, d_model) for all_tokens."""

    aggregation: str
    site: str
    layer: int
    values: SliceableRows


def write(
    path: Path,
    header: ActivationHeader,
    blocks: Iterable[Block],
    offsets: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    token_ids: Sequence[np.ndarray] = (),
) -> None:
    """Write a whole file under a temporary name, then move it into place.

    ``blocks`` is consumed one by one, and each in slices, so that neither the file nor a dataset need lie in memory.
    ``offsets`` (n_prompts + 1,) and ``mask`` (total_tokens,) belong to the aggregation all_tokens; ``token_ids`` are
    those behind the header's hash, by prompt.
    Raises ActivationError, leaving nothing behind, on float16, non-finite values, a wrong shape, or
    a dataset that the header promises and ``blocks`` lacks.
    """
    if ("all_tokens" in header.aggregations) != (offsets is not None and mask is not None):
        raise ActivationError(
            f"{path}: offsets and mask are expected with all_tokens, and only then (aggregations: {header.aggregations})"
        )
    with write_hdf5(path) as file:
        _write_header(file, header)
        if offsets is not None:
            add_dataset(file, "all_tokens/offsets", np.asarray(offsets, np.int64))
            add_dataset(file, "all_tokens/mask", np.asarray(mask, bool))
        if len(token_ids):
            add_dataset(file, "token_ids/ids", np.concatenate(token_ids).astype(np.int64))
            add_dataset(file, "token_ids/lengths", np.array([len(ids) for ids in token_ids], np.int64))
        written = {_write_block(path, file, header, block, offsets) for block in blocks}
        if missing := sorted(set(_promised(header)) - written):
            raise ActivationError(
                f"{path}: {len(missing)} of {len(_promised(header))} datasets are missing, the first is {missing[0]}"
            )


def read_header(path: Path) -> ActivationHeader:
    """Return the header of ``path``; raise ActivationError when the file is missing, truncated, of another format or incomplete."""
    with _open(path) as file:
        return _read_header(path, file)


def read_site(path: Path, aggregation: str, site: str, layer: int) -> np.ndarray:
    """Return activations (n_prompts, d_model), float32, finite; for all_tokens (total_tokens, d_model): see `read_offsets`."""
    with _open(path) as file:
        header = _read_header(path, file)
        _require_choice(path, "aggregation", aggregation, header.aggregations)
        _require_choice(path, "site", site, header.sites)
        if not 0 <= layer < header.n_layers:
            raise ActivationError(f"{path}: no layer {layer!r}: expected 0 to {header.n_layers - 1}")
        name = f"{aggregation}/{hook_name(site, layer)}"
        offsets = file["all_tokens/offsets"][:] if aggregation == "all_tokens" else None
        dataset = file[name]
        _require_form(path, name, dataset, header, offsets)
        values = np.empty(dataset.shape, np.float32)  # (rows, d_model)
        buffer = np.empty(dataset.chunks, dataset.dtype)
        for rows in _slices(dataset):
            chunk = buffer[: rows.stop - rows.start]
            dataset.read_direct(chunk, rows)
            _require_sound(path, name, chunk, rows.start, header, offsets)
            _as_float32(chunk, values[rows])
    return values


def read_offsets(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(offsets, mask)`` of all_tokens: the row bounds of the prompts, and the tokens that `mean` averages."""
    with _open(path) as file:
        _require_choice(path, "aggregation", "all_tokens", _read_header(path, file).aggregations)
        return file["all_tokens/offsets"][:], file["all_tokens/mask"][:]


def require_comparable(
    a: ActivationHeader, b: ActivationHeader, unlike: Sequence[str] = (), files: Sequence[Path] = ()
) -> None:
    """Raise ActivationError unless the two files saw the same tokens at the same precision and hold the same datasets.

    ``unlike`` names conditions that may differ because the comparison is about them: precision, prompt_format
    (and with it the tokens). With the two ``files`` the error names the first token that differs.
    """
    allowed = {*unlike, *(["token_hash"] if "prompt_format" in unlike and a.prompt_format != b.prompt_format else [])}
    for name in COMPARED:
        if name not in allowed and getattr(a, name) != getattr(b, name):
            hint = f", or add {name} to measure.unlike if this is what you compare" if name in CONDITIONS else ""
            difference = _difference(name, a, b)
            if name == "token_hash" and files:
                difference = _first_unlike_token(files, a, b) or difference
            raise ActivationError(
                f"activations of {a.model} and {b.model} on {a.task} are not comparable: {name} differs ({difference}); "
                f"collect both with the same params and reference: `dvc repro {stage_of('collect', a.model)} {stage_of('collect', b.model)}`{hint}"
            )


def _difference(name: str, a: ActivationHeader, b: ActivationHeader) -> str:
    """Return both values of the attribute ``name``; for prompt ids, the first one that is not shared."""
    if name != "prompt_ids":
        return f"{getattr(a, name)!r} and {getattr(b, name)!r}"
    for larger, smaller in ((a, b), (b, a)):
        if lacking := sorted(set(larger.prompt_ids) - set(smaller.prompt_ids)):
            return f"{smaller.model} lacks {len(lacking)} of {len(larger.prompt_ids)} prompts, e.g. {lacking[0]}: see dropped in its quality.json"
    return "same ids in another order"


def _first_unlike_token(files: Sequence[Path], a: ActivationHeader, b: ActivationHeader) -> str:
    """Return the prompt, the position and both ids of the first token that differs; nothing where a file holds no ids."""
    rows = [_read_token_ids(path) for path in files]
    for prompt, *both in zip(a.prompt_ids, *rows, strict=False):
        length = min(map(len, both))
        unlike = np.flatnonzero(both[0][:length] != both[1][:length])
        position = int(unlike[0]) if len(unlike) else length
        if len(unlike) or len(both[0]) != len(both[1]):
            ids = [
                f"{ids[position] if position < len(ids) else 'none'} in {h.model}"
                for ids, h in zip(both, (a, b), strict=True)
            ]
            return f"prompt {prompt}, token {position}: {' and '.join(ids)}"
    return ""


def _read_token_ids(path: Path) -> list[np.ndarray]:
    """Return the token ids of each prompt, and of what follows it."""
    with _open(path) as file:
        if "token_ids" not in file:
            return []
        return np.split(file["token_ids/ids"][:], np.cumsum(file["token_ids/lengths"][:])[:-1])


def _promised(header: ActivationHeader) -> list[str]:
    """Return the names of the datasets that a file with this header holds."""
    return [
        f"{a}/{hook_name(s, layer)}"
        for a in header.aggregations
        for s in header.sites
        for layer in range(header.n_layers)
    ]


def _write_header(file: h5py.File, header: ActivationHeader) -> None:
    values = asdict(header)
    # A dataset, not an attribute: an attribute ends at 64 KiB.
    ids = [identifier.encode() for identifier in values.pop("prompt_ids")]
    add_dataset(file, "prompt_ids", np.array(ids, dtype=h5py.string_dtype(length=max(map(len, ids), default=1))))
    for name, value in values.items():
        # JSON for what HDF5 has no plain type for
        file.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, (dict, tuple)) else value


def _write_block(
    path: Path, file: h5py.File, header: ActivationHeader, block: Block, offsets: np.ndarray | None
) -> str:
    """Write one dataset and return its name."""
    name = f"{block.aggregation}/{hook_name(block.site, block.layer)}"
    if name not in _promised(header):
        raise ActivationError(
            f"{path}: dataset {name} is not promised by the header ({header.aggregations}, {header.sites}, {header.n_layers} layers)"
        )
    offsets = offsets if block.aggregation == "all_tokens" else None
    _require_form(path, name, block.values, header, offsets)
    # Not lzf: its compressor starts from an uninitialised table, so that equal values give unequal bytes at times.
    dataset = file.create_dataset(
        name,
        shape=block.values.shape,
        dtype=block.values.dtype,
        chunks=(max(1, min(block.values.shape[0], CHUNK_VALUES // header.d_model)), header.d_model),
        fletcher32=True,
        **hdf5plugin.Bitshuffle(cname="lz4"),
        track_times=False,
    )
    for rows in _slices(dataset):
        piece = block.values[rows]
        _require_sound(path, name, piece, rows.start, header, offsets)
        dataset[rows] = piece
    return name


def _slices(dataset: h5py.Dataset) -> Iterator[slice]:
    """Return the rows of one chunk after the other."""
    rows, step = len(dataset), dataset.chunks[0]
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _open(path: Path) -> AbstractContextManager[h5py.File]:
    path = Path(path)
    fix = FIX.format(stage=stage_of("collect", path.parent.name))
    return read_hdf5(path, FileSource("the activations of one model on one task", fix, ActivationError))


def _read_header(path: Path, file: h5py.File) -> ActivationHeader:
    fix = FIX.format(stage=stage_of("collect", Path(path).parent.name))
    if (version := file.attrs.get("format_version")) != FORMAT_VERSION:
        raise ActivationError(f"{path}: format_version {version}, expected {FORMAT_VERSION}; {fix}")
    stored = {f.name: f for f in fields(ActivationHeader) if f.name != "prompt_ids"}
    if missing := sorted(set(stored) - set(file.attrs)) + [n for n in ("prompt_ids",) if n not in file]:
        raise ActivationError(f"{path}: the header lacks {', '.join(missing)}; {fix}")
    values = {name: _attribute(file.attrs[name], field.type) for name, field in stored.items()}
    header = ActivationHeader(prompt_ids=tuple(file["prompt_ids"].asstr()[:]), **values)
    if (header.model, header.task) != (Path(path).parent.name, Path(path).stem):
        raise ActivationError(
            f"{path} holds the activations of {header.model} on {header.task}, not of {Path(path).parent.name} on {Path(path).stem}; {fix}"
        )
    if absent := [name for name in _promised(header) if name not in file]:
        raise ActivationError(f"{path}: {len(absent)} datasets are missing, the first is {absent[0]}; {fix}")
    return header


def _attribute(value, annotation: str):
    """Return an attribute as the type that ActivationHeader declares."""
    if annotation == "int":
        return int(value)
    if annotation == "float":
        return float(value)
    if annotation == "str":
        return value
    decoded = json.loads(value)
    return tuple(decoded) if isinstance(decoded, list) else decoded


def _as_float32(stored: np.ndarray, target: np.ndarray) -> None:
    """Write float32 values, or those whose bfloat16 bits ``stored`` holds, into ``target``."""
    if stored.dtype == np.uint16:
        # bfloat16 is the upper half of float32
        np.left_shift(stored, 16, target.view(np.uint32), dtype=np.uint32)
    else:
        target[:] = stored


def _require_form(
    path: Path, name: str, values: SliceableRows, header: ActivationHeader, offsets: np.ndarray | None
) -> None:
    """Raise ActivationError naming the dataset unless it has the promised type and shape."""
    rows = len(header.prompt_ids) if offsets is None else int(offsets[-1])
    dtype = np.uint16 if offsets is not None and header.all_tokens_dtype == "bfloat16" else np.float32
    if values.dtype != dtype:
        raise ActivationError(
            f"{path}: {name} is {values.dtype}, expected {np.dtype(dtype)} (float16 overflows at 65 504): convert before writing"
        )
    if values.shape != (rows, header.d_model):
        raise ActivationError(f"{path}: {name} has shape {values.shape}, expected {(rows, header.d_model)}")


def _require_sound(
    path: Path, name: str, piece: np.ndarray, start: int, header: ActivationHeader, offsets: np.ndarray | None
) -> None:
    """Raise ActivationError naming the first bad prompt where ``piece``, the rows from ``start``, is not finite or too long."""
    # NaN and infinity are the largest numbers when bits are read as integers: several times faster than isfinite.
    half = piece.dtype == np.uint16
    infinity, without_sign = (np.uint16(0x7F80), 0x7FFF) if half else (np.uint32(0x7F800000), 0x7FFFFFFF)
    size = piece.view(infinity.dtype) & without_sign
    # The value that alone, as every value of a row, keeps the norm within the bound: most pieces need no norm.
    harmless = np.array([header.norm_high / header.d_model**0.5], np.float32).view(np.uint32)[0] >> (16 if half else 0)
    largest = size.max(initial=0)
    if largest <= harmless:
        return
    if largest >= infinity:
        problem, bad = "is not finite", (size >= infinity).any(axis=1)  # (rows,)
    else:
        values = np.empty(piece.shape, np.float32)
        _as_float32(piece, values)
        norms = np.linalg.norm(values.astype(np.float64), axis=1)  # (rows,)
        problem, bad = f"has norms above {header.norm_high:g}", norms > header.norm_high * (1 + ROUNDING)
    if not bad.any():
        return
    row = start + int(np.argmax(bad))
    prompt = row if offsets is None else int(np.searchsorted(offsets, row, side="right")) - 1
    raise ActivationError(
        f"{path}: {name} {problem}, first at prompt {header.prompt_ids[prompt]} (row {row}); "
        f"collect in float32 or bfloat16, never float16, and check the weights: `dvc repro {stage_of('collect', header.model)}`"
    )


def _require_choice(path: Path, field: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ActivationError unless ``value`` is one of the stored ``choices``."""
    if value not in choices:
        raise ActivationError(
            f"{path}: no {field} {value!r}: {did_you_mean(value, choices)}stored here: {', '.join(choices)}; add it to collect.{field}s in params.yaml"
        )
