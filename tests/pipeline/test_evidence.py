"""Committed results that ``dvc repro`` does not rebuild say what made them, and README names those that have gone stale."""

import json
import re

from tests.support import evidence
from tests.support.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_committed_result_that_is_not_rebuilt_has_a_record():
    records = json.loads(evidence.RECORDS.read_text(encoding="utf-8"))
    assert set(records) == set(evidence.EVIDENCE)
    for results in evidence.EVIDENCE.values():
        assert all(list(ROOT.glob(pattern)) for pattern in results.results)


def test_readme_names_exactly_the_results_that_have_gone_stale():
    sentence = re.search(r"Made by earlier code or parameters than today's: ([^.]*)\.", README)
    names = set(re.findall(r"`(\w+)`", sentence[1])) if sentence else set()
    assert names == set(evidence.stale())


def test_an_edit_and_a_changed_parameter_make_results_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "RECORDS", tmp_path / "evidence.json")
    for name in evidence.EVIDENCE:
        evidence.record(name)
    assert evidence.stale() == {}
    monkeypatch.setattr(evidence, "fingerprint", lambda file, root: f"edited {file}")
    assert evidence.stale() == {"families": ["code"], "calibration": ["code"]}
    monkeypatch.undo()
    monkeypatch.setattr(evidence, "RECORDS", tmp_path / "evidence.json")
    changed = evidence.EVIDENCE["families"]._replace(params=("tasks",))
    monkeypatch.setitem(evidence.EVIDENCE, "families", changed)
    assert evidence.stale() == {"families": ["params"]}
