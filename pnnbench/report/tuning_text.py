"""What searches say of the rows of a board, in words and as a block of a table."""

from __future__ import annotations

from pnnbench.leaderboard.model import Table
from pnnbench.leaderboard.tuning import RowTuning
from pnnbench.report.blocks import Block
from pnnbench.report.formatting import NONE, is_share, number

TITLE = "Test score against trials of the search"
#: Number of trials -> the heading of its column.
COLUMNS = {1: "untuned", 4: "after 4", 16: "after 16"}


def settings_text(row: RowTuning) -> str:
    """The chosen settings, such as ``lr 0.12, rho 0.02``; empty where nothing was chosen."""
    return ", ".join(f"{name} {value:g}" for name, value in row.chosen.items())


def edge_text(row: RowTuning) -> str:
    """Which of them lie on the edge of what was searched; empty where none does."""
    words = {"low": "lower", "high": "upper"}
    return ", ".join(f"{name} at the {words[end]} end" for name, end in row.edge.items())


def state_text(row: RowTuning) -> str:
    """Whether a row is tuned, and what must be known of it."""
    if not row.chosen:
        if row.like is not None:
            return f"as {row.like}, not chosen yet"
        return "not chosen yet" if row.tried else "not tuned"
    if not row.applied:
        return "not run as it was searched, or at other settings than the search chose"
    if row.like is not None:
        return f"as {row.like}" + "".join(f", own {name}" for name in row.own)
    parts = [settings_text(row)]
    if row.rule != "robust score":
        parts.append(f"chosen on its {row.rule}")
    if row.edge:
        parts.append(f"edge: {edge_text(row)}")
    if row.deviates:
        parts.append(
            f"another budget or length than the protocol's: tier {row.tier}, {row.devices} devices"
        )
    return "; ".join(parts)


def figures(row: RowTuning, *, share: bool) -> list[str]:
    """The columns untuned, after 4 and after 16 trials, each with its band where it has one."""
    found = []
    for count in COLUMNS:
        point = row.after(count)
        if point is None:
            found.append(NONE)
            continue
        text = number(point.mean, share=share)
        if point.high > point.low:
            low, high = (number(end, share=share) for end in (point.low, point.high))
            text += f" ({low} to {high})"
        found.append(text)
    return found


def trial_tiers(table: Table) -> list[str]:
    """Tiers of the trials that are not the table's, sorted.

    Args:
        table: The table.
    """
    return sorted({row.tier for row in table.tuning if row.tier} - {table.key["tier"]})


def title(table: Table) -> str:
    """Names the block of a table, with the tier of the trials where it is not the table's.

    Args:
        table: The table.
    """
    others = trial_tiers(table)
    return f"{TITLE}, at the tier {', '.join(others)}" if others else TITLE


def tuning_blocks(table: Table) -> list[Block]:
    """The block of a table, none where no search of its suite is recorded."""
    if not table.tuning:
        return []
    share = is_share(table.key["metric"])
    columns = ["method", *COLUMNS.values(), "tried", "settings"]
    lines = [
        [row.method, *figures(row, share=share), str(row.tried or NONE), state_text(row)]
        for row in table.tuning
    ]
    return [Block(title(table), columns, lines, 0, True)]


NOTE = (
    "expected test score of the setting that validation would choose after so many trials of one "
    "seed, the defaults first, with the 10 and the 90 % quantile over the orders of the trials; "
    "tried: settings that were ever tried for the row"
)
"""What the block says of itself."""
