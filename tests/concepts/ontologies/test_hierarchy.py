"""Hierarchies: what is above what, what is held out, and what is no hierarchy."""

import json

import pytest

from stages.concepts.ontologies.hierarchy import (
    OntologyError,
    checked_hierarchy,
    hold_out,
    read_hierarchy,
    write_hierarchy,
)
from stages.concepts.ontologies.organisms import hierarchy_of
from stages.tasks import ontology

KINDS = {"animal": None, "bird": "animal", "fish": "animal"}
WORDS = {f"{kind}{i}": kind for kind in ("bird", "fish") for i in range(8)}


def hierarchy(held=frozenset()):
    return checked_hierarchy(KINDS, WORDS, held, 6)


def test_members_are_those_under_a_kind():
    found = hierarchy()
    assert found.ancestry("bird") == ["bird", "animal"]
    assert len(found.members("animal")) == 16 and found.members("fish") == [f"fish{i}" for i in range(8)]
    assert found.parents() == ["bird", "fish"]


@pytest.mark.parametrize(
    ("kinds", "words", "message"),
    [
        ({"a": "b", "b": "c", "c": "a"}, {}, "cycle: a < b < c < a"),
        ({"a": "a"}, {}, "cycle: a < a"),
        ({"a": "gone"}, {}, "'a' is under 'gone', which is no kind"),
        (KINDS, WORDS | {"x": "gone"}, "the word 'x' is under 'gone'"),
        (KINDS, {word: kind for word, kind in WORDS.items() if word != "fish0"} , None),
        (KINDS, {word: kind for word, kind in WORDS.items() if not word.startswith("fish") or word == "fish0"}, "'fish' has 1 words: expected 6"),
        (KINDS, {word: "bird" for word in WORDS}, "1 kinds with 6 words or more"),
    ],
)  # fmt: skip
def test_what_is_no_hierarchy_is_refused_by_name(kinds, words, message):
    if message is None:
        checked_hierarchy(kinds, words, frozenset(), 6)
        return
    with pytest.raises(OntologyError, match=message):
        checked_hierarchy(kinds, words, frozenset(), 6)


def test_held_out_words_are_a_share_of_every_kind_and_depend_on_the_seed_alone():
    held = hold_out(WORDS, 0.25, 0)
    assert held == hold_out(WORDS, 0.25, 0) != hold_out(WORDS, 0.25, 1)
    assert all(sum(WORDS[word] == kind for word in held) == 2 for kind in ("bird", "fish"))
    assert all(sum(WORDS[word] == kind for word in hold_out(WORDS, 0.99, 0)) == 5 for kind in ("bird", "fish"))


def test_kinds_left_with_too_few_words_go_too():
    kinds = KINDS | {"tool": None}
    words = WORDS | {f"tool{i}": "tool" for i in range(6)}
    found = checked_hierarchy(kinds, words, frozenset({"tool0", "bird0"}), 6).remove({"tool1", "bird1"}, 6)
    assert "tool" not in found.kinds and found.held_out == {"bird0"} and len(found.words) == 15


def test_a_file_keeps_the_order_and_names_what_is_wrong(tmp_path):
    path = tmp_path / "hierarchy.json"
    write_hierarchy(path, hierarchy(frozenset({"fish3"})))
    found = read_hierarchy(path, 6)
    assert found == hierarchy(frozenset({"fish3"})) and list(found.words) == list(WORDS)
    path.write_text(path.read_text(encoding="utf-8")[:100])
    with pytest.raises(OntologyError, match="is not JSON .*expected a hierarchy"):
        read_hierarchy(path, 6)
    with pytest.raises(OntologyError, match="dvc repro concepts-prepare"):
        read_hierarchy(tmp_path / "gone.json", 6)


@pytest.mark.parametrize("noun", ["word", "kind"])
def test_a_word_or_a_kind_that_stands_twice_is_refused(tmp_path, noun):
    path = tmp_path / "hierarchy.json"
    write_hierarchy(path, hierarchy(frozenset({"fish3"})))
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = content[f"{noun}s"]
    rows.append(dict(rows[0]) | ({"kind": rows[-1]["kind"]} if noun == "word" else {"above": None}))
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(OntologyError, match=f"the {noun} '{rows[0][noun]}' stands twice"):
        read_hierarchy(path, 6)


def test_the_organisms_world_is_a_hierarchy_of_supers_parents_and_children():
    params = ontology.Params(seed=0, parents_per_super=2, children_per_parent=8, properties=2, own_attributes=4,
                             held_out_children=0.25, held_out_properties=0.1)  # fmt: skip
    world = ontology.build_world(params)
    found = hierarchy_of(world, 0.25, 0, 6)
    assert found.ancestry(found.words[world.children[0]]) == ["bird", "animal"]
    assert len(found.words) == 32 and len(found.held_out) == 8
