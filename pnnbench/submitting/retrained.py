"""What training a seed of a submission again gave, compared with what was handed in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from pnnbench import __version__
from pnnbench.records.verifications import FORMAT
from pnnbench.running.provenance import versions
from pnnbench.submitting.bundle import MANIFEST
from pnnbench.submitting.claimed import Claimed

#: What training again came to, see `Retrained`.
How = Literal[
    "same bits",
    "same bits, other figures",
    "within the spread of seeds",
    "outside the spread of seeds",
    "no spread",
    "failed",
]
#: Share of the retrained scores that lie in the interval where the row is what it says.
CONFIDENCE = 0.95
#: Largest relative difference of two robust scores of the same tensors: what rounding may do to
#: one. `pnnbench verify` compares every cell, and more closely.
FIGURES = 0.002
#: What decides the last bits of a training, in a record's provenance.
_KIND = ("machine", "arithmetic", "threads", "versions")


@dataclass(frozen=True)
class Retrained:
    """What training again gave.

    Attributes:
        submission: What was handed in.
        seed: The seed.
        how: ``"same bits"``, ``"same bits, other figures"`` where the record has another score than
            these tensors, ``"within the spread of seeds"``, ``"outside the spread of seeds"``,
            ``"no spread"`` where other bits have nothing to be compared with, or ``"failed"``.
        folder: Folder of the run.
        same_tensors: How many tensors have the same bits.
        tensors: How many there are.
        largest: Largest difference of an entry, in its own unit; infinite where shapes differ.
        claimed: Robust score of the submission's record, in the unit of the metric.
        score: Robust score now.
        interval: Where that of one more seed of the row lies with `CONFIDENCE`; None for one seed.
        seeds: Finished seeds of the row.
        other_machine: What is not the same here as in the submission's record; empty on a machine
            of one kind.
    """

    submission: Claimed
    seed: int
    how: How
    folder: Path
    same_tensors: int
    tensors: int
    largest: float
    claimed: float | None
    score: float | None
    interval: tuple[float, float] | None
    seeds: int
    other_machine: tuple[str, ...]

    @property
    def badge(self) -> str | None:
        """``"retrained"`` if it came out again; else None."""
        fine = self.how in ("same bits", "within the spread of seeds")
        return "retrained" if fine else None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "badge": self.badge,
            "seed": self.seed,
            "how": self.how,
            "tensors": {
                "same": self.same_tensors,
                "of": self.tensors,
                "largest_difference": self.largest if math.isfinite(self.largest) else None,
            },
            "robust_score": {
                "claimed": self.claimed,
                "retrained": self.score,
                "interval": None if self.interval is None else list(self.interval),
                "confidence": CONFIDENCE,
                "seeds": self.seeds,
            },
            "machine": {
                "same_kind": not self.other_machine,
                "differs_in": list(self.other_machine),
            },
            "run": str(self.folder),
        }

    def verification(self) -> dict[str, Any]:
        """What a board takes the badge from; see `pnnbench.records.verifications`."""
        said, records = self.submission.submission, self.submission.records
        seeds = [
            {"seed": seed, "record": record["checksum"]}
            for seed, record in records.items()
            if record["status"] == "ok"
        ]
        return {
            "format": FORMAT,
            "pnnbench": __version__,
            "submission": self.submission.bundle.sha256(MANIFEST),
            "suite": said.suite,
            "protocol": said.protocol,
            "workload": said.workload,
            "tier": said.tier,
            "row": said.row.label,
            "seeds": seeds,
            "confirmed": self.badge is not None,
            "badges": ["claimed", *([self.badge] if self.badge else [])],
            "claimed": [],
            "versions": versions(),
            "retrained": self.as_dict(),
        }


def verdict(
    same_bits: bool,
    score: float | None,
    claimed: float | None,
    interval: tuple[float, float] | None,
) -> How:
    """Says what a comparison came to; see `Retrained.how`.

    Args:
        same_bits: Whether all tensors have the same bits.
        score: Robust score of the retrained seed.
        claimed: That of the submission's record of this seed.
        interval: Where it lies with `CONFIDENCE` if the row is what it says.
    """
    if same_bits:
        return "same bits" if _alike(score, claimed) else "same bits, other figures"
    if score is None or interval is None:
        return "no spread"
    inside = interval[0] <= score <= interval[1]
    return "within the spread of seeds" if inside else "outside the spread of seeds"


def _alike(score: float | None, claimed: float | None) -> bool:
    """Whether two scores of the same tensors are one, but for what rounding may flip."""
    if score is None or claimed is None:
        return score is claimed
    return math.isclose(score, claimed, rel_tol=FIGURES)


def prediction_interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """Where the score of one more seed lies with `CONFIDENCE`, if scores are normal.

    Args:
        scores: Scores of the seeds that there are.

    Returns:
        mean ± t sqrt(1 + 1/n) s; None for fewer than two.
    """
    n = len(scores)
    if n < 2:
        return None
    mean, spread = float(np.mean(scores)), float(np.std(scores, ddof=1))
    half = float(student.ppf(0.5 + CONFIDENCE / 2, n - 1)) * math.sqrt(1 + 1 / n) * spread
    return mean - half, mean + half


def compare(claimed: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[int, int, float]:
    """Compares tensors by name.

    Args:
        claimed: One side.
        found: The other.

    Returns:
        How many have the same bits, how many there are on either side, and the largest difference
        of an entry, infinite where a name, a shape or a type is on one side only.
    """
    same, largest = 0, 0.0
    names = claimed.keys() | found.keys()
    for name in names:
        one, other = claimed.get(name), found.get(name)
        if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
            largest = math.inf
        elif torch.equal(one, other):
            same += 1
        else:
            apart = float((one.double() - other.double()).abs().max())
            largest = max(largest, apart if math.isfinite(apart) else math.inf)
    return same, len(names), largest


def other_machine(record: Mapping[str, Any], again: Mapping[str, Any]) -> tuple[str, ...]:
    """What decides the last bits and is not the same in two records."""
    found = []
    for part in _KIND:
        one, other = (r["provenance"].get(part) for r in (record, again))
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            # How grids were computed is no part of the training.
            names = sorted((one.keys() | other.keys()) - {"evaluation", "cores", "wandb", "scipy"})
            found += [f"{part}.{name}" for name in names if one.get(name) != other.get(name)]
        elif one != other:
            found.append(part)
    return tuple(found)
