"""Runs the main function of a script as the command line runs its commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pnnbench.errors import UserError


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Runs a script to its end; a mistake of the user's reads, without a traceback.

    Args:
        main: The script; returns its exit status, None for 0.

    Raises:
        SystemExit: Always: with the script's status, 2 after a UserError, 130 after an interrupt.
    """
    name = Path(sys.argv[0]).name
    try:
        status = main() or 0
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        status = 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)  # noqa: T201
        status = 130
    sys.exit(status)
