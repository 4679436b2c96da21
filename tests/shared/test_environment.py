"""What importing the package fixes for every process."""

import platform
import subprocess
import sys

import pytest

from tests.support.project import ROOT

CODE = """
import stages, ctypes, resource
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
    given_back = CODE.replace("import stages, ", "import ")
    done = subprocess.run([sys.executable, "-c", given_back], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 1000  # else the setting would do nothing


def test_numpy_before_the_package_is_an_error():
    code = "import numpy, stages"
    environment = {"PYTHONPATH": str(ROOT)}  # the variables are not inherited
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "import stages before numpy" in done.stderr
