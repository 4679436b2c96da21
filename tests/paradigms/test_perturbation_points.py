"""The models beside a sibling: which they are, and where the sibling's own line has another's displacement."""

import pytest
import torch

from stages.models.checkpoint import Checkpoint
from stages.paradigms.perturbation_points import Point, all_points, matched_t


def at(folder):
    return Checkpoint("mine", folder, "other", "local", "", "")


def test_points_are_all_there_once(tmp_path):
    (tmp_path / "checkpoints/step-3").mkdir(parents=True)
    found = all_points([0.5, 1.0, 0.25, 1.0], 2, at(tmp_path))
    assert found == [
        Point("isotropic", 0), Point("isotropic", 1), Point("spectrum_preserving", 0), Point("spectrum_preserving", 1),
        Point("negated"), *(Point("interpolation", t=t) for t in (0.25, 0.5, 1.0)), Point("checkpoint", step=3),
    ]  # fmt: skip


def test_the_matched_point_has_the_others_norm():
    delta = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}  # norm 5
    assert matched_t(delta, {"a": torch.zeros(2), "b": torch.tensor([[2.0]])}) == pytest.approx(0.4)
    assert matched_t(delta, {"a": torch.tensor([6.0, 0.0]), "b": torch.zeros(1, 1)}) is None
