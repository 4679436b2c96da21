"""Pretraining: packing loses nothing, checkpoints lie where the spectrum moves, the loss falls."""

import hashlib

import pytest
import torch

from stages.organisms.params import Pretraining
from stages.organisms.pretraining import checkpoint_steps, learning_rate_factor, next_token_loss, pack, pretrain
from stages.organisms.resumption import TrainingStates
from tests.organisms.conftest import MIX

PARAMS = Pretraining(
    documents=1200, batch=8, row_tokens=64, learning_rate=3e-3, matrix_learning_rate=0.02, weight_decay=0.0, mix=MIX
)


def test_packed_rows_hold_every_document_once():
    documents = [[1] + [10 + i % 50] * (3 + i % 37) + [2] for i in range(1500)]
    rows = pack(documents, 48, seed=0)
    assert max(map(len, rows)) <= 48
    unpacked = []
    for row in rows:
        start = 0
        for place, token in enumerate(row, 1):
            if token == 2:
                unpacked.append(row[start:place])
                start = place
        assert start == len(row)
    assert sorted(unpacked) == sorted(documents)
    assert sum(map(len, documents)) / (48 * len(rows)) > 0.9  # little padding


def test_a_document_longer_than_a_row_is_an_error():
    with pytest.raises(ValueError, match="raise organisms.base.row_tokens"):
        pack([[1] * 40], 32, seed=0)


@pytest.mark.parametrize("steps", [2000, 3500, 5000])
def test_checkpoints_are_many_and_dense_early(steps):
    saved = checkpoint_steps(steps)
    assert 24 <= len(saved) <= 30
    assert saved[0] == 0 and saved[-1] == steps and saved == sorted(set(saved))
    assert sum(4 <= step <= 400 for step in saved) >= 15


def test_learning_rate_warms_up_stays_and_decays():
    factors = [learning_rate_factor(step, 1000) for step in range(1, 1001)]
    assert factors[0] < 0.05 and factors[100] == 1.0 and factors[-1] == pytest.approx(0.02)
    assert all(a >= b for a, b in zip(factors[50:], factors[51:], strict=False))


def test_loss_is_the_mean_over_real_tokens(model):
    rows = [[1, 5, 6, 7, 2], [1, 8, 2]]
    padded = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]])
    naive = torch.cat(
        [-model(torch.tensor([row])).logits[0, :-1].log_softmax(-1)[range(len(row) - 1), row[1:]] for row in rows]
    )
    assert next_token_loss(model, padded, 0).item() == pytest.approx(naive.mean().item(), rel=1e-5)


def weights_hash(model):
    return hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in model.parameters())).hexdigest()


def test_pretraining_lowers_the_loss_and_repeats_to_the_byte(model, base, tokenizer, texts, tmp_path):
    curve = pretrain(model, tokenizer, texts, PARAMS, TrainingStates(tmp_path / "a"), seed=0)
    assert curve[-1]["value"] < 0.6 * curve[0]["value"]
    steps = curve[-1]["step"]
    assert {path.name for path in (tmp_path / "a/checkpoints").iterdir()} == {
        f"step-{step}" for step in checkpoint_steps(steps)
    }
    pretrain(base, tokenizer, texts, PARAMS, TrainingStates(tmp_path / "b"), seed=0)
    assert weights_hash(model) == weights_hash(base)
