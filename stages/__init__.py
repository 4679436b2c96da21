"""Stages of the pipeline. Importing this package fixes what the bytes of every output depend on.

One thread and one instruction set (AVX2) for every numerical library: a float32 matrix product
differs in its last bits between one thread and two, and between AVX2 and AVX-512. The settings
are read when the libraries load, so they are set here, before anything numerical is imported.

And memory that is freed stays with the process: by default glibc gives large arrays back and asks for them
again, and up to a quarter of a forward pass on a CPU goes into the kernel's clearing of pages.
"""

import ctypes
import os
import sys

_FIXED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "TOKENIZERS_PARALLELISM": "false",
}

_loaded = sorted({"numpy", "torch"} & set(sys.modules))
if _loaded and any(os.environ.get(name) != value for name, value in _FIXED.items()):
    raise ImportError(
        f"import stages before {' and '.join(_loaded)}: the thread count and instruction set are fixed on import"
    )

os.environ.update(_FIXED)

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
try:
    _malloc_option = ctypes.CDLL("libc.so.6").mallopt
except (OSError, AttributeError):  # another C library than glibc
    pass
else:
    _malloc_option(_MMAP_THRESHOLD, 2**30)
    _malloc_option(_TRIM_THRESHOLD, 2**31 - 1)
