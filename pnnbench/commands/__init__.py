"""The subcommands. Each imports what it needs when it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

#: Subcommand -> module of this package and function that runs it.
_FUNCTIONS = {
    "run": "training:run",
    "train": "training:train",
    "tune": "tuning:tune",
    "evaluate": "measuring:evaluate",
    "sharpness": "measuring:sharpness",
    "plot": "measuring:plot",
    "leaderboard": "boards:leaderboard",
    "claims": "claims:claims",
    "reproduce": "checking:reproduce",
    "list": "listing:list_all",
    "check": "checking:check",
    "new-method": "submitting:new_method",
    "submit": "submitting:submit",
    "verify": "verifying:verify",
    "retrain": "submitting:retrain",
    "new-key": "verifying:new_key",
    "doctor": "doctoring:doctor",
    "data": "checking:data",
    "completion": "completion:completion",
}


def find(command: str) -> Callable[[Any], int]:
    """Imports the function behind a subcommand.

    Args:
        command: Name of a subcommand.

    Returns:
        Its function: parsed options -> exit status.
    """
    module, _, name = _FUNCTIONS[command].partition(":")
    found: Callable[[Any], int] = getattr(
        importlib.import_module(f"pnnbench.commands.{module}"), name
    )
    return found
