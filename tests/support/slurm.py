"""A private Slurm: one node of two CPUs on this machine, in a folder of its own, reachable from this machine only.

It runs as the current user from the packages slurm-wlm and munge; nothing of a Slurm that is set up here is touched.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
SECONDS_TO_START, SECONDS_TO_STOP = 30, 30
CONFIGURATION = """\
ClusterName=private
SlurmctldHost={host}({address})
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
KillWait=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
NodeName={host} NodeAddr={address} CPUs=2
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def reason_against() -> str | None:
    """Return why no Slurm can be started here; None if one can."""
    if missing := [program for program in PROGRAMS if not _find(program)]:
        return f"{', '.join(missing)} not found: install the packages slurm-wlm and munge"
    host = _host()
    try:
        address = socket.gethostbyname(host)
    except OSError:
        return f"this machine's name {host} has no address"
    return None if address.startswith("127.") else f"this machine's name {host} leads to {address}, not to loopback"


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """Start it and yield the environment variables that lead to it; at the end cancel its jobs and stop it."""
    # Not pytest's folder: the path of a Unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    daemons: list[subprocess.Popen] = []
    try:
        _configure(folder)
        for command in _daemons(folder):
            with (folder / f"{Path(command[0]).name}.log").open("w") as log:
                daemons.append(
                    subprocess.Popen(
                        command,
                        env=os.environ | environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # Ctrl-C is for the tests, which then stop the daemons in order
                    )
                )
        _until(SECONDS_TO_START, lambda: _ask(environment, "sinfo", "-h", "-o", "%T") == "idle", folder)
        yield environment
    finally:
        if len(daemons) == 3:  # a node's daemon leaves running jobs behind when it stops
            _ask(environment, "scancel", f"--user={os.getuid()}")
            deadline = time.monotonic() + SECONDS_TO_STOP
            while time.monotonic() < deadline and jobs(environment):
                time.sleep(0.2)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def jobs(environment: dict[str, str], *options: str) -> dict[str, str]:
    """Return id, e.g. 7_0 -> state, e.g. RUNNING, of each job that has not ended; ``options`` are squeue's."""
    return dict(line.split() for line in _ask(environment, "squeue", "-h", "-r", "-o", "%i %T", *options).splitlines())


def _configure(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    host = _host()
    controller_port, node_port = _free_ports()
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=host, address=socket.gethostbyname(host), controller_port=controller_port, node_port=node_port,
            user=getpass.getuser(), folder=folder,
        )
    )  # fmt: skip


def _daemons(folder: Path) -> Iterator[list[str]]:
    """Return the commands that stay in the foreground, so that they end with this process's word."""
    paths = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed", "log-file": "munge.log"}
    files = [f"--{option}={folder}/munge.{name}" for option, name in paths.items()]
    yield [_find("munged"), "--foreground", "--force", *files]
    yield [_find("slurmctld"), "-D"]
    yield [_find("slurmd"), "-D"]


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")  # no user's PATH has them


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _ask(environment: dict[str, str], *command: str) -> str:
    """Return what it prints; nothing if it fails, e.g. because Slurm is not up yet."""
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _until(seconds: float, ready, folder: Path) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            logs = "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(folder.glob("*.log")))
            raise TimeoutError(f"Slurm is not up after {seconds} s\n{logs}")
        time.sleep(0.1)
