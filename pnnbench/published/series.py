"""Series of a published protocol: recorded values by level, and their rows in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pnnbench.published.report import Row

#: Recorded pairs of level and value by quantity.
Recorded = Mapping[str, Sequence[tuple[float, float]]]


def known_at(known: Recorded, quantity: str, level: float) -> float | None:
    """Returns the recorded value at a level; None if there is none."""
    return dict(known.get(quantity, ())).get(level)


def series_rows(
    checkpoint: str,
    quantity: str,
    label: str,
    values: Mapping[float, float],
    known: Recorded,
    *,
    tolerance: float,
    level_unit: str,
) -> list[Row]:
    """Makes the rows of a series of accuracies.

    Args:
        checkpoint: Name of the checkpoint.
        quantity: Short name of the series.
        label: The same in words.
        values: Level -> accuracy in percent, in the order of the report.
        known: Recorded values; levels without one are not compared.
        tolerance: Allowed difference in percentage points, beside the rounding of what is recorded.
        level_unit: Unit of the levels.

    Returns:
        One row per level.
    """
    return [
        Row(
            checkpoint,
            quantity,
            label,
            value,
            "%",
            known_at(known, quantity, level),
            tolerance,
            level,
            level_unit,
        )
        for level, value in values.items()
    ]
