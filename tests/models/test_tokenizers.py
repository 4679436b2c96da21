"""No code of a repository is run: one function reads tokenizers, and no loader says yes, whoever answers its question."""

import ast
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support.project import ROOT

SOURCES = sorted((ROOT / "stages").rglob("*.py"))
TRIAL = """
import sys
from pathlib import Path
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_tokenizer
from stages.models.tokenizers import read_tokenizer
from stages.organisms import family
from stages.trace import corpus_documents

family.MODELS = Path("models")
loaders = {
    "plain": lambda: read_tokenizer("models/bare"),
    "corpus": lambda: corpus_documents.load_tokenizer("models/bare"),
    "checkpoint": lambda: load_tokenizer(Checkpoint("olmo3-s0", Path("models/olmo3-s0"), "other", "local", "", "")),
    "organism": lambda: family.load_organism("olmo3-s0"),
}
for name, load in loaders.items():
    try:
        load()
    except ValueError as error:
        print(name, "refused:", error)
    else:
        print(name, "read without its code")
"""


def pretrained_calls(path):
    """Yield every call ``X.from_pretrained(...)`` of a file, with the name of X."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
            yield ast.unparse(node.func.value), node


def test_every_loader_of_transformers_refuses_code_in_words_and_tokenizers_have_one_place():
    calls = [(path, owner, call) for path in SOURCES for owner, call in pretrained_calls(path)]
    assert calls
    for path, owner, call in calls:
        trust = [keyword.value for keyword in call.keywords if keyword.arg == "trust_remote_code"]
        assert [ast.literal_eval(value) for value in trust] == [False], f"{path}:{call.lineno}"
        assert "Tokenizer" not in owner or path.name == "tokenizers.py", f"{path}:{call.lineno}"
    named = [path.name for path in SOURCES if "AutoTokenizer" in path.read_text(encoding="utf-8")]
    assert named == ["tokenizers.py"]


@pytest.fixture
def hostile(tiny_folders, tmp_path):
    """A checkpoint whose tokenizer brings code of its own, and its tokenizer alone, which has no class without it."""
    folder = shutil.copytree(tiny_folders["olmo3"], tmp_path / "models/olmo3-s0")
    (folder / "theirs.py").write_text(
        "from pathlib import Path\nPath('PWNED').touch()\nfrom transformers import PreTrainedTokenizerFast\n"
        "class Theirs(PreTrainedTokenizerFast):\n    pass\n"
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Theirs", "auto_map": {"AutoTokenizer": [None, "theirs.Theirs"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    bare = shutil.copytree(folder, tmp_path / "models/bare")
    (bare / "config.json").unlink()
    return tmp_path


def test_a_tokenizers_own_code_does_not_run_even_where_the_terminal_says_yes(hostile):
    done = subprocess.run(
        [sys.executable, "-c", TRIAL],
        cwd=hostile,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(hostile / "hub"), "HF_HUB_OFFLINE": "1"},
        input="y\n" * 9,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (hostile / "PWNED").exists(), done.stdout
    for name in ("plain", "corpus"):
        assert f"{name} refused: " in done.stdout and "code" in done.stdout
