"""Effects of a vector in the middle: planted where the middle is nearly the end, and none where nothing is added."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.concepts.effects import columns_of_word, dose_rows, effects, read_baseline, word_columns
from stages.concepts.ontologies.hierarchy import checked_hierarchy, hold_out
from tests.support.concept_study import KINDS, WORDS, checkpoint, tokenizer

LAST = 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    model = AutoModelForCausalLM.from_pretrained(checkpoint(tmp_path_factory.mktemp("m") / "gpt2", "gpt2", 0)).eval()
    hierarchy = checked_hierarchy(KINDS, WORDS, hold_out(WORDS, 0.25, 0), 6)
    ids = np.array(tokenizer().convert_tokens_to_ids(list(hierarchy.words)))
    rows = [np.array([1, *pair]) for pair in ((3, 5), (4, 6, 9), (5, 8, 3, 7), (7, 7))]
    of = word_columns(hierarchy, ids)
    return model, hierarchy, of, read_baseline(model, rows, LAST)


def direction(model, of, kind) -> np.ndarray:
    """After the last block and up to the final norm, what raises the kind's held-out words."""
    rows = model.get_output_embeddings().weight.detach().double().numpy()[of.ids]
    return rows[of.held_out_members[kind]].mean(axis=0) - rows[
        np.setdiff1d(of.held_out, of.held_out_members[kind])
    ].mean(axis=0)


def test_groups_know_held_out_words_and_rivals(scene):
    _, hierarchy, of, _ = scene
    names = list(hierarchy.words)
    assert {names[i] for i in of.held_out_members["bird"]} == set(hierarchy.members("bird")) & hierarchy.held_out
    assert of.rivals["bird"] == ["fish", "tool", "coat"] and of.rivals["animal"] == ["thing"]
    assert len(of.members["animal"]) == 16


def test_the_vector_of_a_kind_raises_its_words_and_a_random_one_does_not(scene):
    model, _, of, start = scene
    generator = np.random.default_rng(0)
    for kind in ("bird", "tool"):
        own = effects(model, 20 * direction(model, of, kind), kind, of, start)
        random = effects(model, generator.standard_normal(len(direction(model, of, kind))), kind, of, start)
        assert own["on_target"] > 3 * abs(random["on_target"]) and own["on_target"] > own["off_target"]
        assert own["success"] == 1


def test_nothing_added_has_no_effect(scene):
    model, _, of, start = scene
    found = effects(model, np.zeros(start.prefix.hidden.shape[-1]), "bird", of, start)
    for name in ("on_target", "off_target", "sibling_contrast", "ratio_kl", "all_kl"):
        assert found[name] == pytest.approx(0, abs=1e-5)
    assert found["success"] == found["success_before"]


def test_the_divergence_is_of_before_from_after(scene):
    model, _, of, start = scene
    delta = 3 * direction(model, of, "fish")
    found = effects(model, delta, "fish", of, start)
    from stages.concepts.interrupted_pass import last_logits

    after = last_logits(
        model, start.prefix, torch.tensor(np.broadcast_to(delta, (4, len(delta))).copy(), dtype=torch.float32)
    )
    p, q = (torch.log_softmax(logits.double(), -1) for logits in (start.logits, after))
    assert found["all_kl"] == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item(), rel=1e-6)
    assert found["all_kl"] != pytest.approx((q.exp() * (q - p)).sum(-1).mean().item(), rel=1e-3)


def test_a_word_has_its_kinds_other_words_as_rivals(scene):
    _, hierarchy, of, _ = scene
    one = columns_of_word("bird3", hierarchy, of)
    assert set(one.rivals["bird3"]) == set(hierarchy.members("bird")) - {"bird3"}
    assert len(one.held_out_members["bird3"]) == 1 and set(one.held_out) == set(of.members["bird"])


def test_every_kind_has_a_row_for_each_strength(scene):
    model, _, of, start = scene
    vectors = {kind: direction(model, of, kind) for kind in ("bird", "fish")}
    rows = list(dose_rows(model, vectors, [0.5, 1.0], 2.0, of, start))
    assert [(row["kind"], row["strength"]) for row in rows] == [
        ("bird", 0.5),
        ("bird", 1.0),
        ("fish", 0.5),
        ("fish", 1.0),
    ]


def test_a_kind_without_rivals_has_no_effect_to_speak_of(scene):
    model, _, _, start = scene
    kinds = {"all": None, "bird": "all", "fish": "all"}
    words = {word: kind for word, kind in WORDS.items() if kind in kinds}
    lone = checked_hierarchy(kinds, words, hold_out(words, 0.25, 0), 6)
    of = word_columns(lone, np.array(tokenizer().convert_tokens_to_ids(list(lone.words))))
    found = effects(model, np.ones(start.prefix.hidden.shape[-1]), "all", of, start)
    assert all(
        np.isnan(found[name]) for name in ("on_target", "effect_size", "off_target", "success", "success_before")
    )
    assert found["all_kl"] > 0
