"""One run as text: its grid, its sharpness."""

from __future__ import annotations

import csv
import io
import textwrap
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from pnnbench.leaderboard.deployments import (
    FROZEN,
    deployment_names,
    deployment_of,
    headline_of,
)
from pnnbench.records.figure_names import heads
from pnnbench.report.blocks import unit_text
from pnnbench.report.formatting import around, curvature_unit, is_share, number
from pnnbench.report.text import WIDTH

#: Figure of the sharpness -> what it is, and unit; ``{u}`` is that of the controls, ``{c}`` that of
#: a curvature. docs/protocol.md, "Sharpness", says more.
MEANINGS: dict[str, tuple[str, str]] = {
    "lambda_max": ("largest curvature of the loss", "{c}"),
    "lambda_max_calibrated": ("at outputs times softmax_scale", "{c}"),
    "lambda_max_subsample": ("the same, on PyHessian's images", "{c}"),
    "lambda_max_pyhessian": ("the same, by PyHessian", "{c}"),
    "lambda_min": ("most negative curvature", "{c}"),
    "common_mode": ("when all controls shift together", "{c}"),
    "ball_increase": ("worst increase within ball_radius", "loss"),
    "ball_radius": ("norm of a step over all controls", "{u}"),
    "ball_radius_rms": ("the same step, per control", "{u}"),
    "ball_slope": ("most that the slope gives there", "loss"),
    "ball_curvature": ("most that the curvature gives there", "loss"),
    "device_increase": ("mean increase on validation devices", "loss"),
    "train_loss": ("mean over the images", "loss"),
    "gradient_norm": ("slope of that loss", "loss / {u}"),
    "guessing_loss": ("of the best constant output", "loss"),
    "softmax_scale": ("best factor of outputs, held-out", ""),
}
#: Figures that stand beside another one, or count something.
_BESIDE = ("_low", "_high", "_error_bound", "_at_bound", "_images", "_products")
_COUNTS = {
    "n_images": "images",
    "n_controls": "controls",
    "products": "Hessian products",
    "device_images": "images for the devices",
    "ball_images": "images for the step",
    "softmax_scale_images": "held-out images for the confidence",
}
#: Marks: the value that is worth a word, and the words.
_MARKS = {
    "converged": (0, "the eigenvalues have NOT converged"),
    "is_minimum": (0, "the point is NO minimum: the curvature says little"),
    "at_guessing": (1, "the loss NEVER left that of guessing: the sharpness says nothing"),
}
#: Shares of the eigenvalues whose place is told.
_QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
#: How far what goes on in the next line stands in.
_INDENT = 4


def aligned(
    lines: Sequence[Sequence[str]], *, right: Sequence[int] = (), width: int = WIDTH
) -> list[str]:
    """Lines of cells as lines of text.

    Args:
        lines: Cells, the same number in each line.
        right: Columns that stand at their right edge.
        width: Characters per line; columns beyond it go on, indented, in a line below.

    Returns:
        One text per line, columns two spaces apart; several where there is no room.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    parts: list[list[int]] = [[]]
    taken = 0
    for k, size in enumerate(widths):
        if parts[-1] and taken + size > width:
            parts.append([])
            taken = _INDENT
        parts[-1].append(k)
        taken += size + 2
    return [
        " " * (_INDENT if part is not parts[0] else 0)
        + "  ".join(
            line[k].rjust(widths[k]) if k in right else line[k].ljust(widths[k]) for k in part
        ).rstrip()
        for line in lines
        for part in parts
    ]


def sharpness_text(sharpness: Mapping[str, Any], control_unit: str, width: int = WIDTH) -> str:
    """Renders the sharpness figures of a run.

    Args:
        sharpness: As a record has them.
        control_unit: Unit of the controls, such as ``"mA"``; empty where they have several.
        width: Characters per line.

    Returns:
        A line per figure with value, unit and meaning, then what they were measured on.
    """
    unit, per = control_unit or "control", curvature_unit(control_unit)
    lines = [["sharpness", "value", "unit", "meaning"]]
    others = [name for name in sharpness if name not in {*MEANINGS, *_COUNTS, *_MARKS}]
    for name in (*MEANINGS, *others):
        value = sharpness.get(name)
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not plain or (name in others and name.endswith(_BESIDE)):
            continue
        meaning, of = MEANINGS.get(name, ("", ""))
        text = f"{value:.4g}"
        low, high = sharpness.get(f"{name}_low"), sharpness.get(f"{name}_high")
        if low is not None and high is not None:
            text += " ({} to {})".format(*around(text, low, high, lambda x, n: f"{x:.{n}g}", 2))
        if sharpness.get(f"{name}_at_bound"):
            text += " (end of its range)"
        lines.append([name, text, of.format(u=unit, c=per), meaning])
    notes = [f"{sharpness[k]:,} {word}" for k, word in _COUNTS.items() if k in sharpness]
    notes += [words for k, (mark, words) in _MARKS.items() if sharpness.get(k) == mark]
    below = textwrap.fill(", ".join(notes), width, subsequent_indent=" " * _INDENT)
    return "\n".join([*aligned(lines, width=width), *([below] if below else [])])


def spectrum_text(spectrum: Mapping[str, Any], control_unit: str, width: int = WIDTH) -> str:
    """Renders where the eigenvalues of a Hessian lie.

    Args:
        spectrum: As `SpectralDensity.as_dict` gives it.
        control_unit: As for `sharpness_text`.
        width: Characters per line.

    Returns:
        A line each for the trace, the share below zero and some quantiles; then what they are of.
    """
    per = curvature_unit(control_unit)
    places, shares = spectrum["places"], spectrum["shares"]
    below = [*accumulate(shares)]
    error = spectrum["trace_error"]
    trace = f"{spectrum['trace']:.4g}" + ("" if error is None else f" ± {error:.2g}")
    negative = sum(share for place, share in zip(places, shares, strict=True) if place < 0.0)
    lines = [
        ["spectrum", "value", "unit", "meaning"],
        ["trace", trace, per, "sum of all eigenvalues, standard error"],
        ["negative", f"{100 * negative:.3g}", "%", "eigenvalues below zero"],
    ]
    for share in _QUANTILES:
        at = min(bisect_left(below, share), len(places) - 1)
        lines.append([f"quantile_{share:g}", f"{places[at]:.4g}", per, "this share lies below"])
    told = f"{spectrum['size']:,} eigenvalues, estimated by {spectrum['products']:,} products"
    return "\n".join([*aligned(lines, width=width), told])


def gap_text(gap: Mapping[str, str]) -> str:
    """Says what could not be measured, and why."""
    return f"{gap['part']}: {gap['type']}: {gap['message']}"


def cells_text(record: Mapping[str, Any], width: int = WIDTH, deployment: str | None = None) -> str:
    """Renders the grid of a run: a line per point, over the devices.

    Args:
        record: A record of status ok.
        width: Characters per line.
        deployment: Of which deployment, such as ``"frozen"``; None takes the one whose score is
            the robust score.

    Returns:
        The clean metric and the deployment, then mean and worst of each point, and the means of the
        figures beside it; a star where a point counts in the score of the deployment.
    """
    metric = record["metric"]
    share, better = is_share(metric), metric["higher_is_better"]
    unit = " %" if share else ""
    name = headline_of(record) if deployment is None else deployment
    groups: dict[tuple[Any, ...], list[_Point]] = {}
    for point in _points(record, name):
        cell = point.cell
        groups.setdefault((cell["axis"], cell["level"], cell["unit"]), []).append(point)
    beside = heads(list(record.get("also", {})))
    lines = [["axis", "level", "unit", f"mean{unit}", f"worst{unit}", "cells", *beside.values()]]
    for (axis, level, of), measured in groups.items():
        values = [point.value for point in measured if point.value is not None]
        mean = sum(values) / len(values) if values else None
        worst = (min if better else max)(values, default=None)
        count = str(len(values))
        if len(values) < len(measured):
            count += f" of {len(measured)}"
        figures = [number(mean, share=share), number(worst, share=share), count]
        figures += [number(_mean_beside(measured, figure)) for figure in beside]
        star = " *" if any(point.counts for point in measured) else "  "
        lines.append([axis, f"{level:g}{star}", unit_text(of), *figures])
    clean = f"{metric['name']} on the ideal device: {number(record['clean'], share=share)}{unit}"
    also = [f"{figure}: {number(value)}" for figure, value in record.get("also", {}).items()]
    said = f"on perturbed devices, {name}; points with * count in its score:"
    right = (1, *range(3, len(lines[0])))
    return "\n".join([clean, *also, said, *aligned(lines, right=right, width=width)])


class _Point(NamedTuple):
    """A cell in one deployment."""

    cell: Mapping[str, Any]
    value: float | None
    counts: bool
    also: Mapping[str, float]


def _points(record: Mapping[str, Any], deployment: str) -> list[_Point]:
    """The cells of a record with what a deployment has of each."""
    cells = record["cells"]
    step = deployment_of(record, deployment)
    values = step.get("values", [cell.get("value") for cell in cells])
    counts = step.get("counts", [cell.get("counts", True) for cell in cells])
    also = [cell.get("also", {}) for cell in cells]
    if deployment != FROZEN:
        also = step.get("also", [{}] * len(cells))
    return [_Point(*each) for each in zip(cells, values, counts, also, strict=True)]


def _mean_beside(points: Sequence[_Point], name: str) -> float | None:
    """Mean of a figure beside the metric over the cells that have it."""
    values = [point.also[name] for point in points if name in point.also]
    return sum(values) / len(values) if values else None


def cells_csv(measured: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Renders the grid of a run as CSV, one line per cell and deployment.

    Args:
        measured: The record with the cells that were measured now.
        record: The record as it was.

    Returns:
        Columns for deployment, axis, level, unit, severity, device seed, environment, value and
        recorded value.
    """

    def place(cell: Mapping[str, Any]) -> tuple[Any, ...]:
        environment = tuple(sorted(cell["environment"].items()))
        return (cell["axis"], cell["severity"], environment, cell["device_seed"])

    fields = sorted({name for cell in measured["cells"] for name in cell["environment"]})
    columns = ["deployment", "axis", "level", "unit", "severity", "device_seed", *fields]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*columns, "value", "recorded"], lineterminator="\n")
    writer.writeheader()
    writer.writerow({"axis": "clean", "value": measured["clean"], "recorded": record["clean"]})
    for name in sorted(deployment_names([measured]), key=lambda name: name != FROZEN):
        recorded = _points(record, name) if name in deployment_names([record]) else []
        told = {place(point.cell): point.value for point in recorded}
        for cell, value, _, _ in _points(measured, name):
            line = {key: cell[key] for key in columns if key in cell}
            figures = {"deployment": name, "value": value, "recorded": told.get(place(cell))}
            writer.writerow({**line, **cell["environment"], **figures})
    return stream.getvalue()
