"""Reading registries: entries by name, and errors that name the file, the entry and the nearest name."""

import pytest

from stages.shared.params import ParamsError
from stages.shared.registry import did_you_mean, listed, read_entries, read_entries_with


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text("gpt2: {hub: openai/gpt2}\nolmo: 3\n")
    return path


def test_entries_are_read_by_name_sound_or_not(path):
    assert read_entries(path) == {"gpt2": {"hub": "openai/gpt2"}, "olmo": 3}
    assert read_entries_with("olmo", "model", path) == read_entries(path)
    path.write_text("# none yet\n")
    assert read_entries(path) == {}


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("gpt2: 1", "gtp2", "no model 'gtp2': did you mean 'gpt2'\\? registered: gpt2"),
        ("gpt2: 1\nolmo: 2", "zzz", "no model 'zzz': registered: gpt2, olmo"),
        ("", "gpt2", "no model 'gpt2': registered: none"),
        ("a.b: 1", "a.b", "a.b: a name has letters, digits, - and _ only"),
        ("- gpt2", "gpt2", "expected names with an entry each"),
        ("1: {}", "gpt2", "expected names with an entry each"),
        ("a: [", "gpt2", "is not valid YAML"),
    ],
)
def test_errors_name_the_file_and_the_fix(path, content, name, message):
    path.write_text(content)
    with pytest.raises(ParamsError, match=f"^{path}.*{message}"):
        read_entries_with(name, "model", path)


def test_a_missing_registry_is_named(tmp_path):
    with pytest.raises(ParamsError, match="run from the root"):
        read_entries(tmp_path / "models.yaml")


def test_the_nearest_choice_is_offered_and_choices_are_listed():
    assert did_you_mean("logik", ["strings", "logic"]) == "did you mean 'logic'? "
    assert did_you_mean("xyz", ["strings", "logic"]) == did_you_mean("logic", []) == ""
    assert did_you_mean(None, ["none", 3]) == "did you mean 'none'? "
    assert listed([1, "b"]) == "1, b" and listed([]) == "none"
