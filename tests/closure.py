"""The project files that a stage depends on: the transitive closure of its imports."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def imported_files(path: Path) -> set[Path]:
    """Files of ``stages`` that ``path`` imports directly, wherever in the file the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: relative import; write it in full")
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = {ROOT / (name.replace(".", "/") + ".py") for name in names if name.startswith("stages.")}
    return {file for file in files if file.exists()}


def import_closure(*starts: str) -> list[str]:
    """Paths, relative to the root, of the files that running ``starts`` imports, themselves included.

    ``stages/__init__.py`` runs before each of them; the empty ``__init__.py`` of the libraries do nothing.
    """
    todo, done = [ROOT / start for start in starts], {ROOT / "stages/__init__.py"}
    while todo:
        path = todo.pop()
        if path not in done:
            done.add(path)
            todo += imported_files(path)
    return sorted(str(path.relative_to(ROOT)) for path in done)
