"""A text with massive tokens: autoencoders are trained and judged without them, and what they explain stands beside it."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.concepts import autoencode, evaluate, extract
from stages.concepts.state_files import FINAL, read_words
from stages.concepts.tables import DICTIONARY_TABLES
from tests.support.concept_study import prepare, small, tokenizer, write_params


def study(project, patch, factor: float) -> tuple[dict, dict]:
    """Return states of a model in which the embedding of the word "and" is ``factor`` times as long, and measures by name."""
    patch.chdir(project)
    patch.setenv("JOBS", "1")
    prepare(project)
    params = small()
    params["autoencoders"] |= {"variants": {"random": {}}, "comparisons": {}, "seeds": [0, 1], "steps": 60}
    params["concepts"]["models"] = {"one": "one"}
    write_params(project, params)
    model = AutoModelForCausalLM.from_pretrained(project / "checkpoints/one")
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer().convert_tokens_to_ids("and")] *= factor
    model.save_pretrained(project / "checkpoints/one")
    extract.main("one", "one")
    autoencode.main()
    evaluate.main()
    quality = DICTIONARY_TABLES.read(project / "data/concepts/dictionaries", "quality")
    rows = quality[(quality["variant"] == "random") & (quality["kind"] == "")]
    states = read_words(project / "data/concepts/words/one/states.h5").states[FINAL]
    return states._asdict(), rows.groupby("measure")["value"].mean().to_dict()


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    found = {}
    for factor in (1.0, 1e4):
        with pytest.MonkeyPatch.context() as patch:
            found[factor] = study(tmp_path_factory.mktemp("massive"), patch, factor)
    return found


def test_moments_and_units_are_those_of_ordinary_tokens(studies):
    (plain, _), (massive, _) = studies[1.0], studies[1e4]
    assert massive["middle_rms"] < massive["middle_limit"] < 20 * plain["middle_rms"]
    assert np.trace(massive["middle_covariance"]) < 2 * np.trace(plain["middle_covariance"])


def test_the_headline_leaves_massive_tokens_out_and_their_effect_stands_beside_it(studies):
    (_, plain), (_, massive) = studies[1.0], studies[1e4]
    assert plain["explained_with_sinks"] == plain["explained"]
    assert massive["explained"] == pytest.approx(plain["explained"], abs=0.2)
    assert abs(massive["explained_with_sinks"] - massive["explained"]) > 0.05
    assert massive["dead"] == pytest.approx(plain["dead"], abs=0.25)
