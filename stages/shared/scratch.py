"""Keys of scratch folders: results that are kept between runs under all that they depend on.

A run that was killed, or that changes one of many parts, computes only what is missing. Nothing stale is ever taken: a
key holds the content of the inputs, the parameters, the device, the versions of the libraries, and the code.
`rm -r .dvc/tmp` frees the space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from stages.shared.code_identity import identity

LIBRARIES = (
    "torch", "transformers", "tokenizers", "safetensors", "bitsandbytes", "gguf", "numpy", "scipy", "scikit-learn", "h5py",
    "pandas", "infini-gram",
)  # fmt: skip


def scratch_key(content: Mapping[str, object], *modules: str) -> str:
    """Return 24 hexadecimal digits that change with ``content`` (JSON), the libraries and the code of ``modules``.

    ``modules`` are dotted names; all that they import counts, without comments and docstrings.
    """
    everything = {"content": content, "libraries": library_versions(), "code": identity(*modules)}
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:24]


def library_versions(libraries: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return the version of each of ``libraries``; an optional one may be absent."""
    return {library: _version(library) for library in libraries}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"
