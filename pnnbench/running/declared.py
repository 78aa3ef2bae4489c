"""Whether records can hold what a workload declares of itself, and what it shows beside its metric.

What can be told before a job is trained is refused then, not when all of it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pnnbench.errors import UserError, kind_word, own_code
from pnnbench.evaluation.gaps import check_finite
from pnnbench.records.bounds import check_column
from pnnbench.records.cell_checks import cells as check_cells
from pnnbench.records.cell_checks import places_of
from pnnbench.records.checks import LARGEST, is_figure, plain
from pnnbench.records.schema import METRIC
from pnnbench.running.training import generator_state, restore_generators
from pnnbench.workloads.base import Workload

#: Names among the further figures of a record that have a meaning of their own.
TAKEN = ("method", "control_power_mw")


def metric_entry(workload: Workload) -> dict[str, Any]:
    """What records of every kind say of the metric: name, direction and chance level, if any."""
    return {
        "name": workload.metric_name,
        "higher_is_better": workload.higher_is_better,
        **({} if workload.chance is None else {"chance": workload.chance}),
    }


def require_declared(workload: Workload, tier: str) -> None:
    """Refuses a metric or a grid that no record can hold, before anything is trained.

    The global generators are afterwards where they were.

    Args:
        workload: The workload.
        tier: Name of the tier.

    Raises:
        UserError: If name, direction or chance level of the metric cannot be had or are not what
            they may be, or if the grid cannot be had, a cell of it is not as cells are, or one
            comes twice.
    """
    name = type(workload).__name__
    mend = f"mend {type(workload).__module__}.{name}"
    generators = generator_state()
    try:
        with own_code(f"what {name} says of its metric cannot be had", mend):
            metric = metric_entry(workload)
        with own_code(f"the grid of {name} cannot be had", mend):
            grid = [{**cell.as_dict(), "value": None} for cell in workload.cells(tier)]
    finally:
        restore_generators(generators)
    try:
        metric = plain(metric, "metric")
        METRIC("metric", metric)
        check_column(metric["name"], "metric.chance", [metric.get("chance")])
        grid = plain(grid, "cells")
        check_cells("cells", grid)
        places_of("cells", grid)
    except UserError as error:
        raise UserError(
            f"{name}: {error.what.removeprefix('record: ')}",
            allowed=error.allowed,
            next_step=mend,
        ) from None


def check_storable(figures: Mapping[str, float]) -> None:
    """Refuses numbers that no record can hold.

    Args:
        figures: Name to number.

    Raises:
        NotFiniteError: Naming the first that is not finite.
        UserError: Naming the first that is too large.
    """
    check_finite(figures)
    for name, value in figures.items():
        if not is_figure(value):
            raise UserError(f"{name} is {value:g}, and a figure is at most {LARGEST:g}")


def own_figures(told: Mapping[str, Any]) -> dict[str, float]:
    """What a workload shows beside its metric, as a record holds it.

    Args:
        told: What its ``figures`` gives. Arrays and tensors of one number without dimensions are
            numbers.

    Returns:
        Name to number.

    Raises:
        UserError: If a name is no text or is taken, or as `check_storable`.
    """
    if not isinstance(told, Mapping):
        raise UserError(f"figures() gives {kind_word(told)}, not numbers by name")
    found: dict[str, float] = {}
    for name, value in told.items():
        if not isinstance(name, str):
            raise UserError(f"figures() names one of its figures {name!r}, which is no text")
        if name in TAKEN:
            raise UserError(f"figures() names one of its figures {name!r}, which means another")
        number = value.item() if getattr(value, "ndim", None) == 0 else value
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise UserError(f"{name} of figures() is {kind_word(number)}, not a number")
        found[name] = int(number) if isinstance(number, int) else float(number)
    check_storable(found)
    return found
