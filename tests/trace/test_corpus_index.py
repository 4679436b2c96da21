"""The index against counting by hand: every count, every longest suffix, on corpora small enough to count."""

import math
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.trace import corpus_index as index
from stages.trace.answers import Answer, CorpusError
from stages.trace.corpus_index import build_index, support

infini_gram = pytest.importorskip("infini_gram", reason="infini-gram has wheels for Linux x86-64 alone")

SEPARATOR = None


def stream(documents):
    """All documents with the separator in front of each, as the definition of a document's end has it."""
    return [token for document in documents for token in [SEPARATOR, *document]]


def occurrences(corpus, ngram):
    return sum(corpus[place : place + len(ngram)] == ngram for place in range(len(corpus) - len(ngram) + 1))


def oracle(documents, answer):
    """Count, probability, matched, matched_count, zero_tokens by nothing but counting."""
    corpus = stream(documents)
    probability, lengths, zeros = 1.0, [], 0
    for place in range(answer.start, len(answer.ids)):
        context = answer.ids[:place]
        while context and not occurrences(corpus, context):
            context = context[1:]
        before = occurrences(corpus, context) if context else len(corpus)
        after = occurrences(corpus, [*context, answer.ids[place]])
        probability *= after / before
        lengths.append((len(context) + 1, before))
        zeros += after == 0
    return occurrences(corpus, answer.ids), probability, *min(lengths), zeros


def found(folder, documents, answers):
    folder.mkdir()
    table = support(build_index(documents, folder), answers)
    assert list(table["id"]) == [answer.id for answer in answers]
    assert list(table["tokens"]) == [len(answer.ids) - answer.start for answer in answers]
    columns = ["count", "probability", "matched", "matched_count", "zero_tokens"]
    return [tuple(row) for row in table[columns].itertuples(index=False)]


def assert_as_by_hand(folder, documents, answers):
    for row, answer in zip(found(folder, documents, answers), answers, strict=True):
        expected = oracle(documents, answer)
        assert row[0] == expected[0] and row[2:] == expected[2:], answer
        assert math.isclose(row[1], expected[1], rel_tol=1e-12), answer


@pytest.mark.parametrize("highest", [1, 6, 255, 256, 65534, 65535, 65536, 2**32])
def test_random_corpora_are_counted_as_by_hand(tmp_path, highest):
    """Ids on both sides of every limit of 8, 16 and 32 bits."""
    rng = random.Random(highest)
    tokens = sorted({0, 1, highest - 1, highest})
    documents = [rng.choices(tokens, k=rng.randint(0, 12)) for _ in range(60)]
    answers = []
    for number in range(80):
        ids = rng.choices(tokens, k=rng.randint(1, 8))
        answers.append(Answer(str(number), ids, rng.randrange(len(ids))))
    assert_as_by_hand(tmp_path / "index", documents, answers)


def test_as_many_distinct_tokens_as_fit_are_told_apart(tmp_path):
    most = index.ABSENT
    documents = [list(range(start, min(start + 1000, most))) for start in range(0, most, 1000)]
    cases = [[most - 2, most - 1], [most - 1, most], [most], [most - 1], [most + 1, 0, 1], [0, 1, 2]]
    assert_as_by_hand(tmp_path / "index", documents, [Answer(str(c), c, 0) for c in cases])
    with pytest.raises(CorpusError, match="more than 65534 distinct tokens"):
        build_index([*documents, [most]], tmp_path)


documents_strategy = st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=8).filter(any)
answers_strategy = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=7), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=documents_strategy, texts=answers_strategy, data=st.data())
def test_any_small_corpus_is_counted_as_by_hand(tmp_path_factory, documents, texts, data):
    answers = [
        Answer(str(number), ids, data.draw(st.integers(0, len(ids) - 1), label="start"))
        for number, ids in enumerate(texts)
    ]
    assert_as_by_hand(tmp_path_factory.mktemp("corpus") / "index", documents, answers)


def test_a_planted_answer_is_found_as_often_as_it_stands(tmp_path):
    rng = random.Random(0)
    documents = [rng.choices(range(100), k=20) for _ in range(100)]
    for place in rng.sample(range(100), 7):
        documents[place][5:5] = [200, 201, 202]
    for place in rng.sample(range(100), 3):
        documents[place] += [200, 201, 203]
    planted, rare, absent, inverted = found(
        tmp_path / "index",
        documents,
        [Answer(*case) for case in [("a", [200, 201, 202], 2), ("b", [200, 201, 203], 2), ("c", [200, 201, 204], 2), ("d", [202, 201], 1)]],
    )  # fmt: skip
    assert planted == (7, 0.7, 3, 10, 0) and rare == (3, 0.3, 3, 10, 0) and absent == (0, 0.0, 3, 10, 1)
    assert inverted == (0, 0.0, 2, 7, 1)


def test_documents_do_not_run_into_each_other(tmp_path):
    (row,) = found(tmp_path / "index", [[1, 2], [3, 4], [2, 4]], [Answer("x", [1, 2, 3], 2)])
    assert row == (0, 0.0, 3, 1, 1)


def test_an_unseen_context_leaves_the_share_of_the_token(tmp_path):
    (row,) = found(tmp_path / "index", [[1, 2, 2]], [Answer("x", [4, 2], 1)])
    assert row == (0, 2 / 4, 1, 4, 0)  # three tokens and one end of a document


def test_a_zero_token_is_counted_not_dropped(tmp_path):
    (row,) = found(tmp_path / "index", [[1, 2, 3]], [Answer("x", [1, 2, 4, 3], 1)])
    assert row[1] == 0 and row[-1] == 1


def test_the_tokenizers_own_beginning_is_no_context(tmp_path):
    documents = [[9, 5, 1, 2], [9, 1, 2], [9, 1, 3]]
    plain, begun = found(tmp_path / "index", documents, [Answer("a", [1, 2], 1), Answer("b", [9, 1, 2], 2, 1)])
    assert plain == begun == (2, 2 / 3, 2, 3, 0)


@pytest.mark.parametrize("documents", [132, 133, 134, 150, 199, 265])  # 62 bytes each: just above one, two, four parts
def test_parts_give_the_same_as_one(tmp_path, monkeypatch, documents):
    rng = random.Random(documents)
    documents = [rng.choices(range(6), k=30) for _ in range(documents)]
    answers = [Answer(str(number), rng.choices(range(6), k=6), 3) for number in range(50)]
    whole = found(tmp_path / "whole", documents, answers)
    monkeypatch.setattr(index, "PART", 4096)
    monkeypatch.setattr(index, "OVERLAP", 512)
    assert len(index.part_bounds(62 * len(documents))) > 1
    assert found(tmp_path / "parts", documents, answers) == whole


def test_the_engine_says_nothing(tmp_path, capfd):
    found(tmp_path / "index", [[1, 2]], [Answer("x", [1, 2], 1)])
    assert capfd.readouterr().out == ""


def test_a_folder_with_a_space_works(tmp_path):
    assert found(tmp_path / "my index", [[1, 2]], [Answer("x", [1, 2], 1)]) == [(1, 1.0, 2, 1, 0)]


@pytest.mark.parametrize("documents", [[], [[], []]])
def test_an_empty_corpus_is_an_error(tmp_path, documents):
    with pytest.raises(CorpusError, match="no tokens"):
        build_index(documents, tmp_path)


def test_a_path_that_the_engine_would_misread_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="'table' in a path"):
        build_index([[1, 2]], tmp_path / "tables")


def test_a_working_folder_of_any_name_will_do(tmp_path, monkeypatch):
    (tmp_path / "table/index").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "table")
    made = build_index([[1, 2]], tmp_path / "table/index")
    assert support(made, [Answer("x", [1, 2], 1)])["count"].tolist() == [1]


def test_a_failing_indexer_is_named():
    indexer = Path(infini_gram.__file__).parent / "rust_indexing"
    with pytest.raises(CorpusError, match="rust_indexing make-part failed with status"):
        index._run(indexer, "make-part", "--data-file=absent")


def test_without_a_wheel_the_error_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "infini_gram", None)
    with pytest.raises(CorpusError, match=r"pip install infini-gram==2.6.0.*ngrams.organisms=\[\]"):
        build_index([[1]], tmp_path)
