"""The group `drift`: what cannot run is refused by name, with the fix."""

import pytest
import yaml

from stages.drift.params import Drift, load_scope
from stages.shared.params import ParamsError, load
from tests.support import drift_study as study


def drift(tmp_path, **changes):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"drift": study.SMALL | changes}))
    return load("drift", Drift, path)


@pytest.mark.parametrize(("changes", "message"), [
    ({"organisms": ["base", "sfft"]}, "unknown organism 'sfft': allowed: base, sft"),
    ({"organisms": ["sft"]}, r"organisms \['sft'\] need 'base', with which the others are compared"),
    ({"organisms": ["base", "base"]}, "every one may stand only once"),
    ({"blocks": 12}, "blocks 12: expected a power of two from 8 on"),
    ({"prompts": 36, "blocks": 16}, "prompts 36 must be a multiple of blocks 16"),
    ({"basis": "pca"}, "drift.basis: .*'raw', 'unit'"),
    ({"regularisation": 0}, "drift.regularisation: .*greater than 0"),
    ({"noise": 2}, "drift.noise"),
    ({"gromov_rows": 3}, "drift.gromov_rows"),
    ({"epsilon": 1}, "unknown key drift.epsilon"),
])  # fmt: skip
def test_bad_values_are_named(tmp_path, changes, message):
    with pytest.raises(ParamsError, match=message):
        drift(tmp_path, **changes)


def test_the_scope_needs_a_task_but_neither_seeds_nor_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = {"seeds": [], "models": {}, "tasks": ["logic"], "benchmarks": ["gsm8k"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"study": whole}))
    assert load_scope() == ([], {}, ["logic", "gsm8k"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"study": whole | {"tasks": [], "benchmarks": []}}))
    with pytest.raises(ParamsError, match="name a task"):
        load_scope()
