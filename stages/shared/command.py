"""The command line of a stage."""

from __future__ import annotations

import argparse
import inspect
import logging
from collections.abc import Callable


def run_stage(main: Callable[..., None], description: str) -> None:
    """Call ``main`` with the arguments of the command line, its parameters in their order; log to standard error.

    A parameter with a default may be left out. ``description`` is the docstring of the stage's module.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, parameter in inspect.signature(main, eval_str=True).parameters.items():
        optional = parameter.default is not inspect.Parameter.empty
        converter = int if parameter.annotation is int else str
        parser.add_argument(
            name, type=converter, nargs="?" if optional else None, default=parameter.default if optional else None
        )
    main(**vars(parser.parse_args()))
