"""Read and validate one group of params.yaml."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

PARAMS_FILE = Path("params.yaml")


class ParamsError(ValueError):
    """A parameter is unknown, missing or out of range; the message names the key and the fix."""


class Group(BaseModel):
    """A group of parameters: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Schema = TypeVar("Schema", bound=Group)


def load(group: str, schema: type[Schema], path: Path = PARAMS_FILE) -> Schema:
    """Return the group ``group`` (dots descend) of the YAML file ``path``, validated by ``schema``.

    Raises ParamsError naming the file, the key, the value and what was expected.
    """
    if not path.exists():
        raise ParamsError(f"{path} not found in {Path.cwd()}: run from the root of the repository")
    try:
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    for depth, key in enumerate(group.split(".")):
        if not isinstance(node, dict) or key not in node:
            parent = ".".join(group.split(".")[:depth]) or "the top level"
            raise ParamsError(f"{path}: no group {key!r} at {parent}: restore it from the committed {path}")
        node = node[key]
    try:
        return schema.model_validate(node)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(group, schema, item, path) for item in error.errors())) from error


def _explain(group: str, schema: type[BaseModel], item: dict, path: Path) -> str:
    """Return one line for one pydantic error: where, which value, what was expected."""
    key = ".".join([group, *(str(part) for part in item["loc"])])
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(schema, item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{path}: unknown key {key}: {hint}allowed here: {', '.join(sorted(allowed))}"
    value = "" if item["type"] == "missing" else f" (found {item['input']!r})"
    return f"{path}: {key}: {item['msg']}{value}"


def _fields_at(schema: type[BaseModel], location: tuple) -> list[str]:
    """Return the field names of the model that lies at ``location`` inside ``schema``."""
    for part in location:
        field = schema.model_fields.get(str(part))
        nested = (
            [t for t in _types_of(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)]
            if field
            else []
        )
        if not nested:
            continue  # an index or a free key: the value type was already entered with its field
        schema = nested[0]
    return list(schema.model_fields)


def _types_of(annotation) -> list:
    """Return the annotation itself and every type inside it (list[X], dict[str, X], X | None)."""
    inner = getattr(annotation, "__args__", ())
    return [annotation, *(t for argument in inner for t in _types_of(argument))]
