"""The published claims as data: what each says, and which rows of which boards decide it.

They stand in ``claims.yaml`` beside this module; `pnnbench.leaderboard.verdicts` applies them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pnnbench.errors import UserError
from pnnbench.records.figure_names import parsed

FILE = Path(__file__).with_name("claims.yaml")
"""The claims that ship."""
REPRODUCED = Path(__file__).with_name("reproduced.json")
"""What ``pnnbench reproduce`` found in the authors' files; written by ``scripts/reproduced.py``."""

SHARES = (
    "robust",
    "clean",
    "cells",
    "drop",
    "change",
    "training_device",
    "fresh_devices",
    "transfer",
)
"""Figures that are the metric of a board, or differences of it."""
COUNTS = ("gradient_evaluations", "hardware_queries")
RATIOS = ("lambda_max", "train_seconds", *COUNTS)
"""Positive figures, which are compared as ratios."""
CORRELATION = "correlation"
ON_AXES = ("cells", "drop", "change")
"""Figures of chosen cells."""
ALONE = ("drop", "change", "transfer")
"""Figures that are differences already, so that one row has a test of its own."""
RULES = ("higher", "lower", "keeps", "at_most")
PERCENT = ("accuracy", "precision", "recall")
"""Metrics that are shares of images, shown in percent; their differences are points."""


@dataclass(frozen=True)
class Reproduced:
    """Where the values of the authors' own files stand.

    Attributes:
        platform: Name of the published protocol.
        quantity: Short name of what was measured.
        row: Checkpoint of the row.
        against: Checkpoint of what the row is held against; None for one value.
        level: Place in a series; None for a single number.
    """

    platform: str
    quantity: str
    row: str
    against: str | None = None
    level: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One comparison that a claim rests on; see the head of ``claims.yaml``.

    Attributes:
        board: Name of the suite.
        figure: Among `SHARES`, `RATIOS` and `CORRELATION`.
        rule: Among `RULES`.
        row: Label of the row; empty for a correlation.
        against: Label of the row it is held against; None for a figure that is a difference.
        rows: Labels of the rows of a correlation, five at least.
        axes: Axes of `ON_AXES`.
        levels: Their levels, signed; empty for those that count.
        metric: What `SHARES` are of, such as ``"mse"`` or ``"recall"``: the board's metric or a
            figure beside it, whatever extractor it is from.
        scale: ``"ratio"`` compares `SHARES` as ratios; empty for differences.
        other: What λmax is correlated with, among ``fresh_devices`` and ``robust``.
        margin: By how much a figure that ``keeps`` may be worse: in points or the unit of the
            metric, or a factor above 1.
        tolerance: Factor on the published ratio for ``at_most``.
        published: Values of the row and of what it is held against, percent for `SHARES`.
        reproduced: Where the values of the authors' files stand.
        beside: Whether it is shown and decides nothing.
    """

    board: str
    figure: str
    rule: str
    row: str = ""
    against: str | None = None
    rows: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    metric: str = "accuracy"
    scale: str = ""
    other: str = ""
    margin: float = 0.0
    tolerance: float = 1.0
    published: tuple[float, float] | None = None
    reproduced: Reproduced | None = None
    beside: bool = False

    @property
    def ratio(self) -> bool:
        """Whether it compares on the logarithmic scale."""
        return self.figure in RATIOS or self.scale == "ratio"

    @property
    def percent(self) -> bool:
        """Whether it compares shares of images, in percent."""
        return self.figure in SHARES and self.metric in PERCENT

    @property
    def better(self) -> float:
        """1 where more of its figure is better, else -1."""
        return 1.0 if self.figure in SHARES and parsed(self.metric).higher_is_better else -1.0

    @property
    def printed_breaks(self) -> bool:
        """Whether the printed values are worse than the margin within which it keeps."""
        if self.rule != "keeps" or self.published is None:
            return False
        row, start = self.published
        worse = row / start if self.ratio else row - start
        return (
            worse**-self.better > self.margin if self.ratio else -self.better * worse > self.margin
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows that it needs by name."""
        return tuple(label for label in (self.row, self.against, *self.rows) if label)


@dataclass(frozen=True)
class Claim:
    """One published claim.

    Attributes:
        number: Its number.
        claim: What it says.
        published: What was printed.
        decides: What decides it here.
        tests: The comparisons; empty if there are none yet.
        waits_for: What has to be there before it can be measured; empty with tests.
        not_testable: Why it cannot be tested here; empty otherwise.
    """

    number: int
    claim: str
    published: str
    decides: str = ""
    tests: tuple[Comparison, ...] = ()
    waits_for: str = ""
    not_testable: str = ""


@dataclass(frozen=True)
class Claims:
    """The file of claims.

    Attributes:
        protocol: The protocol whose boards decide.
        tier: Their tier.
        confidence: That all intervals of the file hold together, in (0, 1).
        verdicts: Name of each verdict to its rule.
        claims: In the order of the file.
    """

    protocol: str
    tier: str
    confidence: float
    verdicts: Mapping[str, str]
    claims: tuple[Claim, ...]

    @property
    def boards(self) -> tuple[str, ...]:
        """Names of the suites whose boards decide something."""
        return tuple(dict.fromkeys(t.board for claim in self.claims for t in claim.tests))

    @property
    def family(self) -> int:
        """Number of tests, measured or not: the intervals of all of them hold together."""
        return sum(len(claim.tests) for claim in self.claims)

    @property
    def level(self) -> float:
        """Confidence of each interval, by Bonferroni's inequality."""
        return 1.0 - (1.0 - self.confidence) / max(self.family, 1)


def read_claims(path: Path | str = FILE) -> Claims:
    """Reads a file of claims.

    Args:
        path: The YAML file.

    Returns:
        The claims.

    Raises:
        UserError: If it is not there, or a claim is not what the head of the file describes.
    """
    path = Path(path)
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: is not a file of claims: {error}") from None
    names = ("protocol", "tier", "confidence", "verdicts", "claims")
    fields = _known(content, names, names, f"{path}")
    claims = tuple(_claim(entry, path) for entry in fields["claims"])
    numbers = [claim.number for claim in claims]
    if len(set(numbers)) != len(numbers):
        raise UserError(f"{path}: claims have the numbers {numbers}", allowed="each number once")
    if not 0.0 < fields["confidence"] < 1.0:
        raise UserError(f"{path}: confidence is {fields['confidence']!r}", allowed="within (0, 1)")
    return Claims(
        protocol=str(fields["protocol"]),
        tier=str(fields["tier"]),
        confidence=float(fields["confidence"]),
        verdicts={str(name): str(rule) for name, rule in fields["verdicts"].items()},
        claims=claims,
    )


def _known(
    entry: Any, names: tuple[str, ...], needed: tuple[str, ...], where: str
) -> dict[str, Any]:
    """A mapping with known keys and without missing ones."""
    if not isinstance(entry, dict):
        raise UserError(f"{where}: {entry!r} is no mapping", allowed=", ".join(names))
    unknown, lacking = sorted(map(str, entry.keys() - set(names))), set(needed) - entry.keys()
    if unknown or lacking:
        what = f"unknown: {', '.join(unknown)}" if unknown else f"lacks {', '.join(lacking)}"
        raise UserError(f"{where}: {what}", allowed=", ".join(names))
    return entry


def _claim(entry: Any, path: Path) -> Claim:
    number = entry.get("number") if isinstance(entry, dict) else None
    where = f"{path}: claim {number}"
    names = ("number", "claim", "published", "decides", "tests", "waits_for", "not_testable")
    fields = _known(entry, names, ("number", "claim", "published"), where)
    ways = [name for name in ("tests", "waits_for", "not_testable") if fields.get(name)]
    if len(ways) != 1:
        raise UserError(
            f"{where}: has {', '.join(ways) or 'nothing'} to decide it",
            allowed="tests, or waits_for, or not_testable",
        )
    tests = tuple(_test(test, where) for test in fields.get("tests", ()))
    if tests and all(test.beside for test in tests):
        raise UserError(f"{where}: all its tests stand beside", allowed="one test that decides")
    return Claim(**{**fields, "tests": tests})


def _test(entry: Any, where: str) -> Comparison:
    names = (
        "board", "row", "against", "rows", "figure", "metric", "scale", "axes", "levels", "with",
        "rule", "margin", "tolerance", "published", "reproduced", "beside",
    )  # fmt: skip
    fields = dict(_known(entry, names, ("board", "figure", "rule"), where))
    figure, rule = fields["figure"], fields["rule"]
    where = f"{where}, {figure} on {fields['board']}"
    known = (*SHARES, *RATIOS, CORRELATION)
    if figure not in known:
        raise UserError(f"{where}: unknown figure", allowed=", ".join(known))
    if rule not in RULES:
        raise UserError(f"{where}: unknown rule {rule!r}", allowed=", ".join(RULES))
    fields["other"] = fields.pop("with", "")
    for name in ("axes", "levels", "rows", "published"):
        if name in fields:
            fields[name] = tuple(fields[name])
    if "reproduced" in fields:
        parts = ("platform", "quantity", "row", "against", "level")
        fields["reproduced"] = Reproduced(
            **_known(fields["reproduced"], parts, parts[:3], f"{where}, reproduced")
        )
    test = Comparison(**fields)
    faults = {
        "no row, or several": (figure == CORRELATION) == bool(test.row),
        "fewer than five rows to correlate": (figure == CORRELATION) != (len(test.rows) >= 5),
        "nothing to hold the row against": figure not in (*ALONE, CORRELATION)
        and test.against is None,
        "no axes": (figure in ON_AXES) != bool(test.axes),
        "no fresh_devices or robust to correlate with": (figure == CORRELATION)
        != (test.other in ("fresh_devices", "robust")),
        "no margin above 0": (rule == "keeps") != (test.margin > 0.0),
        "a factor that is no margin": rule == "keeps" and test.ratio and test.margin <= 1.0,
        f"unknown metric {test.metric!r}": parsed(test.metric).higher_is_better is None,
        "a metric of a figure that has its own": figure not in SHARES and "metric" in fields,
        f"unknown scale {test.scale!r}": test.scale not in ("", "ratio"),
        "a scale of a figure that has its own": figure not in SHARES and bool(test.scale),
        "a ratio of shares": test.percent and bool(test.scale),
        "keeps of a ratio or a correlation": rule == "keeps" and figure not in SHARES,
        "at_most of no ratio, or without a published one": rule == "at_most"
        and not (test.ratio and test.published),
        "two published values are needed": test.published is not None
        and (len(test.published) != 2 or (test.ratio and min(test.published) <= 0.0)),
        "published values that say the opposite of the rule": test.published is not None
        and len(test.published) == 2
        and (test.published[0] - test.published[1]) * {"higher": 1, "lower": -1}.get(rule, 0) < 0,
    }
    for fault, found in faults.items():
        if found:
            raise UserError(f"{where}: {fault}", allowed="what the head of claims.yaml describes")
    return test


@dataclass(frozen=True)
class Found:
    """What ``pnnbench reproduce`` found.

    Attributes:
        counts: Platform to values compared, values within tolerance, and checkpoints.
        values: Platform, checkpoint, quantity and level to the value.
        command: How it is found again.
    """

    counts: Mapping[str, Mapping[str, int]]
    values: Mapping[tuple[str, str, str, float | None], float] = field(repr=False)
    command: str = ""

    def pair(self, where: Reproduced | None) -> tuple[float | None, float | None]:
        """Values of the row and of what it is held against; None where there is none."""
        if where is None:
            return None, None
        row, against = (
            None if name is None
            else self.values.get((where.platform, name, where.quantity, where.level))
            for name in (where.row, where.against)
        )  # fmt: skip
        return row, against


@lru_cache(maxsize=4)
def read_reproduced(path: Path = REPRODUCED) -> Found:
    """Reads what the authors' files gave.

    Args:
        path: What ``scripts/reproduced.py`` wrote.

    Returns:
        The values; nothing where the file is not there.

    Raises:
        UserError: If it is something else.
    """
    if not path.is_file():
        return Found({}, {})
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        platforms = content["platforms"]
        counts = {
            name: {k: int(part[k]) for k in ("compared", "within", "checkpoints")}
            for name, part in platforms.items()
        }
        values = {
            (name, row[0], row[1], row[2]): float(row[3])
            for name, part in platforms.items()
            for row in part["rows"]
        }
        return Found(counts, values, str(content["command"]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path}: is not what scripts/reproduced.py writes ({type(error).__name__}: {error})",
            next_step="git checkout the file, or write it again with scripts/reproduced.py",
        ) from None
