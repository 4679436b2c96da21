"""A scratch key changes with everything that a result depends on."""

import pytest

from stages.shared import scratch
from stages.shared.scratch import scratch_key

CONTENT = {"params": {"k": 8, "seed": 0}, "input": "a1b2", "device": "cpu"}
MODULE = "stages.geometry.transport"


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: scratch_key(CONTENT | {"params": {"k": 9, "seed": 0}}, MODULE),
        lambda patch: scratch_key(CONTENT | {"input": "a1b3"}, MODULE),
        lambda patch: scratch_key(CONTENT | {"device": "cuda"}, MODULE),
        lambda patch: scratch_key(CONTENT, "stages.geometry.similarity"),
        lambda patch: patch.setattr(scratch, "identity", lambda *modules: "edited") or scratch_key(CONTENT, MODULE),
        lambda patch: patch.setattr(scratch, "version", lambda library: "0.0") or scratch_key(CONTENT, MODULE),
    ],
    ids=["params", "input", "device", "module", "code", "library"],
)
def test_each_ingredient_changes_the_key(change, monkeypatch):
    before = scratch_key(CONTENT, MODULE)
    assert change(monkeypatch) != before


def test_the_order_of_keys_does_not():
    assert scratch_key(dict(reversed(CONTENT.items())), MODULE) == scratch_key(CONTENT, MODULE)


def test_content_that_is_no_json_is_an_error():
    with pytest.raises(TypeError, match="not JSON serializable"):
        scratch_key({"path": object()}, MODULE)
