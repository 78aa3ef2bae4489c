"""The mirror at Weights & Biases as a command sees it: said before work, its files named after."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

_RUNS = "offline-run-*"


def mirror_mode(asked: str | None) -> str:
    """Decides how Weights & Biases runs and says it on standard error.

    Args:
        asked: What ``--wandb`` says; None where it is not given.

    Returns:
        ``offline``, ``online`` or ``disabled``.

    Raises:
        UserError: If the mode is unknown or cannot be had, before any work.
    """
    from pnnbench.report.mirror_mode import decide

    mode = decide(asked)
    if (mode.name, mode.source) != ("disabled", "--wandb"):
        sys.stderr.write(f"{mode}\n")
    return mode.name


def say_upload(mode: str, folders: Sequence[Path]) -> None:
    """Says on standard error how offline runs are uploaded later.

    Args:
        mode: What `mirror_mode` gave.
        folders: Where the runs may be, those of the jobs before that of the board: it is made from
            their artifacts.
    """
    if mode != "offline":
        return
    commands = []
    for folder in folders:
        if folder.parent in folders:  # among those of its parent
            continue
        for depth in (2, 1, 0):
            pattern = "/".join([*depth * ["*"], "wandb", _RUNS])
            if next(folder.glob(pattern), None) is not None:
                commands.append(f"wandb sync {shlex.quote(str(folder))}/{pattern}")
    if commands:
        sys.stderr.write(f"upload later: {' && '.join(commands)}\n")
