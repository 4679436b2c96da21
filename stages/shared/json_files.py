"""Text, JSON and JSON lines, read as if from an enemy: what is not as declared is named by file, line and fix.

Refused beyond what pydantic refuses: bytes that are not UTF-8, a key that stands twice, NaN and infinity, whole
numbers of thousands of digits, nesting that is too deep, and halves of surrogate pairs, which no file could hold
again. A mark of byte order at the beginning is read over.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stages.shared.files import FileSource, one_line

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Content = TypeVar("Content")
# Characters of a bad value that a message shows.
SHOWN = 80


class Record(BaseModel):
    """The content of a JSON object: declared keys have their types, further keys may follow; nothing is converted."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


def read_utf8(path: Path, source: FileSource) -> str:
    """Return the text of a UTF-8 file. Raises ``source.error`` naming the file, the first bad line and the fix."""
    if not path.is_file():
        raise source.error(f"{path} not found; {source.fix}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise source.error(f"{path} cannot be read ({error}); {source.fix}") from error
    return decode_text(content, str(path), source)


def decode_text(content: bytes, location: str, source: FileSource) -> str:
    """Return UTF-8 bytes as text, without a mark of byte order, lines ended by a newline alone."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n")
        place = f"{location}, line {line + 1}" if b"\n" in content[:-1] else location
        raise source.error(
            f"{place} is not UTF-8 (byte {content[error.start]:#04x}): expected {source.contents}; {source.fix}"
        ) from error


def read_json(path: Path, schema: type[Content], source: FileSource) -> Content:
    """Return the content of a JSON file, validated. Raises ``source.error`` naming the file, what is wrong and the fix."""
    return parse_json(read_utf8(path, source), schema, str(path), source)


def read_json_lines(path: Path, schema: type[Content], source: FileSource) -> list[Content]:
    """Return the content of every line that is not blank, validated. Raises ``source.error`` naming the line."""
    lines = read_utf8(path, source).split("\n")  # not splitlines: text may hold U+2028
    return [
        parse_json(line, schema, f"{path}, line {number}", source)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def parse_json(text: str, schema: type[Content], location: str, source: FileSource) -> Content:
    """Return ``text`` as JSON that ``schema`` accepts; ``location`` stands in messages, before what is wrong."""
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_float=_finite, parse_constant=_no_number)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
        return TypeAdapter(schema).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(_shown(part).strip("'") for part in first["loc"])
        shown = f" (found {_shown(first['input'])})"
        problem = f" has no {key}" if first["type"] == "missing" else f": {key or 'the content'}: {first['msg']}{shown}"
    except json.JSONDecodeError as error:
        problem = f" is not JSON ({error.msg}, column {error.colno}): cut off or damaged"
    except UnicodeEncodeError:
        problem = " has half of a surrogate pair, which is no character"
    except RecursionError:
        problem = " is nested too deeply"
    except ValueError as error:  # a key twice, a number that is none, too many digits
        problem = f" {one_line(error)}"
    raise source.error(f"{location}{problem}; expected {source.contents}; {source.fix}")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # too many digits, too deep
        text = type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"has the key {_shown(next(name for name in names if names.count(name) > 1))} twice")
    return result


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"has the number {_shown(text)}: expected a finite one")
