"""Positions inside a worked solution: what is appended, where it is read, and what it must leave as it was."""

import numpy as np
import pytest

from stages.activations.params import Collect
from stages.activations.passes import require_fit
from stages.activations.tokens import MASK, CollectionError, batches, token_offsets, tokenise
from stages.models.sites import SITES, sites_of
from stages.paradigms.reasoning import continuations, mask_in_words
from stages.tasks import arithmetic, logic, strings
from tests.paradigms.test_shards import params as shard_params
from tests.support.forward_oracle import PROMPTS, RNG, TOKENS, assert_close, collect, naive
from tests.support.tiny_models import VOCABULARY, tiny_tokenizer

REASONING = ("reasoning_middle", "reasoning_end")
AGGREGATIONS = ("last_token", "mean", "all_tokens", *REASONING)
LENGTHS = (6, 1, 25, 2, 9, 3, 14, 8)
CONTINUATIONS = [" ".join(f"w{i}" for i in RNG.integers(3, VOCABULARY, size=n)) for n in LENGTHS]
IDS = [f"p{i}" for i in range(len(PROMPTS))]
WORKED = tokenise(tiny_tokenizer(), PROMPTS, IDS, continuations=CONTINUATIONS)
TEMPLATE = "{% for m in messages %}<eos> w9 {{ m.content }} {% endfor %}{% if add_generation_prompt %}w10{% endif %}"


def params(*aggregations, reasoning=("long", "solution")):
    return shard_params(aggregations=list(aggregations), reasoning=list(reasoning))


def row(**changed):
    return {"id": "a-1", "prompt": "Q: 7 + 5 = ?\n", "answer": "12", "long": "<think>7+5=12.</think>A: 12", "short": "7+5=12. A: 12"} | changed  # fmt: skip


@pytest.mark.parametrize("family", SITES)
def test_every_position_is_that_of_one_unpadded_text(family, tiny_models):
    """Prompt alone for the prompt's aggregations, prompt and continuation for the others: one text at a time, with hooks."""
    model, names = tiny_models[family], sites_of(family)
    collected = collect(model, WORKED, names, AGGREGATIONS, 100)
    for at, (prompt, whole) in enumerate(zip(TOKENS.ids, WORKED.ids, strict=True)):
        assert len(whole) == len(prompt) + LENGTHS[at]
        alone = naive(model, prompt, names)
        for hook, hidden in naive(model, whole, names).items():
            assert_close(collected["last_token", hook][at][0], alone[hook][-1])
            assert_close(collected["mean", hook][at][0], alone[hook][1:].mean(axis=0))
            assert_close(collected["all_tokens", hook][at], alone[hook])
            of_continuation = hidden[len(prompt) :]
            assert_close(collected["reasoning_end", hook][at][0], of_continuation[-1])
            assert_close(collected["reasoning_middle", hook][at][0], of_continuation[(LENGTHS[at] - 1) // 2])


def test_the_prompt_is_read_as_if_nothing_followed(tiny_models):
    alone = collect(tiny_models["olmo3"], TOKENS, ["resid_mid"], AGGREGATIONS[:3], 100)
    followed = collect(tiny_models["olmo3"], WORKED, ["resid_mid"], AGGREGATIONS, 100)
    for key, rows in alone.items():
        for one, other in zip(rows, followed[key], strict=True):
            assert_close(other, one, rtol=1e-5)


def test_the_reasoning_depends_on_its_first_step(tiny_models):
    """Another first word moves both positions, and nothing of the prompt."""
    changed = [" ".join(["w3" if text.split()[0] != "w3" else "w4", *text.split()[1:]]) for text in CONTINUATIONS]
    other = tokenise(tiny_tokenizer(), PROMPTS, IDS, continuations=changed)
    asked = ("last_token", *REASONING)
    before, after = (collect(tiny_models["llama"], t, ["resid_post"], asked, 100) for t in (WORKED, other))
    for aggregation in asked:
        key = aggregation, "blocks.2.hook_resid_post"
        differences = [np.abs(one - two).max() for one, two in zip(before[key], after[key], strict=True)]
        assert max(differences) < 1e-5 if aggregation == "last_token" else min(differences) > 1e-3


def test_the_token_budget_counts_what_follows(tiny_models):
    for rows in batches(WORKED.lengths, 60):
        assert len(rows) * max(len(PROMPTS[r].split()) + 1 + LENGTHS[r] for r in rows) <= 60


def test_the_prompt_keeps_its_ids_and_its_tokens_in_the_file():
    for alone, whole in zip(TOKENS.ids, WORKED.ids, strict=True):
        np.testing.assert_array_equal(whole[: len(alone)], alone)
    assert [1 for ids in WORKED.ids if 1 in ids[1:]] == []  # no second <bos>
    np.testing.assert_array_equal(token_offsets(WORKED), token_offsets(TOKENS))
    np.testing.assert_array_equal(np.concatenate(WORKED.content), np.concatenate(TOKENS.content))
    assert WORKED.subset([2, 1]).lengths.tolist() == [WORKED.lengths[2], WORKED.lengths[1]]


def test_the_digest_tells_texts_and_where_their_prompts_end():
    changed = tokenise(tiny_tokenizer(), PROMPTS, IDS, continuations=[*CONTINUATIONS[:-1], CONTINUATIONS[-1] + " w5"])
    moved = tokenise(tiny_tokenizer(), ["w3 w4", "w5"], ["a", "b"], continuations=["w6 w7", "w8"])
    same_ids = tokenise(tiny_tokenizer(), ["w3 w4 w6", "w5"], ["a", "b"], continuations=["w7", "w8"])
    assert [ids.tolist() for ids in moved.ids] == [ids.tolist() for ids in same_ids.ids]
    digests = {tokens.digest() for tokens in (TOKENS, WORKED, changed, moved, same_ids)}
    assert len(digests) == 5
    assert tokenise(tiny_tokenizer(), PROMPTS, IDS, continuations=CONTINUATIONS).digest() == WORKED.digest()


def test_in_the_chat_format_the_reasoning_follows_the_template():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokens = tokenise(tokenizer, ["w3 w4"], ["a"], "chat", ["w5 w6"])
    assert tokens.ids[0].tolist() == [2, 9, 3, 4, 10, 5, 6]
    assert tokens.prompt_lengths.tolist() == [5]


class Characters:
    """A tokenizer of one token a character, so that white space counts."""

    all_special_ids = ()
    eos_token_id = None
    is_fast = True

    def __call__(self, texts, **_):
        return {
            "input_ids": [[ord(c) for c in text] for text in texts],
            "special_tokens_mask": [[0] * len(text) for text in texts],
            "offset_mapping": [[(i, i + 1) for i in range(len(text))] for text in texts],
        }


@pytest.mark.parametrize(
    ("prompt", "text"), [("Solution:", "Solution: so"), ("Q: ?\n", "Q: ?\nso"), ("Say ", "Say so")]
)
def test_a_space_stands_between_two_words_and_nowhere_else(prompt, text):
    tokens = tokenise(Characters(), [prompt], ["a"], continuations=["so"])
    assert "".join(map(chr, tokens.ids[0])) == text
    assert tokens.prompt_lengths.tolist() == [len(prompt)]


@pytest.mark.parametrize(
    ("changed", "reasoning", "expected"),
    [
        ({}, ["long", "solution"], "<think>7+5=12.</think>A:"),
        ({}, ["short"], "7+5=12. A:"),
        ({}, ["solution", "short"], "7+5=12. A:"),  # the first that the task has
        ({"solution": "He has 7 + 5 = 12.\n#### 12"}, ["solution"], "He has 7 + 5 = 12.\n####"),
        ({"answer": "1", "long": "1+0=1, so A:  1"}, ["long"], "1+0=1, so A:"),
        ({"answer": "a+b", "long": "Sum is a+b. A: a+b"}, ["long"], "Sum is a+b. A:"),  # no pattern, a text
        ({"answer": "12", "long": "112. A: 12."}, ["long"], "112. A:"),
    ],
)
def test_the_solution_ends_before_its_last_mention_of_the_answer(changed, reasoning, expected):
    found = continuations("arithmetic", [row(**changed)], params("reasoning_end", reasoning=reasoning))
    assert found == [expected]


@pytest.mark.parametrize("style", ["long", "short"])
@pytest.mark.parametrize("task", [arithmetic, logic, strings])
def test_the_end_of_a_generated_solution_tells_nothing_of_the_answer(task, style):
    """All texts of a format end in the same mark, with the answer and its space cut off and nothing else."""
    rows = task.rows(task.Params(seed=0, train=1, held_out=200))
    for r, text in zip(rows, continuations("any", rows, params("reasoning_end", reasoning=[style])), strict=True):
        assert f"{text} {r['answer']}" == r[style] and text.endswith("A:")


def test_nothing_is_appended_unless_asked_for():
    assert continuations("logic", [{"id": "x", "answer": "a"}], params("last_token", "mean")) is None
    assert mask_in_words(params("last_token")) == MASK
    told = mask_in_words(params("last_token", "reasoning_end"))
    assert told.startswith(MASK) and "long, solution" in told and "reasoning_middle: its middle token" in told
    assert told != mask_in_words(params("last_token", "reasoning_end", reasoning=["short"]))


BAD = {
    "no solution": (
        {"id": "logiqa-test-3", "prompt": "p", "answer": "C"}, ("last_token", "mean", *REASONING),
        r"task 'logiqa', row logiqa-test-3 has no worked solution \(long or solution\) for the aggregations reasoning_middle, "
        r"reasoning_end: leave them out with -S 'collect.aggregations=\[last_token,mean\]', or leave the task out",
    ),
    "no solution, nothing else asked for": (
        {"id": "x", "prompt": "p", "answer": "C"}, ("reasoning_end",), r"-S 'collect.aggregations=\[last_token\]'",
    ),
    "no answer in it": (
        row(long="<think>7+5=13.</think>A: 13"), ("reasoning_end",),
        "task 'logiqa', row a-1: the worked solution long does not contain the answer '12': correct the row",
    ),
    "no answer": (row(answer=""), ("reasoning_end",), "row a-1: the worked solution long does not contain the answer ''"),
    "nothing but the answer": (
        row(long=" 12"), ("reasoning_end",), "row a-1: the worked solution long has nothing in front of the answer '12'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_row_without_reasoning_is_named_with_the_fix(case):
    bad, aggregations, message = BAD[case]
    with pytest.raises(CollectionError, match=message):
        continuations("logiqa", [bad], params(*aggregations))


def test_a_task_is_read_in_one_style():
    """A row that lacks the style of the first is an error, not read in another."""
    with pytest.raises(CollectionError, match="row b has no worked solution"):
        continuations("logic", [row(), {"id": "b", "answer": "1", "solution": "so 1"}], params("reasoning_end"))


def test_reasoning_needs_its_keys():
    with pytest.raises(ValueError, match=r"reasoning_end needs the keys.*set reasoning, e.g. to \[long, solution\]"):
        params("last_token", "reasoning_end", reasoning=[])
    assert isinstance(params("last_token", reasoning=[]), Collect)


def test_a_text_longer_than_the_model_is_an_error(tiny_models):
    tokens = tokenise(tiny_tokenizer(), ["w3"], ["a"], continuations=["w5 " * 63])
    with pytest.raises(CollectionError, match="prompt a has 65 tokens, the model 64 positions: shorten.*or solutions"):
        require_fit(tiny_models["gpt2"], tokens)


def test_the_same_bytes_twice_with_reasoning(tiny_models):
    first, second = (collect(tiny_models["llama"], WORKED, ["resid_post"], AGGREGATIONS, 64) for _ in range(2))
    for key, rows in first.items():
        assert all(np.array_equal(one, two) for one, two in zip(rows, second[key], strict=True))
