"""Stages of the pipeline, and the settings that the bytes of their outputs depend on.

Running a stage (``python -m stages.STUDY.VERB``) fixes one thread and one instruction set (AVX2) for every numerical
library: a float32 matrix product differs in its last bits between one thread and two, and between AVX2 and AVX-512.
The libraries read these settings when they load, so `pin` runs here, before anything numerical is imported. Importing
the package from a notebook or a script of one's own changes nothing there.
"""

import ctypes
import os
import sys

PINNED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "TOKENIZERS_PARALLELISM": "false",
}
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h


def pin() -> None:
    """Fix the thread count and the instruction set of this process and of those that it starts.

    Raises ImportError where a numerical library is loaded already: it would not see the settings.
    """
    loaded = sorted({"numpy", "torch"} & set(sys.modules))
    if loaded and not _pinned():
        raise ImportError(
            f"import stages before {' and '.join(loaded)}: the thread count and instruction set are fixed when they load"
        )
    os.environ.update(PINNED)
    _keep_freed_memory()


def _pinned() -> bool:
    return all(os.environ.get(name) == value for name, value in PINNED.items())


def _keep_freed_memory() -> None:
    """Leave freed memory with the process.

    By default glibc gives large arrays back and asks for them again, and up to a quarter of a forward pass on a CPU
    goes into the kernel's clearing of pages.
    """
    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return
    set_option(MMAP_THRESHOLD, 2**30)
    set_option(TRIM_THRESHOLD, 2**31 - 1)


def _runs_a_stage() -> bool:
    """Return whether Python was started as ``python [OPTIONS] -m stages.…``."""
    arguments = sys.orig_argv[1:]
    modules = [
        name
        for option, name in zip(arguments, arguments[1:], strict=False)
        if option.startswith("-") and option.endswith("m")
    ]
    return any(module.startswith("stages.") for module in modules)


if sys.flags.optimize > 1 and _runs_a_stage():
    sys.exit("python -OO takes the docstrings away, which transformers reads: run python -O at most (PYTHONOPTIMIZE=1)")
# The processes that a stage starts inherit its environment.
if _runs_a_stage() or _pinned():
    pin()
