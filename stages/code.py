"""Write the fingerprint of the code of every stage, data/code/STUDY.VERB.txt: python -m stages.code.

Every other stage depends on its own fingerprint and on nothing else of the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from stages.shared.code_identity import DYNAMIC_IMPORTS, ROOT, fingerprint
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder

FOLDER = Path("data/code")
ENTRY = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)
CELL = re.compile(r"^def rows\(", re.MULTILINE)


def main() -> None:
    with atomic_folder(FOLDER) as folder:
        for name, files in entry_points(ROOT).items():
            (folder / f"{name}.txt").write_text(fingerprint(*files, root=ROOT), encoding="utf-8")


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
