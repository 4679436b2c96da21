"""The hashed lock has what requirements.txt asks for, and every package of the list of licences."""

import re

from tests.support.licences import installed_closure, licence, requirements
from tests.support.project import ROOT

LOCK = (ROOT / ".requirements.lock").read_text(encoding="utf-8")
PINNED = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;]+)", LOCK, re.MULTILINE))
LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_holds_every_pin_of_the_requirements():
    versions = {canonical(name): version for name, version in PINNED.items()}
    pins = [line.split(";")[0].strip().split("==") for line in LINES if line and not line.startswith("#")]
    assert len(pins) > 30
    assert {name: versions.get(canonical(name)) for name, _ in pins} == dict(pins)


def test_every_entry_of_the_lock_has_hashes_and_none_names_a_host():
    entries = re.split(r"^(?=[A-Za-z0-9._-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 150 and "://" not in LOCK
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_and_the_licences_cover_all_that_is_installed_for_the_project():
    closure = installed_closure(requirements(LINES))
    assert len(closure) > 100
    assert {canonical(name) for name in closure} - {canonical(name) for name in PINNED} == set()
    assert licence(closure["numpy"]).startswith("BSD")
