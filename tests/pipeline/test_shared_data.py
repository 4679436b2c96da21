"""What is shared through a remote comes back whole or not at all, wherever under data/ it was added."""

from __future__ import annotations

import shutil

import pytest

from tests.pipeline.conftest import Project
from tests.support.project import ROOT

SHIPPED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "data/.gitignore")


@pytest.fixture
def bare(tmp_path):
    """A repository with the shipped settings of git and DVC, and nothing else."""
    folder = tmp_path / "project"
    for name in SHIPPED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    project = Project(folder, tmp_path / "settings")
    project.run("git", "init", "-q")
    return project


def add(project, path: str) -> None:
    """Make a folder of data and track it."""
    (project.folder / path).mkdir(parents=True)
    (project.folder / path / "content").write_text(f"{path}, of some length\n" * 100)
    project.run("dvc", "add", "-q", path)


def objects(folder) -> list:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".dir" and "files" in path.parts]


def test_data_added_in_a_folder_of_outputs_are_pushed_and_pulled(bare):
    kinds = [line[1:-3] for line in (ROOT / "data/.gitignore").read_text().splitlines() if line.endswith("/?*")]
    paths = [f"data/{kind}/mine" for kind in [*kinds, "elsewhere"]]
    assert len(paths) > 9
    for path in paths:
        add(bare, path)
    bare.run("dvc", "push", "-q")
    assert len(objects(bare.folder / ".storage")) == len(paths)
    tracked = bare.run("git", "ls-files", "data").split()
    assert set(tracked) >= {f"{path}.dvc" for path in paths}
    assert not [
        name for name in bare.run("git", "ls-files", "--others", "--exclude-standard").split() if "/mine/" in name
    ]
    shutil.rmtree(bare.folder / ".dvc/cache")
    for path in paths:
        shutil.rmtree(bare.folder / path)
    bare.run("dvc", "pull", "-q")
    assert all((bare.folder / path / "content").is_file() for path in paths)


def test_data_deep_in_a_folder_of_outputs_are_refused(bare):
    deep = bare.folder / "data/models/theirs/inner"
    deep.mkdir(parents=True)
    (deep / "content").write_text("x")
    assert "git-ignored" in bare.run("dvc", "add", "data/models/theirs/inner", fails=True)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_object_of_the_remote_is_refused(bare, damage):
    add(bare, "data/models/mine")
    bare.run("dvc", "push", "-q")
    shutil.rmtree(bare.folder / ".dvc/cache")
    shutil.rmtree(bare.folder / "data/models/mine")
    (stored,) = objects(bare.folder / ".storage")
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.chmod(0o644)
    stored.write_bytes({"flipped": content, "cut": content[:-1], "empty": b""}[damage])
    assert "failed" in bare.run("dvc", "pull", fails=True).lower()
    assert not (bare.folder / "data/models/mine/content").exists()
    assert not objects(bare.folder / ".dvc/cache")
