"""The command line of a stage: the parameters of its main function."""

import sys

import pytest

from stages.shared.command import run_stage


def main(model: str, seed: int, reference: str | None = None) -> None:
    CALLS.append((model, seed, reference))


CALLS: list = []


@pytest.mark.parametrize(
    ("arguments", "call"),
    [(["sft-s0", "3"], ("sft-s0", 3, None)), (["7", "3", "base-s0"], ("7", 3, "base-s0"))],
)
def test_arguments_are_the_parameters_in_their_order(monkeypatch, arguments, call):
    CALLS.clear()
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    run_stage(main, "What it does.")
    assert [call] == CALLS


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "required: model, seed"), (["a", "b"], "invalid int value: 'b'")]
)
def test_wrong_arguments_end_with_a_message(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    with pytest.raises(SystemExit):
        run_stage(main, "What it does.")
    assert message in capsys.readouterr().err
