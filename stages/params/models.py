"""Parameters of the group `models`: the registry of hub and local models."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import RootModel, model_validator

from stages.params.loading import PARAMS_FILE, Group, ParamsError, load

SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]*"


class Model(Group):
    """One entry: a hub model at a revision, or a local directory."""

    hub: str | None = None
    """Hub id, organisation/name."""
    revision: str | None = None
    """Branch, tag or commit, verbatim; fetch resolves it to a commit SHA."""
    path: str | None = None
    """Directory of a Hugging Face checkpoint."""
    paradigm: Literal["base", "sft", "rl_zero", "think", "other"]

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if (self.hub is None) == (self.path is None) or (self.hub is None) != (self.revision is None):
            raise ValueError("expected either hub and revision (for example main), or path")
        return self


class Registry(RootModel[dict[str, Any]]):
    """All entries, by slug; an entry is validated when it is used."""


def load_entry(slug: str, path: Path = PARAMS_FILE) -> Model:
    """The entry ``slug`` of the registry; raises ParamsError naming the key and the fix."""
    slugs = list(load("models", Registry, path).root)
    if slug not in slugs:
        close = difflib.get_close_matches(slug, slugs, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ParamsError(f"{path}: no model {slug!r} in models: {hint}registered: {', '.join(slugs) or 'none'}")
    if not re.fullmatch(SLUG, slug):
        raise ParamsError(
            f"{path}: models.{slug}: a slug has letters, digits, - and _ only (it names stages and folders)"
        )
    return load(f"models.{slug}", Model, path)
