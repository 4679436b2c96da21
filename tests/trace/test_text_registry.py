"""The registry of texts: the committed entries, and what is refused."""

import pytest
import yaml

from stages.shared.params import ParamsError
from stages.trace.text_registry import TEXT_REGISTRY, FileText, HubText, OrganismText, load_text
from tests.support.project import ROOT

REGISTRY = ROOT / TEXT_REGISTRY
NAMES = list(yaml.safe_load(REGISTRY.read_text()))

GOOD = """
mine:
  source: file
  file: mine.txt
  documents: 3
  least_characters: 10
web:
  source: hub
  hub: some/web
  config: null
  revision: main
  split: train
  column: text
  documents: 3
  least_characters: 10
own:
  source: organisms
  documents: 3
  seed: 0
"""


@pytest.mark.parametrize("name", NAMES)
def test_committed_text_is_valid_and_pinned(name):
    text = load_text(name, REGISTRY)
    assert text.documents > 0
    if isinstance(text, HubText):
        assert text.hub.count("/") == 1
        assert len(text.revision) == 40 and set(text.revision) <= set("0123456789abcdef")


def test_the_source_says_what_an_entry_is(tmp_path):
    path = tmp_path / "texts.yaml"
    path.write_text(GOOD)
    assert [type(load_text(name, path)) for name in ("mine", "web", "own")] == [FileText, HubText, OrganismText]
    assert load_text("mine", path).file == "mine.txt"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("wed", "", "", "no text 'wed': did you mean 'web'\\? registered: mine, web, own"),
        ("a.b", "mine:", "a.b:", "a.b: a name has letters, digits, - and _ only"),
        ("mine", "source: file", "source: files", "mine.source is 'files': did you mean 'file'\\? expected one of organisms, hub, file"),
        ("mine", "  source: file\n", "", "mine.source is None: expected one of organisms, hub, file"),
        ("mine", "source: file", "source: [file]", "mine.source is \\['file'\\]: .*expected one of"),
        ("mine", "mine:\n  source: file\n  file: mine.txt\n  documents: 3\n  least_characters: 10\n", "mine: 3\n", "mine.source is None"),
        ("mine", "file: mine.txt", "fil: mine.txt", "mine.file: Field required"),
        ("mine", "least_characters: 10", "least_character: 10", "unknown key mine.least_character: did you mean 'least_characters'"),
        ("web", "column: text", "colum: text", "unknown key web.colum: did you mean 'column'.*allowed here: column, config, documents"),
        ("web", "  revision: main\n", "", "web.revision: Field required"),
        ("own", "  documents: 3\n  seed", "  documents: 0\n  seed", "own.documents: .*greater than 0 \\(found 0\\)"),
        ("own", "seed: 0", "seed: 0\n  least_characters: 3", "unknown key own.least_characters"),
        ("own", GOOD, "- own", "expected names with an entry each"),
    ],
)  # fmt: skip
def test_errors_name_the_key_and_the_fix(tmp_path, name, old, new, message):
    assert old in GOOD
    path = tmp_path / "texts.yaml"
    path.write_text(GOOD.replace(old, new, 1) if old else GOOD)
    with pytest.raises(ParamsError, match=f"{path}: {message}"):
        load_text(name, path)
