"""What a leaderboard is made of: rows, cell groups, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pnnbench.leaderboard import statistics as st
from pnnbench.leaderboard.beside import Beside
from pnnbench.leaderboard.choice import Chosen, Current
from pnnbench.leaderboard.comparisons import Superiority
from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.earlier import Stage, order_changes
from pnnbench.leaderboard.grid import Grid
from pnnbench.leaderboard.resolution import Resolution
from pnnbench.leaderboard.tuning import RowTuning
from pnnbench.records.figure_names import parsed
from pnnbench.records.index import Claim

PUBLISHED = "published"
"""Protocol of the authors' own procedure, which is shown and never ranked."""
EXTRAS = ("light_on_detectors", "accuracy_without_absorbers", "control_power_mw")
"""Figures of a record under ``extra`` that boards show: share of an image's power that all
detectors together get, accuracy of the same masks without absorbers, power of all controls in
mW."""


@dataclass(frozen=True)
class Row:
    """One method of one table.

    Attributes:
        key: Suite, protocol, workload, tier, data (name and fingerprint), deployment of the table.
        method: Label of the method.
        name: Registered name of the method.
        params: Hyper-parameters.
        epochs_factor: Training epochs in multiples of the protocol's.
        metric: Name, direction and chance level of the metric.
        seeds: Seeds with a finished job, sorted.
        devices: Test devices.
        knows: What the method knows of the tests, see `knowledge.KNOWLEDGE`; None if no record of
            the row says.
        clean: On the ideal device, over seeds.
        robust: Robust score, over seeds and devices.
        worst_decile: Mean of the worst tenth of the devices, see `score.worst_mean`, over seeds.
        lambda_max: Largest Hessian eigenvalue where the controls are used, geometric mean over the
            seeds at which something was learnt.
        eigenvalues: Seed to its largest eigenvalue, of the seeds that enter the correlations; see
            `sharpness.incomparable`.
        marks: Seed -> why its sharpness is held against no other one, of the other seeds that have
            one.
        auc: Area under the degradation curve, per axis.
        training_device: On the training device of each seed, over the seeds that measured it.
        fresh_devices: On the test devices of the same severity, same seeds, over both.
        transfer: Paired difference of ``fresh_devices`` to ``training_device``.
        time_ratio: Training seconds over those of the reference, paired by seed, geometric mean.
        reference: Label of the row that training times are relative to; None in a table without
            training devices and hardware queries.
        cost: Means over seeds.
        also: Figures beside the metric, by name; no order follows from them.
        extra: Further figures, see `EXTRAS`, over seeds; from the second revision on.
        calibration: ``images`` and ``queries`` that the deployment takes on each device, means over
            seeds; empty for the network as trained.
        earlier: The row after shares of its steps, and at their end, on a small part of the cells.
        failed: Failed jobs: seed, status, message. Those that ran to a failure of their own count
            as guessing in the scores.
        missing: Seeds that the suite asks for and this row has no finished job of.
        without_value: Cells that count and have no value, over all seeds; they count as guessing.
        undefined: Seeds whose score is undefined: a condition that counts has no value, and the
            metric has no chance level to count instead.
        rank_low: Best place that the row can have: 1 + number of complete rows that are told to be
            better; None if not ranked or incomplete. The ranges of all rows hold together at 95 %.
            A table of the published protocol has neither ranks nor robust scores.
        rank_high: Worst place: number of complete rows less those told to be worse.
        tied_with: Labels of the complete rows that cannot be told from this one.
        baseline: Label of the baseline, if the table has one.
        difference: Paired difference of the robust score to the baseline, the plain interval.
        simultaneous: The same difference; its interval holds for all complete rows at once.
        superiority: How often the row beats the baseline; None for the baseline itself.
        scores: Robust score per seed and device, for paired comparisons.
        badges: What verifications found of all of its records, see `badges`; empty without any.
    """

    key: dict[str, str]
    method: str
    name: str
    params: dict[str, Any]
    epochs_factor: float
    metric: dict[str, Any]
    seeds: tuple[int, ...]
    devices: tuple[int | None, ...] = ()
    clean: st.Interval = st.NOTHING
    robust: st.Interval = st.NOTHING
    worst_decile: st.Interval = st.NOTHING
    lambda_max: st.Interval = st.NOTHING
    eigenvalues: dict[int, float] = field(default_factory=dict)
    marks: dict[int, str] = field(default_factory=dict)
    auc: dict[str, st.Interval] = field(default_factory=dict)
    training_device: st.Interval = st.NOTHING
    fresh_devices: st.Interval = st.NOTHING
    transfer: st.Interval = st.NOTHING
    time_ratio: st.Interval = st.NOTHING
    reference: str | None = None
    knows: tuple[str, ...] | None = None
    cost: dict[str, float | int | None] = field(default_factory=dict)
    also: dict[str, Beside] = field(default_factory=dict)
    extra: dict[str, st.Interval] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    earlier: tuple[Stage, ...] = ()
    failed: tuple[dict[str, Any], ...] = ()
    missing: tuple[int, ...] = ()
    without_value: int = 0
    undefined: tuple[int, ...] = ()
    rank_low: int | None = None
    rank_high: int | None = None
    tied_with: tuple[str, ...] = ()
    baseline: str | None = None
    difference: st.Interval = st.NOTHING
    simultaneous: st.Interval = st.NOTHING
    superiority: Superiority | None = None
    scores: st.Scores | None = None
    badges: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every seed has a finished job with a score."""
        return bool(self.seeds) and not (self.missing or self.failed or self.undefined)

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as plain JSON types, in the published layout.

        The figures of the training device and the relative time are there only where the row's
        table has them.
        """
        real = [device for device in self.devices if device is not None]
        difference = None
        if self.baseline is not None and self.baseline != self.method:
            difference = {
                "baseline": self.baseline,
                **self.difference.as_dict(),
                "simultaneous": {"low": self.simultaneous.low, "high": self.simultaneous.high},
                "superiority": None if self.superiority is None else self.superiority.as_dict(),
            }
        more: dict[str, Any] = {}
        if self.reference is not None:
            more = {
                "training_device": self.training_device.as_dict(),
                "fresh_devices": self.fresh_devices.as_dict(),
                "transfer": self.transfer.as_dict(),
                "time_ratio": {"reference": self.reference, **self.time_ratio.as_dict()},
            }
        if self.calibration:
            more["calibration"] = self.calibration
        if self.also:
            more["also"] = {name: figure.as_dict() for name, figure in self.also.items()}
        if self.extra:
            more["extra"] = {name: interval.as_dict() for name, interval in self.extra.items()}
        if self.badges:
            more["badges"] = list(self.badges)
        if self.earlier:
            more["earlier"] = [stage.as_dict() for stage in self.earlier]
        if self.marks:
            more["sharpness_marks"] = {
                why: [seed for seed, other in self.marks.items() if other == why]
                for why in sorted(set(self.marks.values()))
            }
        return {
            "suite": self.key["suite"],
            "protocol": self.key["protocol"],
            "workload": self.key["workload"],
            "method": self.method,
            "metric": self.metric["name"],
            "clean": self.clean.as_dict(),
            "robust": self.robust.as_dict(),
            "worst_decile": self.worst_decile.as_dict(),
            "lambda_max": self.lambda_max.as_dict(),
            "n_seeds": len(self.seeds),
            "n_devices": len(real),
            "cost": self.cost,
            "tier": self.key["tier"],
            "data": {"name": self.key["data"], "fingerprint": self.key["fingerprint"]},
            "higher_is_better": self.metric["higher_is_better"],
            "rank_low": self.rank_low,
            "rank_high": self.rank_high,
            "tied_with": list(self.tied_with),
            "difference_to_baseline": difference,
            "auc": {axis: interval.as_dict() for axis, interval in self.auc.items()},
            "method_name": self.name,
            "params": self.params,
            "epochs_factor": self.epochs_factor,
            "seeds": list(self.seeds),
            "complete": self.complete,
            "missing_seeds": list(self.missing),
            "failed": list(self.failed),
            "cells_without_value": self.without_value,
            "undefined_seeds": list(self.undefined),
            "deployment": self.key["deployment"],
            "knows": None if self.knows is None else list(self.knows),
            **more,
        }


@dataclass(frozen=True)
class GroupLine:
    """One cell group of a table, with one interval per method.

    Attributes:
        axis: Name of the perturbation axis.
        severity: Device severity.
        level: Level along the axis, signed.
        unit: Unit of the level.
        environment: Operating conditions in physical units.
        counted: Whether the group carries weight in the score, as the workload declares.
        methods: Interval per method label, over seeds and devices.
        nominal: Level at which nothing is off along the axis; may be infinite.
        also: Name of each figure beside the metric to its interval per method label.
    """

    axis: str
    severity: float
    level: float
    unit: str
    environment: dict[str, float]
    counted: bool
    methods: dict[str, st.Interval]
    nominal: float = 0.0
    also: dict[str, dict[str, st.Interval]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Returns the group as plain JSON types; the nominal level where it is not 0."""
        at = self.nominal if math.isfinite(self.nominal) else str(self.nominal)
        return {
            **({"nominal": at} if at else {}),
            "axis": self.axis,
            "severity": self.severity,
            "level": self.level,
            "unit": self.unit,
            "environment": self.environment,
            "counted": self.counted,
            "methods": _plain(self.methods),
            **({"also": {n: _plain(rows) for n, rows in self.also.items()}} if self.also else {}),
        }


def _plain(rows: dict[str, st.Interval]) -> dict[str, Any]:
    return {label: interval.as_dict() for label, interval in rows.items()}


@dataclass(frozen=True)
class Comparison:
    """Two complete rows of a table, paired by seed and device.

    Attributes:
        a: Label of the row with the better score.
        b: Label of the other.
        difference: Score of ``a`` less that of ``b``, the plain interval.
        simultaneous: The same; its interval holds for all pairs of the table at once.
        p: Adjusted p-value over all pairs, or of the weakest step on a way down from ``a`` to
            ``b``; None where the variance is not known.
        separated: Whether the two are told apart: ``p`` is 5 % or less.
        superiority: How often ``a`` beats ``b`` on a fresh seed and device.
    """

    a: str
    b: str
    difference: st.Interval
    simultaneous: st.Interval
    p: float | None
    separated: bool
    superiority: Superiority

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison as plain JSON types."""
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.difference.mean,
            "plain": [self.difference.low, self.difference.high],
            "simultaneous": [self.simultaneous.low, self.simultaneous.high],
            "p_adjusted": self.p,
            "separated": self.separated,
            "superiority": self.superiority.as_dict(),
        }


@dataclass(frozen=True)
class ClaimLine:
    """A claim of a suite and what its table says of it.

    Attributes:
        better: Label of the row that is said to be better.
        than: Label of the other.
        verdict: ``"shown"``, ``"not shown"``, ``"the other way round"``, or ``"not measured"``
            where a row is not complete.
        difference: Score of the one less that of the other, the plain interval.
        simultaneous: The same; its interval holds for all claims of the suite at once.
        p: p-value adjusted over the claims; None where the variance is not known.
        smallest: Difference that this comparison shows with 80 % power, in the unit of the score.
    """

    better: str
    than: str
    verdict: str
    difference: st.Interval = st.NOTHING
    simultaneous: st.Interval = st.NOTHING
    p: float | None = None
    smallest: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the claim as plain JSON types."""
        return {
            "better": self.better,
            "than": self.than,
            "verdict": self.verdict,
            "difference": self.difference.mean,
            "plain": [self.difference.low, self.difference.high],
            "simultaneous": [self.simultaneous.low, self.simultaneous.high],
            "p_adjusted": self.p,
            "smallest_difference": self.smallest,
        }


@dataclass(frozen=True)
class Table:
    """Everything that may be compared: rows, groups, correlations, provenance.

    Attributes:
        key: Suite, protocol, workload, tier, data, fingerprint, metric, revision, deployment.
        rows: Best first; by label where there are no ranks.
        groups: Per-group means, by axis and level.
        correlations: Rank correlation of each sharpness figure with the robust score, over jobs,
            signed so that +1 means "the larger the figure, the better the device".
        provenance: Versions, git states, machines, threads and data the records name.
        control_unit: Unit of the controls, such as ``"mA"``; λmax is in loss per its square. Empty
            where the records do not say.
        training: Severity and unit of the training devices; None if no job measured one.
        older: Jobs that do not count: another of the row and seed does, or none: label, seed,
            hash, status and when they finished.
        deployments: All deployments of the board, the headline first; this is one of them.
        small_part: ``cells`` that count, ``seeds`` and ``shares`` of the measurements after shares
            of the steps; None if there are none.
        without: What the rows know that were left out of the table.
        left_out: Their labels.
        comparisons: All pairs of complete rows, the one with the better score first.
        resolution: What the table could have seen; None with fewer than two complete rows.
        claims: What the table says of the claims of its suite.
        tuning: What a search says of each row, in their order; empty without its record.
        chosen: The jobs of the table.
        asked: The jobs that the suite consists of, if it has said so.
        claimed: The claims of the suite.
        grids: Label -> grid of each of its finished jobs, of the rows that have all of them.
    """

    key: dict[str, str]
    rows: tuple[Row, ...]
    groups: tuple[GroupLine, ...]
    correlations: dict[str, dict[str, Any]]
    provenance: dict[str, Any]
    control_unit: str = ""
    training: dict[str, Any] | None = None
    older: tuple[dict[str, Any], ...] = ()
    deployments: tuple[str, ...] = (FROZEN,)
    small_part: dict[str, Any] | None = None
    without: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    resolution: Resolution | None = None
    claims: tuple[ClaimLine, ...] = ()
    tuning: tuple[RowTuning, ...] = ()
    chosen: Chosen = field(default_factory=lambda: Chosen({}, {}, ()), repr=False)
    asked: Current | None = field(default=None, repr=False)
    claimed: tuple[Claim, ...] = field(default=(), repr=False)
    grids: Mapping[str, tuple[Grid, ...]] = field(default_factory=dict, repr=False)

    @property
    def headline(self) -> bool:
        """Whether its score is the robust score of the protocol."""
        return self.key["deployment"] == self.deployments[0]

    @property
    def also(self) -> tuple[str, ...]:
        """Names of the figures that some row has beside the metric."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.also))

    @property
    def order_changes(self) -> dict[float, tuple[int, int]]:
        """Share of the steps to the pairs of rows that change their order from there, and all."""
        shares = self.small_part["shares"] if self.small_part else []
        return {share: order_changes([row.earlier for row in self.rows], share) for share in shares}

    @property
    def ranked(self) -> bool:
        """Whether the protocol is one that ranks."""
        return self.key["protocol"] != PUBLISHED

    @property
    def reference(self) -> str | None:
        """Label of the row that training times are relative to, if the table shows them."""
        return next((row.reference for row in self.rows if row.reference is not None), None)

    def as_dict(self) -> dict[str, Any]:
        """Returns all but the rows as plain JSON types."""
        more: dict[str, Any] = {} if self.ranked else {"ranked": False}
        if self.training is not None:
            more["training_device"] = self.training
        if len(self.deployments) > 1:
            more["headline"] = self.headline
        if self.small_part is not None:
            changes = self.order_changes.items()
            more["earlier"] = {
                **self.small_part,
                "order_changes": [
                    {"share": share, "changed": changed, "pairs": pairs}
                    for share, (changed, pairs) in changes
                ],
            }
        if self.also:
            more["figures"] = {n: parsed(n).as_dict() for n in (self.key["metric"], *self.also)}
        if self.ranked:
            more["comparisons"] = [pair.as_dict() for pair in self.comparisons]
            more["resolution"] = None if self.resolution is None else self.resolution.as_dict()
        if self.claims:
            more["claims"] = [line.as_dict() for line in self.claims]
        if self.tuning:
            more["tuning"] = [row.as_dict() for row in self.tuning]
        if self.without:
            more |= {"without": list(self.without), "left_out": list(self.left_out)}
        return {
            **self.key,
            **more,
            "groups": [group.as_dict() for group in self.groups],
            "correlations": self.correlations,
            "provenance": self.provenance,
            **({"control_unit": self.control_unit} if self.control_unit else {}),
            **({"older": list(self.older)} if self.older else {}),
        }
