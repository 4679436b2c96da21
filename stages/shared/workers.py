"""How many workers share the work of a stage: the environment variable JOBS, with joblib's meaning."""

from __future__ import annotations

import os
import re

MOST = 1024


class WorkersError(ValueError):
    """The environment variable JOBS is no number of workers; the message says what was expected."""


def worker_count() -> int:
    """Return the number that JOBS names; unset it is one for each core.

    -1 is all cores, -2 all but one, and so on, at least one. Raises WorkersError on 0 and on what is no whole number.
    """
    cores = os.cpu_count() or 1
    value = os.environ.get("JOBS", "-1")
    if not re.fullmatch(r"-?[0-9]{1,4}", value) or not int(value) or int(value) > MOST:
        raise WorkersError(
            f"the environment variable JOBS is {value!r}: expected the number of workers, from 1 to {MOST}, -1 for all cores, "
            "-2 for all but one; or unset it"
        )
    return int(value) if int(value) > 0 else max(1, cores + 1 + int(value))
