"""No text passes a model that has no positions for it, and no text's result depends on what else is in its batch."""

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf

from stages.activations.passes import switch_lengths
from stages.activations.positions import gather_positions
from stages.activations.reservoir import sample_layers
from stages.activations.token_rows import gather_rows
from stages.activations.token_stream import content_states
from stages.activations.tokens import CollectionError, named_texts
from stages.concepts.interrupted_pass import run_prefix
from stages.concepts.splicing import cross_entropy
from stages.models.capture import StreamPoint
from stages.organisms.evaluation import kl_divergence, next_word_accuracy, sample_completions
from stages.paradigms.params import ProbeParams
from stages.paradigms.sensitivity_records import prompt_values
from stages.trace.answers import Answer
from stages.trace.generation import completions
from stages.trace.likelihood import answer_likelihoods
from tests.support.tiny_models import COMMON, POSITIONS, reading_tokenizer, tiny_model

LAYERS = 3
POINT = [StreamPoint("resid_post", LAYERS - 1)]
PROBE = ProbeParams.model_construct(draws=2, seed=0, singular_prompts=0, singular_tolerance=0.1)


def words(length):
    """Return a text of so many tokens, <bos> included."""
    return " ".join(f"w{3 + i % 37}" for i in range(length - 1))


def tokens_of(lengths):
    texts = named_texts(reading_tokenizer(), [words(n) for n in lengths], [f"row-{i}" for i in range(len(lengths))])
    return texts._replace(content=[np.arange(n) > 0 for n in lengths])


def samples_of(lengths):
    rows = [
        {"task": "t", "id": f"row-{i}", "prompt": words(3), "completion": [5] * (n - 3)} for i, n in enumerate(lengths)
    ]
    return pd.DataFrame(rows)


def gathered(model, lengths, budget=10**6):
    parts = {}

    def put(rows, reduced):
        parts.update({int(row): value for row, value in zip(rows, reduced["last_token"][-1], strict=True)})

    planned = [np.argsort(-np.array(lengths), kind="stable")]
    gather_positions(model, tokens_of(lengths), planned, ["resid_post"], ["last_token"], budget, put)
    return [parts[row] for row in range(len(lengths))]


def answers_of(lengths):
    return [Answer(f"row-{i}", ids.tolist(), 2) for i, ids in enumerate(tokens_of(lengths).ids)]


def ends_of(lengths):
    return [np.array([n - 1]) for n in lengths]


PASSES = {
    "collect": gathered,
    "chosen tokens": lambda model, lengths: gather_rows(model, tokens_of(lengths), ends_of(lengths), POINT, 10**6),
    "drift": lambda model, lengths: sample_layers(model, tokens_of(lengths), ends_of(lengths), 10**6),
    "text states": lambda model, lengths: content_states(model, 1, tokens_of(lengths).ids, [0, 1, 2], 10**6),
    "likelihood": lambda model, lengths: answer_likelihoods(model, answers_of(lengths), 10**6),
    "contexts": lambda model, lengths: run_prefix(model, tokens_of(lengths).ids, 1),
    "spliced loss": lambda model, lengths: cross_entropy(model, 1, tokens_of(lengths).ids, [0, 1, 2], 10**6),
    "sensitivity": lambda model, lengths: prompt_values(model, {"t": tokens_of(lengths)}, PROBE, {}),
    "trace completions": lambda model, lengths: completions(model, reading_tokenizer(), [words(n) for n in lengths], 1, 0),
    "organisms' completions": lambda model, lengths: sample_completions(model, reading_tokenizer(), [words(n) for n in lengths], 1, 0),
    "KL": lambda model, lengths: kl_divergence(model, model, reading_tokenizer(), samples_of(lengths)),
    "next word": lambda model, lengths: next_word_accuracy(model, reading_tokenizer(), [{"prompt": words(n), "answer": "w3", "kind": "k", "split": "s"} for n in lengths]),
}  # fmt: skip


@pytest.mark.parametrize("family", ["gpt2", "llama", "phi3"])
@pytest.mark.parametrize("stage", PASSES)
def test_a_text_longer_than_the_positions_is_refused_by_name(stage, family):
    name = "prompt '?(row-1|1|w3)" if stage != "contexts" else "prompt 1"
    with pytest.raises(
        CollectionError, match=rf"{name}.* has {POSITIONS + 1} tokens.* the model {POSITIONS} positions"
    ):
        PASSES[stage](tiny_model(family), [5, POSITIONS + 1])


SWITCH = 16


def longrope(**changed):
    """Return a Phi-3 that reads texts of more than SWITCH tokens by other frequencies."""
    torch.manual_seed(0)
    rope = dict(
        rope_type="longrope", rope_theta=100.0, short_factor=[1.0] * 4, long_factor=[8.0, 9.0, 10.0, 11.0],
        original_max_position_embeddings=SWITCH,
    )  # fmt: skip
    config = hf.Phi3Config(**COMMON | changed, rope_parameters=rope, original_max_position_embeddings=SWITCH)
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


ALONE = {
    "collect": lambda model, lengths: torch.stack(gathered(model, lengths)).numpy(),
    "halved batches": lambda model, lengths: torch.stack(gathered(model, lengths, 70)).numpy(),
    "chosen tokens": lambda model, lengths: PASSES["chosen tokens"](model, lengths)[0],
    "drift": lambda model, lengths: PASSES["drift"](model, lengths).values[-1],
    "likelihood": lambda model, lengths: np.array([one.log_likelihood for one in PASSES["likelihood"](model, lengths)]),
}


@pytest.mark.parametrize("lengths", [[5, 40], [40, 5, 16, 17, 9, 33], [16, 17]], ids=str)
@pytest.mark.parametrize("stage", ALONE)
def test_what_else_is_in_the_batch_changes_nothing(stage, lengths):
    model = longrope()
    together = ALONE[stage](model, lengths)
    apart = np.concatenate([ALONE[stage](model, [length]) for length in lengths])
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-4)


def test_the_switch_matters():
    """A long text in the batch would move the short ones by far: what the tests above must see."""
    model = longrope()
    short, long = tokens_of([8]).ids[0], tokens_of([40]).ids[0]
    padded = torch.zeros(2, 40, dtype=torch.long)
    padded[0, :8], padded[1] = torch.tensor(short), torch.tensor(long)
    with torch.inference_mode():
        together, alone = model(padded).logits[0, 7], model(torch.tensor(short)[None]).logits[0, 7]
    assert (together - alone).abs().max() > 0.1 * alone.abs().max()


def test_a_spliced_loss_is_the_mean_over_texts_read_alone():
    model, lengths = longrope(), [30, 8, 40, 12]
    counts = np.array(lengths) - 2
    apart = [cross_entropy(model, 1, tokens_of([length]).ids, [0, 1, 2], 10**6) for length in lengths]
    whole = cross_entropy(model, 1, tokens_of(lengths).ids, [0, 1, 2], 10**6)
    assert whole == pytest.approx(np.average(apart, weights=counts), rel=1e-5)


@pytest.mark.parametrize("lengths", [[5, 30], [5, 12, 30, 28]], ids=str)
def test_a_likeliest_completion_is_the_same_in_any_batch(lengths):
    """Also where it passes the switch on its way."""
    from stages.activations.generation import generate

    model = longrope()
    together = generate(model, tokens_of(lengths), 10, None, None)
    assert together == [generate(model, tokens_of([length]), 10, None, None)[0] for length in lengths]


def test_contexts_on_both_sides_of_the_switch_are_refused_by_name():
    model = longrope()
    run_prefix(model, tokens_of([5, SWITCH]).ids, 1)
    run_prefix(model, tokens_of([SWITCH + 1, 30]).ids, 1)
    with pytest.raises(
        CollectionError, match=r"texts of 5 to 30 tokens .* Phi3ForCausalLM \(longrope\).* more than 16"
    ):
        run_prefix(model, tokens_of([5, 30]).ids, 1)


def test_switches_of_other_models_are_none():
    assert all(switch_lengths(tiny_model(family)) == [] for family in ("gpt2", "llama", "phi3", "gemma3", "olmo3"))
    assert switch_lengths(longrope()) == [SWITCH]
