"""The number of workers: joblib's meaning, read in one place."""

import os
import re

import joblib
import pytest

from stages.shared.workers import WorkersError, worker_count
from tests.support.project import ROOT


@pytest.mark.parametrize("jobs", ["1", "2", "7", "-1", "-2", "-3", "-999"])
def test_jobs_mean_what_joblib_means_by_them(monkeypatch, jobs):
    monkeypatch.setenv("JOBS", jobs)
    expected, cores = joblib.effective_n_jobs(int(jobs)), joblib.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert worker_count() == expected


def test_without_jobs_all_cores_work(monkeypatch):
    monkeypatch.delenv("JOBS", raising=False)
    assert worker_count() == os.cpu_count()


@pytest.mark.parametrize(
    "jobs", ["", "0", "max", "abc", "1.5", " 2", "2 ", "+2", "٣", "²", "-0", "1e3", "10000", "None"]
)
def test_what_is_no_number_of_workers_is_named(monkeypatch, jobs):
    monkeypatch.setenv("JOBS", jobs)
    with pytest.raises(WorkersError, match=re.escape(f"JOBS is {jobs!r}: expected the number of workers")):
        worker_count()


def test_one_place_reads_it():
    readers = [
        path.name for path in (ROOT / "stages").rglob("*.py") if re.search(r'["\']JOBS["\']', path.read_text("utf-8"))
    ]
    assert readers == ["workers.py"]
