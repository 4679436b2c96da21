"""Copies of the project in temporary folders, with DVC cut off from the user's own settings."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.project import ROOT

TOP = ("README.md", "dvc.yaml", "params.yaml", "requirements.txt", ".dvcignore", ".gitignore", "stages", "tests")


class Project:
    """A project folder in which commands run."""

    def __init__(self, folder: Path, settings: Path):
        self.folder = folder
        self.ran = False
        """whether stages ran or data were pulled since the data were last put right"""
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(settings),
            "DVC_SYSTEM_CONFIG_DIR": str(settings),
            "DVC_SITE_CACHE_DIR": str(settings / "site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{
                f"GIT_{role}_{key}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
            },
        }

    def run(self, *command: str, fails: bool = False, **environment: str) -> str:
        """Output of the command; its exit status must be zero, or not with ``fails``."""
        self.ran |= command[:2] in {("dvc", "repro"), ("dvc", "pull")} and "--dry" not in command
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def would_run(self) -> set[str]:
        """Stages that ``dvc repro --dry`` would run."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", "--dry")))

    def stages(self) -> set[str]:
        """Names of all stages."""
        return set(self.run("dvc", "stage", "list", "--name-only").split())

    def set_param(self, key: str, value: Any) -> None:
        """Set a key of params.yaml, or of another file: ``FILE:KEY``."""
        file, _, key = key.rpartition(":")
        path = self.folder / (file or "params.yaml")
        params = yaml.safe_load(path.read_text())
        node = params
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        assert last in node, f"{key} is not in {path}"
        node[last] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))


def copy_project(folder: Path) -> None:
    """Code, parameters and DVC settings, without data and results."""
    for name in TOP:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for name in (
        ".dvc/config",
        ".dvc/.gitignore",
        "data/.gitignore",
        "data/registry/benchmarks.yaml",
        "data/registry/kinds.xml",
        "data/registry/models.yaml",
        "data/registry/runs.yaml",
        "data/registry/texts.yaml",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def stub_commands(folder: Path) -> None:
    """Let every stage make its outputs by the stub; the graph stays as it is."""
    path = folder / "dvc.yaml"
    pipeline = yaml.safe_load(path.read_text())
    for name, stage in pipeline["stages"].items():
        if name == "code":  # real: what depends on an edit is told by real fingerprints
            continue
        body = stage.get("do", stage)
        made = [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics", "plots")
            for out in body.get(kind, [])
        ]
        body["cmd"] = f"python tests/pipeline/stub.py {' '.join(made)}"
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False))


def reproduce(folder: Path, settings: Path) -> None:
    """The real graph with stub commands, reproduced and committed, in a new ``folder``."""
    folder.mkdir()
    copy_project(folder)
    stub_commands(folder)
    project = Project(folder, settings)
    project.run("git", "init", "-q")
    project.run("dvc", "repro", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "reproduced")


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory) -> Project:
    """This process's copy of a graph that is reproduced once, by the first of the test processes that asks for it."""
    settings, common = tmp_path_factory.mktemp("settings"), tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    original, begun = common / "reproduced", common / "reproduced-begun"
    with (common / "reproduced.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not original.exists():
            shutil.rmtree(begun, ignore_errors=True)
            reproduce(begun, settings)
            begun.rename(original)
    folder = tmp_path_factory.mktemp("graph") / "project"
    shutil.copytree(original, folder)
    return Project(folder, settings)


@pytest.fixture
def graph(reproduced) -> Project:
    """The reproduced graph; what a test changes, and what its runs put into git's index, is undone."""
    yield reproduced
    reproduced.run("git", "reset", "-q", "--hard")
    reproduced.run("git", "clean", "-qfd", "metrics", "plots")
    if reproduced.ran:  # a dry run leaves the data as they are, and looking over them takes DVC seconds
        reproduced.run("dvc", "checkout", "-q")
        reproduced.ran = False
