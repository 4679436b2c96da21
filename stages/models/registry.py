"""The registry of hub and local models, ``data/registry/models.yaml``: one entry per model and condition."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import RootModel, model_validator

from stages.shared.params import Group, ParamsError, load
from stages.shared.registry import did_you_mean, read_entries_with
from stages.shared.study import require_no_organism

REGISTRY = Path("data/registry/models.yaml")
Precision = Literal["float32", "bfloat16", "int8", "nf4"]


class ComputePrecision(RootModel[Precision]):
    """The value `collect.precision` of params.yaml, for the models that name no precision of their own."""


class Model(Group):
    """An entry of the registry: a hub model at a revision, or local files, and the condition under which it is measured."""

    hub: str | None = None
    """Hub id, organisation/name."""
    revision: str | None = None
    """Branch, tag or commit, verbatim; fetch resolves it to a commit SHA."""
    path: str | None = None
    """Directory of a Hugging Face checkpoint, or a .gguf file."""
    paradigm: Literal["base", "sft", "dpo", "rl_zero", "rlvr", "think", "other"]
    """rl_zero is RL from the base; rlvr is RL with verifiable rewards after SFT and DPO."""
    reference: str | None = None
    """Slug of the model's base; a base names itself."""
    licence: str | None = None
    gated: bool = False
    """The hub asks for the acceptance of the licence, and a token."""
    precision: Precision | None = None
    """Precision of a labelled condition, such as nf4; else collect.precision holds."""
    prompt_format: Literal["plain", "chat"] = "plain"
    """Prompts as they are, or inside the chat template."""

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.hub is None) == (self.path is None) or (self.hub is None) != (self.revision is None):
            raise ValueError("expected either hub and revision (for example main), or path")
        return self


def load_entry(slug: str, path: Path = REGISTRY) -> Model:
    """Return the entry ``slug`` of the registry; raise ParamsError naming the file, the key and the fix."""
    entries = read_entries_with(slug, "model", path)
    require_no_organism(slug, path)
    entry = load(slug, Model, path)
    _require_base(slug, entry, entries, path)
    return entry


def _require_base(slug: str, entry: Model, entries: dict[str, Any], path: Path) -> None:
    """Raise ParamsError unless the reference of ``entry`` is itself, or an entry that is its own reference."""
    if entry.reference in (None, slug):
        return
    if entry.reference not in entries:
        raise ParamsError(
            f"{path}: {slug}.reference: no model {entry.reference!r}: {did_you_mean(entry.reference, entries)}"
            "name the base that it was trained from"
        )
    root = (entries[entry.reference] or {}).get("reference")
    if root != entry.reference:
        raise ParamsError(
            f"{path}: {slug}.reference: {entry.reference!r} is no base, its own reference is {root!r}: name the base of both"
        )
