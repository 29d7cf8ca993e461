"""From the command line to an entry point's `run`, and from its errors to one plain sentence."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

from nic.errors import NicError

C = TypeVar("C")


def launch(run: Callable[[C], Any], config_type: type[C]) -> None:
    """Read the config from the command line and run; what nic refuses ends in a sentence and exit code 1."""
    # MLflow hands every parameter over as `--name value`, booleans too.
    config = tyro.cli(config_type, config=(tyro.conf.FlagConversionOff,), description=run.__doc__)
    try:
        run(config)
    except NicError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
