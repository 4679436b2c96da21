"""The gate opens on a planted hierarchy, in every row that it should, and stays shut on noise and on each null."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from stages.concepts.concept_probes import contexts, polytopes, scene, shared
from stages.concepts.gate import GAUSSIAN, HEADLINE, LABELS, ROWS, TRUE, gate
from stages.concepts.ontologies.hierarchy import Hierarchy, checked_hierarchy, hold_out
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL, UNTRAINED, States, Words, WordsHeader
from tests.support.project import ROOT

D, VOCABULARY, SUPERS, PARENTS, CHILDREN, TEMPLATES = 32, 900, 2, 3, 20, 3
COMMITTED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["concepts"]


@pytest.fixture(scope="module")
def hierarchy() -> Hierarchy:
    kinds = {f"s{i}": None for i in range(SUPERS)} | {f"p{i}": f"s{i // PARENTS}" for i in range(SUPERS * PARENTS)}
    words = {f"w{i}": f"p{i // CHILDREN}" for i in range(SUPERS * PARENTS * CHILDREN)}
    return checked_hierarchy(kinds, words, hold_out(words, 0.25, 0), 6)


@pytest.fixture(scope="module")
def params() -> Concepts:
    small = {
        "gate": COMMITTED["gate"] | {"draws": 40, "splits": 6},
        "templates": [f"{i} {{word}}" for i in range(TEMPLATES)],
    }
    return Concepts(**COMMITTED | small | {"held_out_templates": 1})


def states(planted: bool, seed: int = 0, mixing: bool = True) -> States:
    """An unembedding of words under orthogonal kinds, hidden by a mixing matrix; or one of noise."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(generator.standard_normal((D, D)))[0]
    words = generator.standard_normal((VOCABULARY, D))
    count = SUPERS * PARENTS * CHILDREN
    parent = np.arange(count) // CHILDREN
    if planted:
        words[:count] += 6.0 * directions[parent // PARENTS] + 6.0 * directions[SUPERS + parent]
    mixed = words @ (np.eye(D) + 0.3 * generator.standard_normal((D, D))) if mixing else words
    middle = words[:count] + 0.3 * generator.standard_normal((TEMPLATES, count, D))
    moment = np.eye(D)
    return States(mixed, middle, middle, moment, np.zeros(D), moment, np.zeros(D), moment, 1.0)


def read(planted: bool, **changes) -> Words:
    count = SUPERS * PARENTS * CHILDREN
    header = WordsHeader("m", "", 0, [f"w{i}" for i in range(count)], [], [], {}, "float32", {})
    found = {FINAL: states(planted), UNTRAINED: states(False, 1)} | changes
    return Words(header, np.arange(VOCABULARY), np.arange(count), found)


def passing(rows, **where) -> float:
    chosen = rows[np.logical_and.reduce([rows[key] == value for key, value in where.items()])]
    assert len(chosen)
    return chosen["passes"].mean()


def test_a_planted_hierarchy_passes_whole_and_every_null_of_it_fails(hierarchy, params):
    rows, pairs = gate(read(True), hierarchy, params)
    assert passing(rows, state=FINAL, metric=HEADLINE, null=TRUE) == 1
    for null in (LABELS, ROWS, GAUSSIAN):
        assert passing(rows, state=FINAL, metric=HEADLINE, null=null) == 0
    assert passing(rows, state=UNTRAINED, metric=HEADLINE, null=TRUE) == 0
    true = pairs[(pairs["state"] == FINAL) & (pairs["null"] == TRUE)].groupby("relation")["ratio"].mean()
    assert true["above"] > 0.7 and abs(true["depth_matched"]) < 0.2 and abs(true["sibling"]) < 0.2


def test_pure_noise_fails_whole(hierarchy, params):
    rows, pairs = gate(read(False), hierarchy, params)
    assert not rows["passes"].any()
    # and yet its angles are as near to a right one as anyone would ask
    true = pairs[(pairs["null"] == TRUE) & (pairs["relation"] == "above")]
    assert (true["angle"] >= 80).all()


def test_words_far_from_the_margin_do_not_pass_however_sure(hierarchy, params):
    strict = params.model_copy(update={"gate": params.gate.model_copy(update={"members_within": 0.01})})
    rows, _ = gate(read(True), hierarchy, strict)
    true = rows[(rows["state"] == FINAL) & (rows["metric"] == HEADLINE) & (rows["null"] == TRUE)]
    assert (true["p"] < 0.05).all() and true["passes"].mean() < 0.5


def test_what_a_sibling_swap_shows(hierarchy, params):
    rows, _ = gate(read(True), hierarchy, params)
    own = rows[(rows["state"] == FINAL) & (rows["metric"] == HEADLINE) & (rows["null"] == TRUE) & (rows["level"] == 1)]
    assert (own["siblings"].abs() < 0.35).all() and (own["members"] > 0.6).all()


def test_contexts_tell_planted_kinds_and_not_noise_or_shuffled_labels(hierarchy, params):
    found = list(contexts(read(True), hierarchy, params))
    means = {
        key: np.mean([row["auroc"] for row in found if (row["state"], row["null"]) == key])
        for key in ((FINAL, "none"), (FINAL, "labels"), (UNTRAINED, "none"))
    }
    assert means[FINAL, "none"] > 0.95
    assert 0.3 < means[FINAL, "labels"] < 0.7 and 0.3 < means[UNTRAINED, "none"] < 0.7


def test_planted_siblings_are_the_corners_of_a_regular_simplex(hierarchy, params):
    rows = [row for row in polytopes(read(True), hierarchy, params) if row["kind"] in ("s0", "s1")]
    of = {row["state"]: row for row in rows}
    assert of[FINAL]["corners"] == PARENTS
    assert of[FINAL]["edge_variation"] < 0.15 and of[FINAL]["cosine"] == pytest.approx(-0.5, abs=0.1)


def test_a_model_shares_its_concepts_with_itself_and_not_with_noise(hierarchy, params):
    base = read(True)
    same = list(shared(base, base, hierarchy, params))
    assert all(row["cosine"] == pytest.approx(1) for row in same)
    # of two kinds as deep as each other, the contrasts are opposite whatever the words
    assert all(np.isnan(row["other_kinds"]) if row["kind"][0] == "s" else row["other_kinds"] < 0.5 for row in same)
    other = list(shared(read(False), base, hierarchy, params))
    assert np.mean([abs(row["cosine"]) for row in other]) < 0.35


def test_what_moves_all_words_alike_is_no_change_of_concepts(hierarchy, params):
    base = read(True)
    moved = base.states[FINAL].unembedding + 0.0
    moved[: SUPERS * PARENTS * CHILDREN] += 5.0
    other = read(True, **{FINAL: base.states[FINAL]._replace(unembedding=moved)})
    found = [row for row in shared(other, base, hierarchy, params) if row["place"] == "unembedding"]
    assert all(row["cosine"] == pytest.approx(1) for row in found)


def test_the_picture_has_a_corner_a_kind_and_marks_held_out_words(hierarchy, params):
    rows = [row for row in scene(read(True), hierarchy, params) if row["state"] == FINAL]
    corners = [row for row in rows if row["corner"]]
    assert [row["kind"] for row in corners] == ["p0", "p1", "p2"]
    assert {row["word"] for row in rows if row["held_out"]} == {
        w for w in hierarchy.held_out if hierarchy.words[w] in "p0p1p2"
    }


def test_a_kind_without_siblings_is_told_from_all_others_alone(params):
    kinds = {"s0": None, "p0": "s0", "p1": "s0", "s1": None, "p2": "s1"}
    words = {f"w{i}": f"p{i // 20}" for i in range(60)}
    lone = checked_hierarchy(kinds, words, hold_out(words, 0.25, 0), 6)
    values = states(True)
    values = values._replace(middle=values.middle[:, :60], final=values.final[:, :60])
    of = Words(read(True).header._replace(words=list(words)), np.arange(VOCABULARY), np.arange(60), {FINAL: values})
    found = [row for row in contexts(of, lone, params) if row["null"] == "none" and row["kind"] == "p2"]
    assert all(np.isnan(row["siblings"]) and row["auroc"] > 0.9 for row in found) and found
    rows, pairs = gate(of, lone, params)
    assert rows[rows["kind"] == "p2"]["siblings"].isna().all() and set(pairs["relation"]) >= {"above", "sibling"}
    assert {row["kind"] for row in polytopes(of, lone, params)} >= {"p0", "p1", "p2"}
    assert {row["kind"] for row in scene(of, lone, params)} == {"p0", "p1", "p2"}
