"""Text files are UTF-8 whatever the locale: every call that opens one says so."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Position of the mode and of the encoding among the arguments.
OPENERS = {"open": (1, 3), "read_text": (None, 0), "write_text": (None, 1)}


def silent_calls(source: str) -> list[int]:
    """Return the lines of calls that open text in the encoding of the locale."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        in_text = name in ("read_text", "write_text")
        if name == "open" and not (isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "os"):
            position = 1 if isinstance(node.func, ast.Name) else 0
            mode = keywords.get("mode", node.args[position] if len(node.args) > position else ast.Constant("r"))
            in_text = not (isinstance(mode, ast.Constant) and "b" in str(mode.value))
        in_text |= any(getattr(keywords.get(key), "value", False) is True for key in ("text", "universal_newlines"))
        if in_text and "encoding" not in keywords:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", sorted((ROOT / "stages").rglob("*.py")), ids=lambda path: path.stem)
def test_no_text_is_opened_in_the_encoding_of_the_locale(path):
    assert silent_calls(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "call",
    ["open(p)", "open(p, 'w')", "p.open()", "p.open('a')", "p.read_text()", "p.write_text(t)", "run(c, text=True)"],
)
def test_calls_without_an_encoding_are_seen(call):
    assert silent_calls(call) == [1]
    assert (
        silent_calls(
            call[:-1].rstrip(",") + (", " if "(" in call[:-1] and not call.endswith("()") else "") + "encoding='utf-8')"
        )
        == []
    )


@pytest.mark.parametrize(
    "call",
    [
        "open(p, encoding='utf-8')",
        "p.read_text(encoding='utf-8')",
        "open(p, 'rb')",
        "p.open('wb')",
        "p.read_bytes()",
        "os.open(p, 0)",
    ],
)
def test_calls_of_bytes_or_with_an_encoding_are_left_alone(call):
    assert silent_calls(call) == []


def test_text_is_written_and_read_alike_where_the_locale_has_another_encoding(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from stages.tasks.rows import read_rows, write_rows\n"
        "from stages.tasks.documents import read_text_documents\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "(folder / 'a.jsonl').write_bytes('{\"text\": \"sch\\u00f6n\"}\\n'.encode())\n"
        "assert read_text_documents('a', folder) == ['sch\\u00f6n']\n"
        "row = {'id': 'a', 'prompt': 'sch\\u00f6n\\n', 'answer': '\\u00f6', 'split': 'train'}\n"
        "write_rows('b', [row], folder)\n"
        "assert read_rows('b', 'train', folder) == [row | {'task': 'b'}]\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)
