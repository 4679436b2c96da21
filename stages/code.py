"""Check the names in params.yaml, and write the fingerprint of the code of every stage, data/code/STUDY.VERB.txt.

Usage: python -m stages.code

Every other stage depends on its own fingerprint and on nothing else of the code, so that this stage runs first. DVC
removes the outputs of a stage before it runs it, and makes their paths of the names: none may lead elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import RootModel

from stages.shared.cells import require_names
from stages.shared.code_identity import DYNAMIC_IMPORTS, ROOT, fingerprint
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load

FOLDER = Path("data/code")
# All that dvc.yaml makes paths of.
NAMES = (
    "concepts.models", "concepts.organisms", "drift.organisms", "drift.runs", "ngrams.corpora", "ngrams.organisms",
    "paths.models", "paths.organisms", "perturb.like", "perturb.models", "perturb.organisms", "study.benchmarks",
    "study.models", "study.organisms", "study.seeds", "tasks", "trace.organisms", "trace.runs", "trace.text",
)  # fmt: skip
ENTRY = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)
CELL = re.compile(r"^def rows\(", re.MULTILINE)


def main() -> None:
    require_all_names()
    with atomic_folder(FOLDER) as folder:
        for name, files in entry_points(ROOT).items():
            (folder / f"{name}.txt").write_text(fingerprint(*files, root=ROOT), encoding="utf-8")


def require_all_names() -> None:
    """Raise ParamsError unless every name that dvc.yaml reads from params.yaml can name stages, files and folders."""
    for key in NAMES:
        value = load(key, RootModel[Any]).root
        holds_references = key.endswith(".models")
        require_names(key, value if holds_references or not isinstance(value, dict) else list(value))


def entry_points(root: Path) -> dict[str, list[str]]:
    """Return, by the name of its fingerprint, the files that a stage starts from.

    A stage whose cells choose a module has one fingerprint for each, as ``organisms.prepare.logic``.
    """
    points = {}
    for path in sorted((root / "stages").glob("*/*.py")):
        if ENTRY.search(path.read_text(encoding="utf-8")):
            file = path.relative_to(root).as_posix()
            name = f"{path.parent.name}.{path.stem}"
            choices = sorted((root / DYNAMIC_IMPORTS[file]).glob("*.py")) if file in DYNAMIC_IMPORTS else []
            cells = [choice for choice in choices if CELL.search(choice.read_text(encoding="utf-8"))]
            points |= {f"{name}.{cell.stem}": [file, cell.relative_to(root).as_posix()] for cell in cells} or {
                name: [file]
            }
    return points


if __name__ == "__main__":
    run_stage(main, __doc__)
