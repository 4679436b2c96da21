"""The identity of code: comments, docstrings and layout do not count, everything else does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stages.code import entry_points
from stages.shared.code_identity import CodeError, code_text, fingerprint, identity, import_closure, imported_files
from tests.support.project import ROOT

SOURCE = '''"""A module."""

import math  # for the root

LIMIT = 3
"""What it is."""


def scaled(x: float, by: float = 2.0) -> str:
    """Return ``x`` times ``by``."""
    # Why: units.
    y = x * by
    return f"{y:.{LIMIT}f} {'ä' if y else 'b'}"


class Empty:
    """Nothing."""
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another sentence, ü."""'),
        ('"""A module."""\n', ""),
        ("  # for the root", ""),
        ('"""What it is."""\n', ""),
        ('"""Return ``x`` times ``by``."""', '"""Return a text.\n\n    Longer.\n    """'),
        ("    # Why: units.\n", ""),
        ("x: float, by: float = 2.0", "\n    x: float,  # meters\n    by: float = 2.0"),
        ("\n\n\nclass", "\n\n\n\n\nclass"),
        ("y = x * by", "y  =  x*by"),
        ('"""Nothing."""', '"""Something."""'),
        ('    """Return ``x`` times ``by``."""\n', ""),
        ("LIMIT = 3\n", 'LIMIT = 3\n"""What it is."""\n# And why.\n'),
        ("    y = x * by", '    """A string in the middle."""\n    y = x * by'),
        ("\n\nclass Empty:", '\n\n"""A string between two blocks."""\n\n\nclass Empty:'),
        ('    """Nothing."""\n', '    """Nothing."""\n\n\n# A remark.\n"""And a string at the end."""\n'),
    ],
)
def test_what_does_not_run_does_not_count(old, new):
    assert old in SOURCE
    assert code_text(SOURCE.replace(old, new)) == code_text(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("x * by", "x + by"),
        ("= 2.0", "= 2.5"),
        (".{LIMIT}f", ".{LIMIT}g"),
        ("'ä'", "'ö'"),
        ("import math", "import cmath"),
        ("    return f", "\n    y += 1\n    return f"),
        ("class Empty:", "class Full:"),
    ],
)
def test_what_runs_counts(old, new):
    assert old in SOURCE
    assert code_text(SOURCE.replace(old, new)) != code_text(SOURCE)


def test_moving_a_statement_out_of_a_block_counts():
    inside = "for i in range(3):\n    a = i\n    b = a\n"
    assert code_text(inside) != code_text(inside.replace("    b", "b"))


def test_an_f_string_is_one_word_on_every_python():
    """Python 3.12 cuts it into parts; the text is that of 3.11."""
    words = code_text(
        'x = f"a {y!r:>{width}} b" + rf"{f"{z}"}"\n' if sys.version_info >= (3, 12) else 'x = f"a {y!r:>{width}} b"\n'
    )
    assert 'f"a {y!r:>{width}} b"' in words.split("\n")


@pytest.mark.parametrize(
    "line",
    [
        "from . import files",
        "import importlib\nimportlib.import_module(name)",
        "from importlib import import_module\nimport_module(f'stages.{name}')",
        "__import__('stages.shared.files')",
    ],
)
def test_an_import_that_the_text_does_not_tell_is_an_error(tmp_path, line):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/a.py").write_text(line + "\n")
    with pytest.raises(CodeError, match=r"stages/a.py:\d: (relative|dynamic) import"):
        imported_files("stages/a.py", tmp_path)


def test_the_closure_follows_every_import_and_stops_at_other_packages(tmp_path):
    files = {
        "__init__.py": "",
        "room/a.py": "import numpy\nfrom stages.room import b\n",
        "room/b.py": "def f():\n    from stages.room.c import g\n    return g\n",
        "room/c.py": "import stages.room.a\n",
        "room/d.py": "x = 1\n",
    }
    (tmp_path / "stages/room").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "stages" / name).write_text(text)
    expected = ["stages/__init__.py", "stages/room/a.py", "stages/room/b.py", "stages/room/c.py"]
    assert import_closure("stages/room/a.py", root=tmp_path) == expected
    before = fingerprint("stages/room/a.py", root=tmp_path)
    assert [line.split()[0] for line in before.splitlines()] == expected


def test_the_closure_is_what_running_the_module_loads():
    """Against Python itself: every project file that importing a stage loads is in its fingerprint."""
    code = "import sys, stages.trace.summarise; print('\\n'.join(m for m in sys.modules if m.startswith('stages.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {name.replace(".", "/") + ".py" for name in done.stdout.split()}
    loaded = {file for file in files if (ROOT / file).is_file()}
    assert loaded <= set(import_closure("stages/trace/summarise.py"))


def test_every_stage_has_a_fingerprint_and_a_cell_that_chooses_a_module_one_for_each():
    points = entry_points(ROOT)
    assert {"paradigms.measure", "concepts.autoencode", "organisms.prepare.logic", "organisms.prepare.facts"} <= set(
        points
    )
    assert "organisms.prepare" not in points and "organisms.prepare.item" not in points
    assert "stages/tasks/logic.py" in fingerprint(*points["organisms.prepare.logic"])
    assert "stages/tasks/facts.py" not in fingerprint(*points["organisms.prepare.logic"])


def test_the_identity_of_modules_is_that_of_all_that_they_import():
    assert identity("stages.geometry.transport") != identity("stages.geometry.similarity")
    assert identity("stages.geometry.transport") == identity("stages.geometry.transport")
