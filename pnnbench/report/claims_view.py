"""The claims as they are shown, in words: the same for the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pnnbench.leaderboard.claims import ALONE, CORRELATION, Claims, Comparison
from pnnbench.leaderboard.verdicts import (
    NOT_MEASURED,
    NOT_SHOWN,
    NOT_TESTABLE,
    VERDICTS,
    Decided,
    Outcome,
)
from pnnbench.report.comparing import amount
from pnnbench.report.formatting import NONE, metric_head

_FIGURES = {
    "robust": "robust score",
    "clean": "clean {metric}",
    "cells": "{metric}",
    "drop": "{metric} less clean",
    "change": "{metric} less that at nominal",
    "training_device": "{metric} on the training device",
    "fresh_devices": "{metric} on fresh devices",
    "transfer": "fresh devices less training device",
    "lambda_max": "λmax",
    "train_seconds": "seconds of training",
    "gradient_evaluations": "gradient evaluations",
    "hardware_queries": "hardware queries",
}


_AXES = {
    "device": "device errors",
    "temperature_fine": "temperature",
    "temperature_wide": "temperature",
    "coupler": "coupler errors",
    "phase": "phase errors",
    "weight_error": "weight errors",
}
#: Axes whose levels are amounts, without a sign, and what stands before them.
_AMOUNTS = {"device": "severity ", "coupler": "", "phase": "", "weight_error": ""}


@dataclass(frozen=True)
class ComparisonView:
    """One comparison in words.

    Attributes:
        rows: Which rows are compared.
        figure: What is compared, and the rule.
        published: Printed values.
        reproduced: Values of the authors' files.
        measured: Values under equal conditions.
        difference: Their difference or ratio with the simultaneous interval.
        seen: The smallest difference that would have been seen; empty where one was seen.
        verdict: The verdict on it; for one that stands beside, with these words.
        reason: What is missing.
        board: The board.
        over: What the interval spans.
        measured_at_all: Whether there is a value.
        decides: Whether it does more than stand beside.
    """

    rows: str
    figure: str
    published: str
    reproduced: str
    measured: str
    difference: str
    seen: str
    verdict: str
    reason: str
    board: str
    over: str
    measured_at_all: bool
    decides: bool


@dataclass(frozen=True)
class ClaimView:
    """One claim in words; see `verdicts.Decided`."""

    number: int
    claim: str
    published: str
    decides: str
    verdict: str
    reason: str
    tests: tuple[ComparisonView, ...]

    @property
    def lead(self) -> str:
        """What stands before the reason: whether something is still to come."""
        verdicts = [test.verdict for test in self.tests] or [self.verdict]
        waiting = any(verdict.endswith(NOT_MEASURED) for verdict in verdicts)
        return "waiting" if waiting else NOT_TESTABLE


def views(decided: Sequence[Decided]) -> list[ClaimView]:
    """The claims in words.

    Args:
        decided: Claims with their verdicts.

    Returns:
        One entry each.
    """
    return [
        ClaimView(
            number=one.claim.number,
            claim=one.claim.claim,
            published=one.claim.published,
            decides=one.claim.decides,
            verdict=one.verdict,
            reason=one.reason,
            tests=tuple(map(_test, one.outcomes)),
        )
        for one in decided
    ]


def counts(decided: Sequence[Decided]) -> dict[str, int]:
    """How many claims have each verdict.

    Args:
        decided: Claims with their verdicts.

    Returns:
        Verdict to number, in the order of `VERDICTS`, those without a claim left out.
    """
    found = [one.verdict for one in decided]
    return {verdict: found.count(verdict) for verdict in VERDICTS if verdict in found}


def heading(claims: Claims) -> str:
    """What the verdicts are of.

    Args:
        claims: The file of claims.

    Returns:
        One line.
    """
    return (
        f"Published claims under {claims.protocol}: {claims.family} comparisons whose "
        f"{100 * claims.confidence:g} % intervals hold together ({100 * claims.level:.2f} % each)"
    )


def _test(outcome: Outcome) -> ComparisonView:
    test = outcome.test
    there = outcome.bounds is not None
    verdict = f"beside: {outcome.verdict}" if test.beside else outcome.verdict
    if outcome.by_guessing:
        verdict += " (guessing would keep it too)"
    if test.printed_breaks:
        verdict += " (the printed values themselves do not keep it)"
    return ComparisonView(
        rows=_rows(test),
        figure=f"{_figure(test)}: {_rule(test)}",
        published=_pair(test, test.published or (None, None), printed=True),
        reproduced=_pair(test, outcome.reproduced),
        measured=_pair(test, outcome.values),
        difference=_difference(outcome),
        seen=_seen(outcome),
        verdict=verdict,
        reason=outcome.reason,
        board=test.board,
        over=_over(outcome),
        measured_at_all=there and outcome.verdict != NOT_MEASURED,
        decides=not test.beside,
    )


def _rows(test: Comparison) -> str:
    if test.figure == CORRELATION:
        return "; ".join(test.rows)
    return f"{test.row} against {test.against}" if test.against else test.row


def _figure(test: Comparison) -> str:
    if test.figure == CORRELATION:
        return f"rank correlation of λmax with {test.other.replace('_', ' ')} over rows"
    text = _FIGURES[test.figure].format(metric=metric_head(test.metric))
    if test.scale:
        text = text.replace(" less ", " over ")
    if test.axes:
        words = [_AXES.get(axis, axis.replace("_", " ")) for axis in test.axes]
        text += f" under {' and '.join(words)}"
        text += _at(test)
    return text


def _at(test: Comparison) -> str:
    """Levels of a comparison, where it names some: offsets with their sign, amounts without."""
    if not test.levels:
        return ""
    if test.axes[0] in _AMOUNTS:
        return f" at {_AMOUNTS[test.axes[0]]}{', '.join(f'{level:g}' for level in test.levels)}"
    return " at " + ", ".join(f"{level:+g}".replace("-", "−") for level in test.levels)


def _rule(test: Comparison) -> str:
    if test.rule == "keeps" and test.ratio:
        verb = "falls" if test.better > 0.0 else "grows"
        return f"{verb} at most by a factor of {test.margin:g}"
    if test.rule == "keeps":
        return f"loses at most {test.margin:g}{_points(test)}"
    if test.rule == "at_most":
        return f"at most {test.tolerance:g} times the published ratio"
    return "negative" if test.figure == CORRELATION and test.rule == "lower" else test.rule


def _number(test: Comparison, value: float, *, printed: bool = False) -> str:
    if printed:  # with the digits that were printed
        return str(value)
    return _factor(value) if test.ratio else _signed(value, ".1f" if test.percent else ".3g")


def _points(test: Comparison) -> str:
    """Unit of a difference, after a space; none for a metric that is no share."""
    return " points" if test.percent else ""


def _factor(value: float) -> str:
    """Three digits, without an exponent where there is room for the number."""
    return f"{value:.0f}" if 1e3 <= value < 1e6 else f"{value:.3g}"


def _signed(value: float, form: str) -> str:
    """A number with a true minus sign; none on what rounds to zero."""
    text = format(value, form)
    return text.lstrip("+-") if not text.strip("+-0.") else text.replace("-", "−")


def _pair(
    test: Comparison, values: tuple[float | None, float | None], *, printed: bool = False
) -> str:
    texts = [_number(test, value, printed=printed) for value in values if value is not None]
    if values[0] is None:
        return NONE
    unit = " %" if test.percent else ""
    if test.figure in ALONE and test.against is None and len(texts) == 1:
        unit = _points(test)
    return f"{' against '.join(texts)}{unit}"


def _difference(outcome: Outcome) -> str:
    bounds = outcome.bounds
    if bounds is None:
        return NONE
    ends = (bounds.mean, bounds.low, bounds.high)
    if outcome.test.ratio:
        mean, low, high = map(_factor, ends)
        return f"× {mean} ({low} to {high})"
    form = "+.2f" if outcome.test.figure == CORRELATION else "+.3g"
    form, unit = "+.1f" if outcome.test.percent else form, _points(outcome.test)
    mean, low, high = (_signed(x, form) for x in ends)
    return f"{mean} ({low} to {high}){unit}"


def _seen(outcome: Outcome) -> str:
    """The smallest difference that would have been seen, where none was, and what is excluded."""
    if outcome.verdict != NOT_SHOWN or outcome.bounds is None or outcome.bounds.seen is None:
        return ""
    if outcome.by_guessing or outcome.test.rule == "at_most":
        return ""
    seen = outcome.bounds.seen
    if outcome.test.ratio:
        text = f"a factor of {_factor(seen)}"
    else:
        percent = outcome.test.percent
        text = amount(seen / 100 if percent else seen, share=percent)
    if outcome.test.rule == "keeps":  # held against the margin, not against nothing
        return f"{text} from the margin"
    return text + ("; half of the published effect is excluded" if outcome.excluded else "")


def _over(outcome: Outcome) -> str:
    if not outcome.seeds:
        return ""
    devices = f" × {outcome.devices} devices" if outcome.devices else ""
    deployed = f", {outcome.deployment}" if outcome.deployment else ""
    return f"{outcome.seeds} seeds{devices}{deployed}, revision {outcome.revision}"
