"""Names that are commands or paths: DVC makes stages, paths and commands of params.yaml before any code here runs."""

from __future__ import annotations

import pytest

from tests.pipeline.conftest import Project, copy_project

COMMANDS = ["0; touch PWNED #", "$(touch PWNED)", "`touch PWNED`", "'; touch PWNED; '", '"; touch PWNED; "',
            "0\ntouch PWNED", "-c import os; os.mkdir('PWNED')"]  # fmt: skip
PATHS = ["../../victim", "/../../victim", "../../../victim", "../registry", "../../stages", "..", "x/../../../victim"]
# Where each of the four enters, the stage that it enters by, and whether that stage's outputs persist.
ENTRIES = {
    "study.models": ("fetch", True),
    "study.benchmarks": ("prepare-benchmark", True),
    "trace.text": ("trace-prepare", True),
    "study.seeds": ("measure", False),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, with folders inside and outside that are none of its outputs."""
    root = tmp_path_factory.mktemp("hostile")
    folder = root / "project"
    folder.mkdir()
    copy_project(folder)
    project = Project(folder, root / "settings")
    project.run("git", "init", "-q")
    project.run("dvc", "repro", "-q", "code")
    return project


@pytest.fixture
def victims(project):
    """Files that nothing may remove."""
    paths = [project.folder / "victim", project.folder.parent / "victim"]
    paths = [path.with_suffix(suffix) / "content" for path in paths for suffix in ("", ".json", ".jsonl")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("dear")
    return [*paths, project.folder / "data/registry/models.yaml", project.folder / "stages/code.py"]


@pytest.fixture(autouse=True)
def sound_again(project):
    params = (project.folder / "params.yaml").read_bytes()
    yield
    (project.folder / "params.yaml").write_bytes(params)
    if not (project.folder / "data/code").is_dir():  # DVC removed it before the first stage ran, and failed
        project.run("dvc", "checkout", "-q", "data/code")


def set_names(project, key: str, names: list[str]) -> None:
    if key == "trace.text":
        (value,) = names
    else:
        value = dict.fromkeys(names, names[0]) if key == "study.models" else names
    project.set_param(key, value)


def ran(project) -> bool:
    return bool(list(project.folder.rglob("PWNED*")) or list(project.folder.parent.glob("PWNED*")))


@pytest.mark.parametrize("key", ENTRIES)
@pytest.mark.parametrize("attack", [COMMANDS[0], PATHS[0], PATHS[2]])
def test_the_whole_pipeline_stops_before_anything_is_run_or_removed(project, victims, key, attack):
    set_names(project, key, [attack])
    output = project.run("dvc", "repro", fails=True)
    assert f"params.yaml: {key}" in output and f"{attack!r} is no name" in output or "is specified in" in output
    assert not ran(project) and all(path.is_file() for path in victims)


@pytest.mark.parametrize("key", ENTRIES)
def test_a_single_stage_runs_nothing_of_a_name(project, victims, key):
    """Forced, so that DVC does not miss the inputs of such a cell before it runs the command."""
    stage, persists = ENTRIES[key]
    attacks = COMMANDS[:: 2 if key == "study.models" else 1] + (PATHS if persists else [])
    for names in [[attack] for attack in attacks] if key == "trace.text" else [attacks]:
        set_names(project, key, names)
        output = project.run("dvc", "repro", "--single-item", "--force", "--keep-going", stage, fails=True)
        assert "Running stage" in output
        assert not ran(project), output
        assert all(path.is_file() for path in victims), output
