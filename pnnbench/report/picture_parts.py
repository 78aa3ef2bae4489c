"""What the pictures of a run have in common."""

from __future__ import annotations

from typing import Any

from pnnbench.records.index import workload_of
from pnnbench.report import style
from pnnbench.workloads.grid import Cell

Record = dict[str, Any]


def remark(record: Record, *more: str) -> str:
    """The line below a title: what the run is, and facts of the picture.

    Args:
        record: The record of the run.
        more: Further facts.

    Returns:
        Facts joined as `style.heading` wants them.
    """
    job = record["job"]
    words = [workload_of(job), job["method"]["label"], f"seed {job['seed']}"]
    return " · ".join([*map(style.plain, words), *more])


def level_text(cell: Cell) -> str:
    """The level of a cell with its unit: ``"−0.25 °C"``, ``"0 °C"``."""
    sign = cell.environment != type(cell.environment)()
    text = f"{style.number_text(cell.level, sign=sign)} {style.unit_text(cell.unit)}".rstrip()
    return text.replace(" °", "°") if text.endswith(" °") else text


def device_text(cell: Cell) -> str:
    """The device of a cell: ``"device 1000000 at severity 0.5"``."""
    if cell.device_seed is None:
        return "ideal device"
    return f"device {cell.device_seed} at severity {cell.severity:g}"


def place_texts(cell: Cell) -> list[str]:
    """Where a cell stands: its environment where something is off, and its device."""
    if cell.environment == type(cell.environment)():
        return [device_text(cell)]
    axis = cell.axis.replace("_", " ").replace("-", " ").split(" ")[0]
    return [f"{axis} {level_text(cell)}", device_text(cell)]
