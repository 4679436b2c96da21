"""int8 and nf4: quantised blocks, everything else in bfloat16, and the capture map still right."""

import pytest
import torch

from stages.models import loading
from stages.models.capture import self_test
from stages.models.checkpoint import Checkpoint, ModelError
from stages.models.loading import load_model
from tests.support.tiny_models import WIDE_CONFIGS, save_wide_model

pytest.importorskip("bitsandbytes")
CPU = torch.device("cpu")
STORED = {"int8": torch.int8, "nf4": torch.uint8}  # nf4: two weights to a byte
ERROR = {"int8": 0.1, "nf4": 0.5}
"""Relative error of the logits of a random model: nf4 alone moves Gaussian weights by 9 %."""


@pytest.fixture
def wide(tmp_path):
    """family -> checkpoint and model of width 64."""

    def save(family):
        return Checkpoint(family, tmp_path, "base", "local", "", family), save_wide_model(family, tmp_path)

    return save


@pytest.mark.parametrize("precision", STORED)
@pytest.mark.parametrize("family", WIDE_CONFIGS)
def test_blocks_are_quantised_and_nothing_else(family, precision, wide):
    checkpoint, original = wide(family)
    model = load_model(checkpoint, precision, target=CPU)
    self_test(model)
    kinds = {name: value.dtype for name, value in model.named_parameters()}
    matrices = [
        name for name in kinds if ".2." in name and name.endswith("weight") and "norm" not in name and "ln_" not in name
    ]
    assert {kinds[name] for name in matrices} == {STORED[precision]}
    assert len(matrices) in (4, 7)  # fused or separate projections
    assert {dtype for name, dtype in kinds.items() if dtype != STORED[precision]} == {torch.bfloat16}
    assert model.get_input_embeddings().weight.dtype == model.get_output_embeddings().weight.dtype == torch.bfloat16
    ids = torch.tensor([[3, 7, 9, 11, 4]])
    with torch.inference_mode():
        expected, found = original(ids).logits, model(ids).logits.float()
    error = ((found - expected).norm() / expected.norm()).item()
    assert 1e-4 < error < ERROR[precision]


@pytest.mark.parametrize("precision", STORED)
def test_without_bitsandbytes_the_error_has_the_install_line(precision, wide, monkeypatch):
    checkpoint, _ = wide("llama")
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="^this model needs the package bitsandbytes.*pip install -r requirements.txt"):
        load_model(checkpoint, precision, target=CPU)
