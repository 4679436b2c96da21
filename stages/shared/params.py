"""Read and validate one group of params.yaml: every number is finite and no larger than any of its kind can be."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PARAMS_FILE = Path("params.yaml")
# No count, size or factor comes near: the largest are tokens of pretraining, some 10^13.
LARGEST = 10**15
# Every generator of random numbers takes a seed of 32 bits.
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class ParamsError(ValueError):
    """A parameter is unknown, missing or out of range; the message names the key and the fix."""


class Group(BaseModel):
    """A group of parameters: unknown keys, numbers that are not finite or too large are errors; values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, content: Any) -> Any:
        """Refuse `true` where pydantic would take it for 1."""
        for name, field in cls.model_fields.items():
            value = content.get(name) if isinstance(content, dict) else None
            types = _types_of(field.annotation)
            is_number = bool not in types and (int in types or float in types)
            if is_number and any(isinstance(item, bool) for item in _items(value)):
                raise ValueError(f"{name}: expected a number, found {value!r}")
        return content

    @model_validator(mode="after")
    def _no_number_too_large(self) -> Group:
        for name in type(self).model_fields:
            for item in _items(getattr(self, name)):
                if isinstance(item, int | float) and abs(item) > LARGEST:
                    raise ValueError(f"{name}: {item:g} is too large: expected at most {LARGEST}")
        return self


Schema = TypeVar("Schema", bound=Group)


def load(group: str, schema: type[Schema], path: Path = PARAMS_FILE) -> Schema:
    """Return the group ``group`` (dots descend) of the YAML file ``path``, validated by ``schema``.

    Raises ParamsError naming the file, the key, the value and what was expected.
    """
    if not path.exists():
        raise ParamsError(f"{path} not found in {Path.cwd()}: run from the root of the repository")
    node = read_yaml(path)
    for depth, key in enumerate(group.split(".")):
        if not isinstance(node, dict) or key not in node:
            parent = ".".join(group.split(".")[:depth]) or "the top level"
            raise ParamsError(f"{path}: no group {key!r} at {parent}: restore it from the committed {path}")
        node = node[key]
    try:
        return schema.model_validate(node)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(group, schema, item, path) for item in error.errors())) from error


class _Loader(yaml.SafeLoader):
    """The safe loader of YAML, which refuses a key that stands twice in one mapping; YAML itself lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in keys:
                    line = key_node.start_mark.line + 1
                    raise ParamsError(f"line {line}: the key {key!r} stands twice in one group: leave one out")
                keys.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; raise ParamsError where it is none, or where a key stands twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    except ParamsError as error:
        raise ParamsError(f"{path}, {error}") from error


def _items(value: object) -> Iterator[object]:
    """Yield ``value``, or what it holds where it is a list or a mapping, at any depth."""
    if isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _items(item)
    else:
        yield value


def _explain(group: str, schema: type[BaseModel], item: dict, path: Path) -> str:
    """Return one line for one pydantic error: where, which value, what was expected."""
    key = ".".join([group, *(str(part) for part in item["loc"])])
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(schema, item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{path}: unknown key {key}: {hint}allowed here: {', '.join(sorted(allowed))}"
    whole_group = isinstance(item["input"], dict | BaseModel) and item["type"] == "value_error"
    value = "" if item["type"] == "missing" or whole_group else f" (found {item['input']!r})"
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
