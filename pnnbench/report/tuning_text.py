"""What a search says of a row, in words."""

from __future__ import annotations

from pnnbench.leaderboard.tuning import RowTuning


def settings_text(row: RowTuning) -> str:
    """The chosen settings, such as ``lr 0.12, rho 0.02``; empty where nothing was chosen."""
    return ", ".join(f"{name} {value:g}" for name, value in (row.chosen or {}).items())


def edge_text(row: RowTuning) -> str:
    """Which of them lie on the edge of what was searched; empty where none does."""
    words = {"low": "lower", "high": "upper"}
    return ", ".join(f"{name} at the {words[end]} end" for name, end in (row.edge or {}).items())
