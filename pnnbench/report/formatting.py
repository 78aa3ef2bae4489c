"""How figures and their intervals are written."""

from __future__ import annotations

import math
from collections.abc import Callable

from pnnbench.leaderboard.grid import is_share as is_share
from pnnbench.leaderboard.statistics import Interval
from pnnbench.records.figure_names import parsed

NONE = "–"
"""Stands where nothing was measured."""


def digits(value: float, count: int, *, sign: bool = False) -> str:
    """Rounds to significant digits; what is larger than these, to whole numbers up to a million.

    Args:
        value: The figure.
        count: Significant digits.
        sign: Whether to show a plus.

    Returns:
        Such as ``"0.38"``, ``"276"`` or ``"2.8e+06"``.
    """
    whole = 10.0**count - 0.5 <= abs(value) < 1e6
    return f"{value:{'+' if sign else ''}.{'0f' if whole else f'{count}g'}}"


def curvature_unit(control_unit: str) -> str:
    """Unit of an eigenvalue of the Hessian: ``"loss / mA²"``, ``"loss / (full modulation)²"``.

    Args:
        control_unit: Unit of the controls; empty where it is not known or there are several.
    """
    unit = control_unit or "control"
    return f"loss / ({unit})²" if " " in unit else f"loss / {unit}²"


def metric_head(name: str) -> str:
    """The short name of a metric, without the network and numbers in it: ``"FID"``, ``"accuracy"``.

    Args:
        name: The metric as records name it.
    """
    head = parsed(name).head
    return head.upper() if head == name and len(name) <= 4 else head


def metric_title(name: str) -> str:
    """The short name of a metric as a heading begins with it: ``"Accuracy"``, ``"FID"``."""
    head = metric_head(name)
    return head[:1].upper() + head[1:]


def number(value: float | None, *, share: bool = False, sign: bool = False) -> str:
    """Formats a figure: percent with two decimals, else four significant digits.

    Args:
        value: The figure.
        share: Whether it is a share in [0, 1].
        sign: Whether to show a plus.

    Returns:
        The text, with a true minus sign.
    """
    if value is None:
        return NONE
    plus = "+" if sign else ""
    text = f"{100 * value:{plus}.2f}" if share else digits(value, 4, sign=sign)
    if sign and not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−") if "e" not in text else text


def plus_minus(interval: Interval, *, share: bool = False, sign: bool = False) -> str:
    """Formats a mean with the half-width of its interval.

    Args:
        interval: A symmetric interval.
        share: Whether it is a share in [0, 1].
        sign: Whether to show a plus.

    Returns:
        Such as ``"69.63 ±0.50"``; the mean alone where there is no interval.
    """
    text = number(interval.mean, share=share, sign=sign)
    if interval.low is None or interval.high is None:
        return text
    half = (interval.high - interval.low) / 2
    return f"{text} ±{100 * half:.2f}" if share else f"{text} ±{digits(half, 2)}"


def least_of(name: str) -> float | None:
    """The value below which a metric cannot be; None where there is none, or it is not known."""
    return parsed(name).least


def ends(
    interval: Interval,
    *,
    share: bool = False,
    clip: bool = True,
    sign: bool = False,
    least: float | None = None,
) -> str:
    """Formats the two ends of an interval.

    Args:
        interval: The interval.
        share: Whether it is a share in [0, 1].
        clip: Whether ends of a share are cut to [0, 1] for display.
        sign: Whether to show a plus.
        least: What the lower end is cut to for display, where the figure cannot be below it.

    Returns:
        Such as ``"69.13 to 70.13"``; empty where there is no interval.
    """
    low, high = interval.low, interval.high
    if low is None or high is None:
        return ""
    if share and clip:
        low, high = max(low, 0.0), min(high, 1.0)
    if least is not None:
        low = max(low, least)
    if not share:
        shown = number(low if interval.mean is None else interval.mean).replace("−", "-")
        texts = around(shown, low, high, lambda end, used: digits(end, used, sign=sign), 3)
        return " to ".join(t if "e" in t else t.replace("-", "−") for t in texts)
    return f"{number(low, share=True, sign=sign)} to {number(high, share=True, sign=sign)}"


#: Digits beyond which no more are added to the ends of an interval.
_MOST_DIGITS = 8


def around(
    shown: str, low: float, high: float, write: Callable[[float, int], str], count: int
) -> tuple[str, str]:
    """Writes the ends of an interval with as few digits as leave the mean inside, as it is printed.

    Args:
        shown: The mean as it is printed, a number.
        low: Lower end.
        high: Upper end.
        write: (end, significant digits) -> text, a number.
        count: Significant digits, unless more are needed.

    Returns:
        Both texts.
    """
    for used in range(count, _MOST_DIGITS + 1):
        first, last = write(low, used), write(high, used)
        if float(first) <= float(shown) <= float(last):
            return first, last
    return write(low, count), write(high, count)


def eigenvalue(interval: Interval) -> str:
    """Formats a largest eigenvalue, whose interval is not symmetric.

    Args:
        interval: On the logarithmic scale, transformed back.

    Returns:
        Such as ``"1.23 (0.9 to 1.6)"``.
    """
    if interval.mean is None:
        return NONE
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3g}"
    text = f"{interval.mean:.3g}"
    low, high = around(text, interval.low, interval.high, lambda end, used: f"{end:.{used}g}", 2)
    return f"{text} ({low} to {high})"


_FURTHER = {
    "light_on_detectors": 100.0,
    "accuracy_without_absorbers": 100.0,
    "control_power_mw": 1e-3,
}


def further(name: str, interval: Interval) -> str:
    """Formats one of the further figures of a row, to three digits.

    Args:
        name: ``"light_on_detectors"`` or ``"accuracy_without_absorbers"``, shares in percent, or
            ``"control_power_mw"``, shown in W.
        interval: The figure.

    Returns:
        Such as ``"0.412 ±0.03"``.
    """
    factor = _FURTHER[name]
    if interval.mean is None:
        return NONE
    text = f"{factor * interval.mean:.3g}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} ±{factor * (interval.high - interval.low) / 2:.2g}"


def count(value: float | int | None) -> str:
    """Formats a count with a decimal prefix.

    Args:
        value: A number of evaluations.

    Returns:
        Such as ``"18.7 k"``.
    """
    if value is None:
        return NONE
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.4g}"


def counted(number: int | str, noun: str) -> str:
    """A number and a noun that follows it, with an s but for 1.

    Args:
        number: How many, or a range such as ``"2 to 3"``.
        noun: In the singular.

    Returns:
        Such as ``"1 seed"`` or ``"3 seeds"``.
    """
    return f"{number} {noun}" + ("" if str(number) == "1" else "s")


def seconds(value: float | None) -> str:
    """Formats a duration.

    Args:
        value: Seconds.

    Returns:
        Such as ``"61.2 s"``, ``"12 min"`` or ``"3.4 h"``.
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 7200 else f"{value / 3600:.3g} h"


def correlation(value: float) -> str:
    """Formats a correlation.

    Args:
        value: In [-1, 1].

    Returns:
        Such as ``"−0.72"``, with its sign.
    """
    return f"{value:+.2f}".replace("-", "−")


def correlation_ends(low: float | None, high: float | None) -> str:
    """Formats the interval of a correlation.

    Args:
        low: Its lower end; None where it is not known.
        high: Its upper end; as ``low``.

    Returns:
        Such as ``"−0.96 to +0.20"``; empty where it is not known.
    """
    return "" if low is None or high is None else f"{correlation(low)} to {correlation(high)}"


def escaped(text: str) -> str:
    """Escapes what Markdown would read as marks, references to characters among them."""
    text = text.replace("\\", "\\\\").replace("\n", " ").replace("&", "&amp;")
    for mark in "|*_<>`[]~":
        text = text.replace(mark, "\\" + mark)
    return text
