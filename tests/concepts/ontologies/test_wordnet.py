"""Wordnets from a WN-LMF file: the committed one, and small ones that are not as they should be."""

import pytest

from stages.concepts.ontologies import wordnet
from stages.concepts.ontologies.hierarchy import OntologyError
from stages.concepts.ontologies.wordnet import Selection, from_file, from_lexicon
from tests.support.project import ROOT

KINDS = ROOT / "data/registry/kinds.xml"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.3.dtd">\n'
    '<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">\n'
    '<Lexicon id="x" label="x" language="en" email="none@example.org" license="none" version="1">\n'
)


def selection(**changes) -> Selection:
    return Selection(**{"parts": ["n", "v"], "least": 8, "most": 80, "held_out": 0.25, "seed": 0} | changes)


def lmf(path, above: dict[str, list[str]]):
    """Nouns by lemma, each with its hypernyms."""
    entries = "".join(
        f'<LexicalEntry id="x-{name}"><Lemma writtenForm="{name}" partOfSpeech="n"/><Sense id="x-{name}-1" synset="x-{name}-n"/></LexicalEntry>'
        for name in above
    )
    below = {name: [lower for lower, uppers in above.items() if name in uppers] for name in above}
    synsets = "".join(
        f'<Synset id="x-{name}-n" ili="" partOfSpeech="n" lexfile="noun.x">'
        + "".join(f'<SynsetRelation relType="hypernym" target="x-{upper}-n"/>' for upper in uppers)
        + "".join(f'<SynsetRelation relType="hyponym" target="x-{lower}-n"/>' for lower in below[name])
        + "</Synset>"
        for name, uppers in above.items()
    )
    path.write_text(HEAD + entries + synsets + "</Lexicon></LexicalResource>\n", encoding="utf-8")
    return path


def words(kind: str, count: int) -> dict[str, list[str]]:
    return {f"{kind}{'abcdefghijklm'[i]}": [kind] for i in range(count)}


def test_the_committed_file_has_nouns_and_verbs_under_their_lexicographer_files():
    found = from_file(KINDS, selection())
    assert found.kinds["bird.n"] == "noun.animal" and found.kinds["move.v"] == "verb.motion"
    assert found.words["salmon"] == "fish.n" and found.kinds["noun.animal"] is None
    assert len(found.words) > 140 and 0.15 < len(found.held_out) / len(found.words) < 0.3


def test_parts_of_speech_and_the_number_of_kinds_are_as_asked():
    assert not any(kind.startswith("verb") for kind in from_file(KINDS, selection(parts=["n"])).kinds)
    assert len(from_file(KINDS, selection(most=3)).parents()) == 3


def test_a_word_under_two_kinds_is_left_out(tmp_path):
    content = {"bird": [], "fish": []} | words("bird", 8) | words("fish", 8) | {"penguin": ["bird", "fish"]}
    found = from_file(lmf(tmp_path / "x.xml", content), selection())
    assert "penguin" not in found.words and len(found.words) == 16


def test_a_cycle_of_hypernyms_is_named(tmp_path):
    content = {"a": ["b"], "b": ["c"], "c": ["a"]} | words("a", 8) | words("b", 8)
    with pytest.raises(OntologyError, match=r"the hierarchy has a cycle: x-\w-n < x-\w-n < x-\w-n < x-\w-n"):
        from_file(lmf(tmp_path / "x.xml", content), selection())


def test_kinds_without_enough_words_are_an_error_that_names_the_largest():
    with pytest.raises(OntologyError, match=r"has 50 words .*\(the largest has 18\)"):
        from_file(KINDS, selection(least=50))


def test_files_that_are_not_there_or_not_lmf_are_named(tmp_path):
    with pytest.raises(OntologyError, match=r"gone\.xml not found"):
        from_file(tmp_path / "gone.xml", selection())
    broken = tmp_path / "broken.xml"
    broken.write_text(KINDS.read_text(encoding="utf-8")[:2000])
    with pytest.raises(OntologyError, match=r"broken\.xml is no WN-LMF file"):
        from_file(broken, selection())


def test_an_unpinned_lexicon_is_refused_and_an_unreachable_one_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(wordnet.wn.config, "data_directory", tmp_path)
    with pytest.raises(OntologyError, match="expected name:version"):
        from_lexicon("oewn", selection())

    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(wordnet.wn, "download", refuse)
    with pytest.raises(OntologyError, match="cannot download the lexicon 'oewn:2024' .* set concepts.ontology.source"):
        from_lexicon("oewn:2024", selection())


def test_reading_a_file_leaves_the_users_own_database_alone():
    before = wordnet.wn.config.data_directory
    from_file(KINDS, selection())
    assert wordnet.wn.config.data_directory == before
