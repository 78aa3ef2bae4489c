"""What the pictures of a run have in common."""

from __future__ import annotations

from typing import Any

from pnnbench.records.index import workload_of
from pnnbench.report import style

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
