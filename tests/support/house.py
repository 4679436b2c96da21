"""The rules of the house, measured on the code: rooms and arrows, names, sentences, sizes.

``python -m tests.support.house [ROOM ...]`` lists what breaks a rule, in the given rooms of ``stages/`` or in all.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stages.shared.code_identity import imported_files
from tests.support.project import ROOT

LOWER_FLOORS = (("shared",), ("geometry", "statistics"), ("models",), ("activations",), ("tasks",), ("organisms",))
LOWER_ROOMS = {room for rooms in LOWER_FLOORS for room in rooms}
# Every other folder is a study.
STUDIES = tuple(
    sorted(
        path.name
        for path in (ROOT / "stages").iterdir()
        if (path / "__init__.py").exists() and path.name not in LOWER_ROOMS
    )
)
# From the ground floor up: a room imports rooms of lower floors only. Organisms may be imported by every study.
FLOORS = (*LOWER_FLOORS, STUDIES)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
EMPTY_NAMES = frozenset(
    [
        "found",
        "own",
        "of",
        "one",
        "other",
        "others",
        "another",
        "each",
        "here",
        "there",
        "kept",
        "known",
        "shown",
        "seen",
        "asked",
        "wanted",
        "beside",
        "theirs",
        "ours",
        "mine",
        "his",
        "hers",
        "its",
        "it",
        "this",
        "that",
        "these",
        "those",
        "at",
        "by",
        "in",
        "on",
        "onto",
        "to",
        "from",
        "with",
        "without",
        "within",
        "over",
        "under",
        "between",
        "before",
        "after",
        "above",
        "below",
        "behind",
        "beyond",
        "against",
        "about",
        "around",
        "along",
        "among",
        "as",
        "into",
        "up",
        "off",
        "out",
        "near",
        "per",
        "both",
        "such",
        "what",
        "which",
        "who",
        "whose",
        "where",
        "when",
        "how",
        "why",
        "toward",
        "upon",
        "via",
    ]
)
MOST_LINES, MOST_PARAMETERS, LONGEST_LINE, LONGEST_STAGE = 60, 6, 120, 80
# Names that numpy, pandas and torch give to functions and arguments.
ALLOWED = frozenset({"to", "where", "on", "how"})


class Finding(NamedTuple):
    """One place that breaks a rule."""

    rule: str
    file: str
    line: int
    text: str


def code_files(*rooms: str) -> list[Path]:
    """Return the modules of the given rooms of ``stages/``, or of all."""
    files = sorted(path for path in (ROOT / "stages").rglob("*.py") if "__pycache__" not in path.parts)
    return [path for path in files if not rooms or path.relative_to(ROOT / "stages").parts[0] in rooms]


def room_of(file: str) -> str:
    """Return the room of ``stages/ROOM/…``; of a module beside the rooms its own name."""
    return Path(file).parts[1].removesuffix(".py")


def arrows() -> dict[tuple[str, str], list[str]]:
    """Return, for every pair of rooms of which the first imports the second, the imports: ``file -> file``."""
    pairs = defaultdict(list)
    for path in code_files():
        file = path.relative_to(ROOT).as_posix()
        for target in imported_files(file):
            if room_of(file) != room_of(target) and room_of(file) in FLOOR_OF:
                pairs[room_of(file), room_of(target)].append(f"{file} -> {target}")
    return dict(pairs)


def is_stage(path: Path) -> bool:
    """Return whether the module is run by itself."""
    return '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")


def empty_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of every identifier that is a pronoun, a preposition or another word without a thing."""
    for node in ast.walk(tree):
        names: list[tuple[int, str]] = []
        if isinstance(node, ast.Name):
            names = [(node.lineno, node.id)]
        elif isinstance(node, ast.arg):
            names = [(node.lineno, node.arg)]
        elif isinstance(node, ast.Attribute):
            names = [(node.lineno, node.attr)]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [(node.lineno, node.name)]
        elif isinstance(node, ast.keyword) and node.arg:
            names = [(node.value.lineno, node.arg)]
        elif isinstance(node, ast.alias):
            names = [(node.lineno, node.asname or node.name.rpartition(".")[2])]
        for line, name in names:
            if name not in ALLOWED and all(word in EMPTY_NAMES for word in name.lower().strip("_").split("_")):
                yield line, name


def findings(*rooms: str) -> list[Finding]:
    """Return every place of the given rooms that breaks a rule on names, sentences or sizes."""
    return [finding for path in code_files(*rooms) for finding in _of_file(path)]


def _of_file(path: Path) -> Iterator[Finding]:
    file, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    for line, name in empty_names(tree):
        yield Finding("empty name", file, line, name)
    in_tables = _lines_of_tables(tree)
    for number, text in enumerate(source.splitlines(), 1):
        if "fmt: skip" in text and number not in in_tables:
            yield Finding("fmt: skip", file, number, text.strip()[:80])
        if len(text) > LONGEST_LINE and '"' not in text and "#" not in text:
            yield Finding("long line", file, number, text.strip()[:80])
    if is_stage(path) and len(source.splitlines()) > LONGEST_STAGE:
        yield Finding("long stage", file, 1, f"{len(source.splitlines())} lines")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if length > MOST_LINES:
                yield Finding("long function", file, node.lineno, f"{node.name}: {length} lines")
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            if count > MOST_PARAMETERS and "parameters:" not in (ast.get_docstring(node) or "").lower():
                yield Finding("many parameters", file, node.lineno, f"{node.name}: {count}")
            if (
                not node.name.startswith("_")
                and not ast.get_docstring(node)
                and node in tree.body
                and node.name != "main"
            ):
                yield Finding("no docstring", file, node.lineno, node.name)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            first = (ast.get_docstring(node) or "").strip().split("\n")[0]
            if first.split(" ")[0] in (
                "Of",
                "By",
                "As",
                "Where",
                "What",
                "Which",
                "With",
                "Without",
                "For",
                "In",
                "From",
                "On",
                "To",
            ):
                yield Finding("fragment", file, getattr(node, "lineno", 1), first[:80])
        text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
        if isinstance(text, str) and text.split(" ")[0] in ("Of", "of"):
            yield Finding("fragment", file, node.lineno, text[:80])
    for node, following in zip(tree.body, tree.body[1:], strict=False):
        documents = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.Assign | ast.AnnAssign) and documents and isinstance(following.value.value, str):
            yield Finding("constant explained below", file, following.lineno, following.value.value[:80])


def _lines_of_tables(tree: ast.Module) -> set[int]:
    """Return the last lines of constants of the module and of dictionaries and lists of literals: data, laid out by hand."""
    return {
        node.end_lineno
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.end_lineno != node.lineno
    }


def repeated_types() -> dict[str, list[str]]:
    """Return the types whose name stands for more than one, with their files."""
    files = defaultdict(list)
    for path in code_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(path.relative_to(ROOT).as_posix())
    return {name: places for name, places in files.items() if len(places) > 1}


def report(*rooms: str) -> str:
    """Return the findings as text, the counts last."""
    lines = [f"{finding.file}:{finding.line}: {finding.rule}: {finding.text}" for finding in findings(*rooms)]
    size = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in code_files(*rooms))
    counts = Counter(finding.rule for finding in findings(*rooms))
    lines += [f"{rule}: {count}" for rule, count in sorted(counts.items())]
    lines += [f"empty names per 1000 lines: {1000 * counts['empty name'] / size:.1f} of {size} lines"]
    lines += [f"type {name}: {', '.join(places)}" for name, places in repeated_types().items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report(*sys.argv[1:]) + "\n")
