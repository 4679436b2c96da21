"""The head: logits as the model itself makes them, and their curvature, by automatic differentiation of the model."""

import numpy as np
import pytest
import torch
import transformers as hf

from stages.concepts.head import head_of, require_head
from stages.geometry.information import LogitForm, fisher_information
from stages.models.capture import base_model, probe_ids
from stages.models.sites import CaptureError
from tests.support.tiny_models import COMMON, CONFIGS, GEMMA, GROUPED, tiny_model

V, D, N = COMMON["vocab_size"], COMMON["hidden_size"], 6


def capped(cap):
    return hf.AutoModelForCausalLM.from_config(hf.Gemma2Config(**GEMMA, final_logit_softcapping=cap))


def with_bias():
    model = tiny_model("gpt2")
    model.lm_head = torch.nn.Linear(D, V)
    return model


MODELS = {
    **{family: lambda family=family: tiny_model(family) for family in CONFIGS},
    "a tight cap": lambda: capped(2.0),
    "a wide cap": lambda: capped(50.0),
    "a cap and a bias": lambda: biased(capped(3.0)),
    "a bias": with_bias,
    "a factor": lambda: hf.AutoModelForCausalLM.from_config(hf.CohereConfig(**GROUPED, logit_scale=0.3)),
    "a divisor": lambda: hf.AutoModelForCausalLM.from_config(hf.GraniteConfig(**GROUPED, logits_scaling=3.0)),
}  # fmt: skip


def biased(model):
    weight = model.lm_head.weight
    model.lm_head = torch.nn.Linear(D, V)
    model.lm_head.weight = weight
    return model


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    model = MODELS[request.param]().double().eval()
    with torch.no_grad():
        for parameter in model.get_output_embeddings().parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def states():
    return 2 * torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def own_logits(model, final):
    """Logits that the model's forward pass makes of final states, whatever it does to them."""
    handle = base_model(model).register_forward_hook(
        lambda _module, _inputs, output: setattr(output, "last_hidden_state", final[None, None]) or output
    )
    try:
        return model(input_ids=torch.tensor([[5]]), use_cache=False).logits[0, 0].double()
    finally:
        handle.remove()


def test_logits_are_the_models_own(model):
    require_head(model)
    slow = torch.stack([own_logits(model, final) for final in states()])
    torch.testing.assert_close(head_of(model).logits(states()), slow.float(), rtol=1e-5, atol=1e-5)


def test_fisher_information_is_the_curvature_of_the_models_own_divergence(model):
    """The Hessian of KL(p(λ) || p(λ + δ)) at δ = 0, through the model's forward pass."""
    slow = []
    for final in states():
        before = own_logits(model, final).log_softmax(-1).detach()

        def divergence(delta, final=final, before=before):
            return (before.exp() * (before - own_logits(model, final + delta).log_softmax(-1))).sum()

        slow.append(torch.autograd.functional.hessian(divergence, torch.zeros(D, dtype=torch.float64)))
    head, everything = head_of(model), np.arange(V)
    found = fisher_information(head.unembedding(everything), states().numpy(), 4, head.form(everything))
    expected = torch.stack(slow).mean(0).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_states_that_are_extracted_have_the_curvature_of_the_models_own_head():
    """In the file of a model with a soft cap, not that of its logits before the cap."""
    from stages.activations.sequences import Sequences
    from stages.concepts.ontologies.hierarchy import checked_hierarchy
    from stages.concepts.params import Concepts
    from stages.concepts.state_extraction import ConceptTexts, extract_states
    from tests.support.concept_study import KINDS, WORDS, small

    torch.manual_seed(0)
    model = capped(2.0).eval().requires_grad_(False)
    model.lm_head.weight.normal_()
    ids = np.random.default_rng(0).integers(3, V, (8, 10))
    words = list(WORDS)
    hierarchy = checked_hierarchy(KINDS, WORDS, frozenset(), 6)
    rows = [np.array([1, 3 + i % (V - 3)]) for i in range(4 * len(words))]
    text = Sequences(ids, np.arange(10)[None].repeat(8, 0) > 0)
    texts = ConceptTexts(hierarchy, [], np.arange(3, V), np.zeros(len(words), int), rows, text, [0, 1, 2])
    found = extract_states(model, texts, 100, Concepts.model_validate(small()["concepts"])).fisher
    with torch.inference_mode():
        final = base_model(model)(input_ids=torch.tensor(ids)).last_hidden_state[:, 1:].flatten(0, 1).double().numpy()
    gamma = model.lm_head.weight[3:].double().numpy()
    plain = fisher_information(gamma, final)
    np.testing.assert_allclose(found, fisher_information(gamma, final, form=LogitForm(cap=2.0)), rtol=1e-3, atol=1e-5)
    assert not np.isclose(np.trace(found), np.trace(plain), rtol=0.3)


def test_a_head_that_does_more_is_refused():
    model = tiny_model("llama")
    assert probe_ids(model).shape == (1, 8)
    require_head(model)
    model.lm_head.register_forward_hook(lambda _module, inputs, output: output)  # does nothing
    require_head(model)
    forward = model.forward

    def doubled(*arguments, **options):
        output = forward(*arguments, **options)
        output.logits = 2 * output.logits
        return output

    model.forward = doubled
    with pytest.raises(CaptureError, match="llama: logits of the final states are off by 0.5 of the largest"):
        require_head(model)
