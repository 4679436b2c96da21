"""The command line of a stage."""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from stages.shared.cells import VARIABLE, Arguments, parse_cell
from stages.shared.files import DiskFullError, full_disk_error, is_full


def run_stage(main: Callable[..., None], description: str, arguments: Arguments | None = None) -> None:
    """Call ``main`` with the arguments of the command line, its parameters in their order; log to standard error.

    A parameter with a default may be left out. ``description`` is the docstring of the stage's module. Without any
    argument, ``arguments`` makes them of the cell that DVC runs. A full disk ends the stage with one line.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, parameter in inspect.signature(main, eval_str=True).parameters.items():
        optional = parameter.default is not inspect.Parameter.empty
        converter = int if parameter.annotation is int else str
        parser.add_argument(
            name, type=converter, nargs="?" if optional else None, default=parameter.default if optional else None
        )
    given = sys.argv[1:]
    if not given and arguments is not None and VARIABLE in os.environ:
        given = arguments(parse_cell(os.environ[VARIABLE]))
    parsed = vars(parser.parse_args(given))
    try:
        main(**parsed)
    except DiskFullError as error:
        raise SystemExit(str(error)) from error
    except OSError as error:
        if not is_full(error):
            raise
        # written without `atomic`: named by the system, or a temporary file
        path = Path(error.filename or Path(tempfile.gettempdir(), "a temporary file"))
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        raise SystemExit(str(full_disk_error(path, shutil.disk_usage(folder).free))) from error
