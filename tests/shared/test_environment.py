"""What importing the package fixes for every process."""

import platform
import subprocess
import sys

import pytest

import stages
from tests.support.project import ROOT

CODE = """
import stages, ctypes, resource
stages.pin()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def faults(size=2**27):  # 128 MiB, 32,768 pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    memory = libc.malloc(size)
    libc.memset(memory, 1, size)
    libc.free(memory)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_stays_with_the_process():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000
    given_back = CODE.replace("stages.pin()\n", "")
    done = run(given_back)
    assert int(done.stdout) > 1000  # else the setting would do nothing


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    """The variables are not inherited."""
    return subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True
    )


def test_pinning_after_numpy_is_an_error():
    assert "import stages before numpy" in run("import numpy, stages; stages.pin()").stderr


def test_importing_the_package_leaves_a_notebook_as_it_was():
    code = "import numpy, os; before = dict(os.environ); import stages.activations.store; print(before == dict(os.environ))"
    assert run(code).stdout.strip() == "True"


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        (["-m", "stages.code"], "1"),
        (["-u", "-OO", "-m", "stages.code"], "1"),
        (["-um", "stages.code"], "1"),
        (["-m", "pytest", "stages.code"], "None"),
        (["notebook.py", "stages.code"], "None"),
    ],
)
def test_running_a_stage_pins_and_nothing_else_does(arguments, threads):
    code = f"import sys; sys.orig_argv[1:] = {arguments}; import os, stages; print(os.environ.get('OMP_NUM_THREADS'))"
    assert run(code).stdout.strip() == threads


def test_what_a_stage_starts_is_pinned():
    assert run("import numpy, stages; print(stages._pinned())", **stages.PINNED).stdout.strip() == "True"


@pytest.mark.parametrize("options", [["-OO"], ["-O", "-O"]])
def test_a_stage_without_docstrings_is_refused_in_one_line(options):
    done = subprocess.run(
        [sys.executable, *options, "-m", "stages.code"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [done.stderr.strip()] and "run python -O at most" in done.stderr
