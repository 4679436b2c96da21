"""One identity of code: what a module runs, without comments, docstrings and layout.

`dvc.yaml` makes every stage depend on its own fingerprint, and keys of scratch folders hold the same identity, so that
an edit recomputes exactly what runs the edited code.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
# Tokens whose text is white space, and whose kind is what counts.
LAYOUT = {tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE}
F_STRING_START, F_STRING_END = getattr(tokenize, "FSTRING_START", None), getattr(tokenize, "FSTRING_END", None)
# Modules that choose what they import when they run, and the folder of what they choose from: `fingerprint` is then
# given the chosen file too.
DYNAMIC_IMPORTS = {"stages/organisms/prepare.py": "stages/tasks"}


class CodeError(ValueError):
    """The imports of a file cannot be told from its text; the message names the file, the line and the fix."""


def fingerprint(*files: str, root: Path = ROOT) -> str:
    """Return a line ``path sha256`` for every project file that running ``files`` imports, themselves included, sorted.

    Paths are relative to ``root``. The hash is that of `code_text`: it is the same on Python 3.11, 3.12 and 3.13, and
    after an edit of a comment, a docstring or the layout. Raises CodeError as `imported_files` does.
    """
    return "".join(f"{file} {_code_hash(root / file)}\n" for file in import_closure(*files, root=root))


def identity(*modules: str) -> str:
    """Return the SHA-256 of the `fingerprint` of ``modules`` (dotted names): the code's part of a scratch key."""
    files = [module.replace(".", "/") + ".py" for module in modules]
    return hashlib.sha256(fingerprint(*files).encode()).hexdigest()


def import_closure(*files: str, root: Path = ROOT) -> list[str]:
    """Return the sorted paths of the project files that running ``files`` imports, directly or not, themselves included.

    ``stages/__init__.py`` runs before each of them.
    """
    open_files, closure = [*files], {"stages/__init__.py"}
    while open_files:
        file = open_files.pop()
        if file not in closure:
            closure.add(file)
            open_files += imported_files(file, root)
    return sorted(closure)


@cache
def imported_files(file: str, root: Path = ROOT) -> tuple[str, ...]:
    """Return the project files that ``file`` imports directly, wherever in it the import stands.

    Raises CodeError on a relative or dynamic import, whose target does not stand in the text.
    """
    modules = set()
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise CodeError(f"{file}:{node.lineno}: relative import: write it in full, from stages.…")
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif _is_dynamic_import(node) and file not in DYNAMIC_IMPORTS:
            raise CodeError(f"{file}:{node.lineno}: dynamic import: import by name, so that edits of the target count")
    paths = (module.replace(".", "/") + ".py" for module in modules if module.startswith("stages."))
    return tuple(sorted(path for path in paths if (root / path).exists()))


def _is_dynamic_import(node: ast.AST) -> bool:
    """Return whether ``node`` imports what its text does not tell; a literal name of another package is told."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    if name not in ("__import__", "import_module", "run_module", "run_path", "exec_module"):
        return False
    target = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    return not isinstance(target, str) or target.startswith(("stages", "."))


@cache
def _code_hash(path: Path) -> str:
    return hashlib.sha256(code_text(path.read_text(encoding="utf-8")).encode()).hexdigest()


def code_text(source: str) -> str:
    """Return the tokens of ``source``, one to a line, without comments, docstrings and layout.

    Strings that stand alone as statements document what is beside them and are left out. Python 3.12 cuts f-strings
    into parts and 3.11 does not, so they are put together again.
    """
    lines = source.splitlines(keepends=True)
    documented = _docstring_spans(source, lines)
    words, after_docstring = [], False
    for kind, text, start in _whole_tokens(source, lines):
        is_docstring = kind == tokenize.STRING and any(first <= start < last for first, last in documented)
        ends_docstring = after_docstring and kind == tokenize.NEWLINE
        if kind not in IGNORED:
            after_docstring = is_docstring
            if not is_docstring and not ends_docstring:
                words.append(tokenize.tok_name[kind] if kind in LAYOUT else text)
    return "\n".join(words)


def _whole_tokens(source: str, lines: list[str]) -> Iterator[tuple[int, str, tuple[int, int]]]:
    """Yield kind, text and start of every token, an f-string being one token."""
    depth, opened = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == F_STRING_START:
            opened = opened if depth else token.start
            depth += 1
        elif token.type == F_STRING_END:
            depth -= 1
            if not depth:
                yield tokenize.STRING, _slice(lines, opened, token.end), opened
        elif not depth:
            yield token.type, token.string, token.start


def _docstring_spans(source: str, lines: list[str]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return start and end (line, character) of every string that is a statement of its own."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            start = node.lineno, _characters(lines[node.lineno - 1], node.col_offset)
            spans.append((start, (node.end_lineno, _characters(lines[node.end_lineno - 1], node.end_col_offset))))
    return spans


def _characters(line: str, size: int) -> int:
    """Return the number of characters in the first ``size`` bytes of ``line``."""
    return len(line.encode()[:size].decode())


def _slice(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return lines[first - 1][left:] + "".join(lines[first : last - 1]) + lines[last - 1][:right]
