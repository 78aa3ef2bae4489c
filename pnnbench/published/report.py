"""The comparison of reproduced with recorded values, the same for every platform."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pnnbench.errors import unknown_name
from pnnbench.published.printed import Printed

#: Called with the number of measurements done and the number in all.
Progress = Callable[[int, int], None]

#: Forms that `render` knows.
FORMATS = ("table", "json", "markdown")


@dataclasses.dataclass(frozen=True)
class Row:
    """One reproduced number and, where there is one, the recorded number.

    Attributes:
        checkpoint: Name of the checkpoint file without its ending.
        quantity: Short name of what was measured; rows of one series share it.
        label: The same in words.
        value: The reproduced value.
        unit: Unit of value, recorded value, difference and tolerance; empty if dimensionless.
        recorded: The recorded value, None where none is known; `Printed` where it was rounded.
        tolerance: How far the value may be from the recorded one before that was rounded, in
            `unit`.
        level: Place in a series, such as a temperature change; None for a single number.
        level_unit: Unit of the level.
    """

    checkpoint: str
    quantity: str
    label: str
    value: float
    unit: str = ""
    recorded: float | None = None
    tolerance: float = 0.0
    level: float | None = None
    level_unit: str = ""

    @property
    def difference(self) -> float | None:
        """Reproduced minus recorded value, or None."""
        return None if self.recorded is None else self.value - self.recorded

    @property
    def allowed(self) -> float:
        """Largest allowed magnitude of the difference, in `unit`: tolerance and rounding."""
        rounding = self.recorded.rounding if isinstance(self.recorded, Printed) else 0.0
        return self.tolerance + rounding

    @property
    def within(self) -> bool | None:
        """Whether the difference is allowed, or None. Not a number never is."""
        if self.difference is None:
            return None
        return abs(self.difference) <= self.allowed + 1e-9 * max(1.0, abs(self.value))

    def as_dict(self) -> dict[str, Any]:
        """Returns attributes, difference, what is allowed and the verdict as JSON values."""
        return dataclasses.asdict(self) | {
            "difference": self.difference,
            "allowed": self.allowed,
            "within": self.within,
        }


@dataclasses.dataclass(frozen=True)
class Report:
    """What one platform's published protocol gave.

    Attributes:
        platform: Name of the platform.
        rows: All numbers; rows of one series stand together.
        data: Name of each data set -> its fingerprint.
        notes: What a reader must know beside the numbers.
    """

    platform: str
    rows: tuple[Row, ...]
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def compared(self) -> int:
        """Number of rows that have a recorded value."""
        return sum(row.within is not None for row in self.rows)

    @property
    def agreeing(self) -> int:
        """Number of rows within their tolerance."""
        return sum(row.within is True for row in self.rows)

    @property
    def ok(self) -> bool:
        """Whether every row that has a recorded value is within its tolerance."""
        return self.compared == self.agreeing

    @property
    def summary(self) -> str:
        """One sentence with the counts."""
        checkpoints = len({row.checkpoint for row in self.rows})
        without = len(self.rows) - self.compared
        return (
            f"{self.platform}, published protocol: {self.agreeing} of {self.compared} recorded "
            f"values reproduced, {without} values without a record, {checkpoints} checkpoints"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return {
            "platform": self.platform,
            "protocol": "published",
            "ok": self.ok,
            "compared": self.compared,
            "within": self.agreeing,
            "data": dict(self.data),
            "notes": list(self.notes),
            "rows": [row.as_dict() for row in self.rows],
        }


@dataclasses.dataclass(frozen=True)
class _Line:
    """The rows of one checkpoint and quantity as text."""

    checkpoint: str
    label: str
    value: str
    recorded: str
    difference: str
    allowed: str
    within: str
    series: bool


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Printed):
        return value.text
    return f"{value:.0f}" if value % 1 == 0 and abs(value) < 1e6 else f"{value:.4g}"


def _lines(report: Report) -> Iterator[_Line]:
    for (checkpoint, _), group in itertools.groupby(
        report.rows, key=lambda row: (row.checkpoint, row.quantity)
    ):
        rows = list(group)
        first, compared = rows[0], [row for row in rows if row.within is not None]
        differences = [abs(d) for row in rows if (d := row.difference) is not None]
        # A difference that is not a number counts as the largest.
        worst = max((math.inf if math.isnan(d) else d for d in differences), default=None)
        inside = sum(row.within is True for row in compared)
        series = first.level is not None
        verdict = "yes" if inside == len(compared) else "NO"
        if series and compared:
            verdict += f" ({inside}/{len(compared)})"
        unit = f" [{first.unit}]" if first.unit else ""
        span = ""
        if series:
            ends = f"{_number(first.level)} to {_number(rows[-1].level)} {first.level_unit}"
            span = f", {ends}" if len(rows) > 1 else f", {_number(first.level)} {first.level_unit}"
        yield _Line(
            checkpoint=checkpoint,
            label=f"{first.label}{span}{unit}",
            value=" ".join(_number(row.value) for row in rows),
            recorded=" ".join(_number(row.recorded) for row in rows) if compared else "-",
            difference="-" if worst is None else f"{worst:.2g}",
            allowed=f"{max(r.allowed for r in compared):.2g}" if compared else "-",
            within=verdict if compared else "-",
            series=series,
        )


def _table(report: Report) -> str:
    head = ("checkpoint", "quantity", "value", "recorded", "|diff|", "allowed", "within")
    body: list[tuple[str, ...]] = []
    series: dict[int, _Line] = {}
    for line in _lines(report):
        if line.series:
            series[len(body)] = line
        value, recorded = ("below", "below") if line.series else (line.value, line.recorded)
        if line.recorded == "-":
            recorded = "-"
        numbers = (value, recorded, line.difference, line.allowed, line.within)
        body.append((line.checkpoint, line.label, *numbers))
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]

    def text(row: tuple[str, ...]) -> str:
        names = [c.ljust(w) for c, w in zip(row[:2], widths[:2], strict=True)]
        numbers = [c.rjust(w) for c, w in zip(row[2:], widths[2:], strict=True)]
        return "  ".join(names + numbers).rstrip()

    out = [text(head), "-" * len(text(head))]
    for i, row in enumerate(body):
        out.append(text(row))
        if i in series:
            out.append(f"    value     {series[i].value}")
            if series[i].recorded != "-":
                out.append(f"    recorded  {series[i].recorded}")
    return "\n".join([*out, "", *report.notes, report.summary])


def _markdown(report: Report) -> str:
    out = [
        "| checkpoint | quantity | value | recorded | difference | allowed | within |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in _lines(report):
        numbers = (line.value, line.recorded, line.difference, line.allowed, line.within)
        out.append("| " + " | ".join((line.checkpoint, line.label, *numbers)) + " |")
    notes = [f"- {note}" for note in report.notes]
    return "\n".join([*out, "", *notes, *([""] if notes else []), f"{report.summary}."])


def render(report: Report, format: str = "table") -> str:
    """Renders a report.

    Args:
        report: What to render.
        format: One of `FORMATS`.

    Returns:
        The text, without a newline at the end.

    Raises:
        UserError: If the format is unknown.
    """
    if format == "table":
        return _table(report)
    if format == "markdown":
        return _markdown(report)
    if format == "json":
        return json.dumps(_finite(report.as_dict()), indent=1, allow_nan=False)
    raise unknown_name("format", format, FORMATS)


def _finite(value: Any) -> Any:
    """Replaces numbers that JSON cannot hold by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
