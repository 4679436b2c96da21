"""Copies of the project in temporary folders, with DVC cut off from the user's own settings."""

from __future__ import annotations

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


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory) -> Project:
    """The real graph with stub commands, reproduced once."""
    folder = tmp_path_factory.mktemp("graph")
    copy_project(folder)
    stub_commands(folder)
    project = Project(folder, tmp_path_factory.mktemp("settings"))
    project.run("git", "init", "-q")
    project.run("dvc", "repro", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "reproduced")
    return project


@pytest.fixture
def graph(reproduced) -> Project:
    """The reproduced graph; what a test changes in params.yaml is undone."""
    yield reproduced
    reproduced.run("git", "checkout", "-q", "--", "params.yaml", "data/registry", "dvc.yaml", "dvc.lock", "stages")
    reproduced.run("git", "clean", "-qfd", "metrics", "plots")
    reproduced.run("dvc", "checkout", "-q")
