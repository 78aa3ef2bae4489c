"""Which job of a row is its best: the one whose parameters are published for people to load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pnnbench.leaderboard.deployments import headline_of
from pnnbench.leaderboard.grid import Record, read_grid
from pnnbench.records.index import board_of

#: How the best job of a row is found; stands in the index of published parameters.
RULE = (
    "of a row's finished jobs the one with the best robust score, the mean over its test devices "
    "under the headline deployment; where no score is defined, with the best clean metric; of "
    "equal ones the smaller seed. It is chosen by test results: it shows what the row can reach, "
    "and the figure of the row is the mean over its seeds."
)


@dataclass(frozen=True)
class Best:
    """The best job of a row.

    Attributes:
        record: Its record.
        score: Its robust score, in the unit of the metric; None where none is defined.
    """

    record: Record
    score: float | None


def robust_score(record: Record) -> float | None:
    """The robust score of one job: the mean over its devices, under the headline deployment.

    Args:
        record: A finished record.

    Returns:
        The score in the unit of the metric; None where nothing counts or a condition that counts
        is undefined.
    """
    scores = read_grid(record, headline_of(record)).scores
    return None if scores is None else float(scores.mean())


def best_jobs(records: Sequence[Record]) -> list[Best]:
    """The best job of each row, see `RULE`.

    Args:
        records: Records of a board; those that did not finish are left out.

    Returns:
        One for each suite, protocol, workload, tier and label, in their order.
    """
    rows: dict[tuple[str, ...], list[Best]] = {}
    for record in records:
        if record["status"] == "ok":
            label = record["job"]["method"]["label"]
            found = Best(record, robust_score(record))
            rows.setdefault((*board_of(record), label), []).append(found)
    return [min(jobs, key=_order) for _, jobs in sorted(rows.items())]


def _order(job: Best) -> tuple[bool, float, int, str]:
    """Sort key, the best first; what has no value comes last."""
    value = job.record["clean"] if job.score is None else job.score
    sign = -1.0 if job.record["metric"]["higher_is_better"] else 1.0
    placed = math.inf if value is None else sign * value
    spec = job.record["job"]
    return (job.score is None, placed, spec["seed"], spec["hash"])
