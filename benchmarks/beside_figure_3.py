"""The suites on images beside Figures 3b, 3f and 3j of the paper: page, picture, numbers.

Usage: python benchmarks/beside_figure_3.py [BOARDS] [--out FOLDER]

BOARDS is the folder of the boards, in which cifar10_classify, cifar10_reconstruct and
cifar10_generate have their records; one that is not there is said to be not measured yet. Written
are ``figure_3.md``, ``figure_3.json`` and the picture ``figure_3.svg`` with a PNG. Published curves
are of one training; no code was published for them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnnbench.leaderboard.model import Table
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.statistics import Interval
from pnnbench.records.figure_names import parsed
from pnnbench.records.folders import read_records
from pnnbench.records.index import read_index
from pnnbench.records.store import write_whole
from pnnbench.report import style
from pnnbench.report.copies import known_copies
from pnnbench.report.formatting import digits, is_share, metric_head, metric_title, plus_minus
from pnnbench.report.looks import method_styles
from pnnbench.script import run_script

LEVELS = (-0.25, -0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Temperatures less that of the training in degC."""
AXIS = "temperature_fine"


@dataclass(frozen=True)
class Panel:
    """One published figure.

    Attributes:
        figure: Its number.
        board: Suite that is set beside it.
        kind: Its metric.
        title: What it shows.
        curves: Row to its value at each of `LEVELS`; accuracy in percent.
        said: What is known of how it was made.
    """

    figure: str
    board: str
    kind: str
    title: str
    curves: dict[str, tuple[float, ...]]
    said: str


PANELS = (
    Panel(
        "3b",
        "cifar10_classify",
        "accuracy",
        "Classification",
        {
            "BP": (10.56, 10.72, 10.8, 10.66, 10.55, 82.77, 9.88, 9.79, 10.06, 10.01, 9.92),
            "SAT": (83.4, 83.26, 82.6, 83.01, 83.44, 83.35, 83.59, 82.71, 81.53, 79.78, 77.23),
        },
        "ResNet-18, 10,000 test images",
    ),
    Panel(
        "3f",
        "cifar10_reconstruct",
        "mse",
        "Compression and reconstruction",
        {
            "BP": (
                *(0.5286, 0.5347, 0.4313, 0.2451, 0.1842, 0.0101),
                *(1.0472, 1.2357, 1.2522, 1.253, 1.2535),
            ),
            "SAT": (
                *(0.0225, 0.0199, 0.0176, 0.0154, 0.0136, 0.0127),
                *(0.0136, 0.0175, 0.026, 0.0455, 0.0957),
            ),
        },
        "the scale of the pixels is not said",
    ),
    Panel(
        "3j",
        "cifar10_generate",
        "fid",
        "Generation",
        {
            "BP": (
                *(454.6, 448.49, 421.76, 387.79, 342.84, 106.73),
                *(461.58, 490.43, 494.42, 503.55, 512.98),
            ),
            "SAT": (
                *(139.01, 119.19, 107.02, 105.18, 105.1, 104.06),
                *(106.57, 114.54, 122.85, 163.61, 211.12),
            ),
        },
        "extractor and number of images are not said",
    ),
)

Curve = dict[float, Interval]


def board_of(panel: Panel, boards: Path) -> Table | None:
    """The headline table of a panel's board, of its newest revision; None if there is none."""
    folder = boards / panel.board
    if not folder.is_dir():
        return None
    tables = [
        table
        for table in build(read_records(folder), current=read_index([folder]))
        if table.headline and parsed(table.key["metric"]).kind == panel.kind and table.groups
    ]
    return max(tables, key=lambda table: int(table.key["revision"]), default=None)


def curves(table: Table) -> dict[str, Curve]:
    """Row to the metric at each temperature, over seeds and devices."""
    points = [group for group in table.groups if group.axis == AXIS]
    return {
        row.method: {group.level: group.methods[row.method] for group in points}
        for row in table.rows
        if row.seeds
    }


def differences(panel: Panel, table: Table) -> list[str]:
    """What is other than in the published figure, from the records."""
    record = next(r for rows in table.chosen.finished.values() for r in rows)
    config, data = record["config"], record["data"]
    tier, layers = config["tier"], config["layers"]
    first = next(iter(layers.values()))["shape"]
    part = parsed(table.key["metric"])
    coded = data["fingerprint"] in known_copies()
    warm = [cell for cell in record["cells"] if cell["axis"] == AXIS]
    devices = len({cell["device_seed"] for cell in warm} - {None})
    severity = {g.severity for g in table.groups if g.axis == AXIS}
    errors = ", ".join(f"{s:g}" for s in sorted(severity))
    met = f"{devices} devices with errors of severity {errors}" if devices else "the ideal device"
    lines = [
        f"published: {panel.said}; one training, no code",
        f"here: workload {table.key['workload']}, tier {table.key['tier']}; {config['network']} of "
        f"{config['n_controls']:,} controls in {len(layers)} layers on rings, the first {first}",
        f"{tier['epochs']} epochs of {data['n_train']:,} training images, batches of "
        f"{tier['batch_size']}; {data['n_test']:,} test images",
        f"data {data['name']}, {'a JPEG-coded copy, ' if coded else ''}fingerprint "
        f"{data['fingerprint'][:23]}…",
        f"{max(len(row.seeds) for row in table.rows)} seeds and {met}, deployment "
        f"{table.key['deployment']}",
    ]
    if part.source:
        lines.append(f"{part.words}; {part.source} ({part.name})")
    return lines


def ends(values: Sequence[float | None], *, points: bool) -> list[str]:
    """The figure at both ends against that in the middle: points, or factors."""
    middle = values[LEVELS.index(0.0)]
    found = []
    for end in (values[0], values[-1]):
        if end is None or middle is None or (not points and middle <= 0.0):
            found.append("")
        else:
            change = f"{end - middle:+.1f}" if points else f"× {digits(end / middle, 3)}"
            found.append(change.replace("-", "−"))
    return found


def section(panel: Panel, table: Table | None) -> list[str]:
    """A panel as Markdown."""
    share = is_share(panel.kind)
    unit = ", %" if share else ""
    heads = [f"{level:+g}".replace("-", "−") if level else "0" for level in LEVELS]
    name = metric_title(panel.kind)
    lines = [
        f"## Figure {panel.figure}: {panel.title}",
        "",
        f"| {name}{unit}, at °C | {' | '.join(heads)} | −0.25 to 0 | +0.25 to 0 |",
        "| :--- " + "| ---: " * (len(LEVELS) + 2) + "|",
    ]
    for label, values in panel.curves.items():
        cells = [*(f"{value:g}" for value in values), *ends(values, points=share)]
        lines.append(f"| {label}, published | {' | '.join(cells)} |")
    if table is None:
        return [*lines, "", f"{panel.board}: not measured yet (`pnnbench run {panel.board}`).", ""]
    for label, curve in curves(table).items():
        means = [curve[level].mean if level in curve else None for level in LEVELS]
        shown = [None if mean is None else 100 * mean if share else mean for mean in means]
        texts = [plus_minus(curve[x], share=share) if x in curve else "" for x in LEVELS]
        lines.append(f"| {label} | {' | '.join([*texts, *ends(shown, points=share)])} |")
    lines += ["", "What is different:", ""]
    return [*lines, *(f"- {line}" for line in differences(panel, table)), ""]


def page(tables: dict[str, Table | None]) -> str:
    """The page as Markdown."""
    lines = [
        "# Beside Figure 3",
        "",
        "Written by `python benchmarks/beside_figure_3.py`. The temperature of training is 0. ± is "
        "half a 95 % interval: over seeds, and over devices where devices meet the temperature. "
        "Errors and distances are on other scales than the published ones, so that the factors at "
        "the ends are what can be compared.",
        "",
    ]
    if any(tables.values()):
        lines += ["![Curves beside the published ones](figure_3.svg)", ""]
    for panel in PANELS:
        lines += section(panel, tables[panel.board])
    return "\n".join(lines)


def picture(tables: dict[str, Table | None], folder: Path) -> None:
    """Draws the published curves above, ours below."""
    with style.styled():
        figure = style.new_figure(9.6, 6.2)
        axes = figure.subplots(2, len(PANELS), sharex=True)
        labels = ["BP", "SAT"]
        for panel, (above, below) in zip(PANELS, axes.T, strict=True):
            looks = method_styles(labels)
            share = is_share(panel.kind)
            unit = metric_head(panel.kind) + (" (%)" if share else "")
            for ax in (above, below) if share else ():
                ax.set_ylim(-2.0, 102.0)
            for label, values in panel.curves.items():
                above.plot(LEVELS, values, **looks[label].line())
            above.set_title(f"{panel.figure}: {panel.title}")
            above.set_ylabel(f"published {unit}")
            table = tables[panel.board]
            below.set_xlabel("temperature offset (°C)")
            if table is None:
                below.set_title("not measured yet", color=style.QUIET)
                continue
            found = curves(table)
            looks = method_styles(found)
            scale = 100.0 if share else 1.0
            for label in reversed(list(found)):
                known = {x: i for x, i in found[label].items() if i.mean is not None}
                means = [scale * (i.mean or 0.0) for i in known.values()]
                below.plot(list(known), means, label=label, **looks[label].line())
                span = {x: i for x, i in known.items() if i.low is not None}
                low = [scale * (i.low or 0.0) for i in span.values()]
                high = [scale * (i.high or 0.0) for i in span.values()]
                below.fill_between(
                    list(span), low, high, color=looks[label].color, alpha=0.12, lw=0
                )
            below.set_ylabel(f"measured {unit}")
        for ax in axes.flat:
            ax.grid(axis="y")
        handles: dict[str, Any] = {}
        for ax in axes[1]:
            handles |= {t: h for h, t in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(
            [*handles.values()][::-1], [*handles][::-1], loc="outside lower center", ncols=4
        )
        style.heading(
            figure, "Beside Figure 3", "above: as published · below: boards of pnnbench-2"
        )
        style.save(figure, folder, "figure_3", title="Beside Figure 3")


def main() -> None:
    """Reads, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", type=Path, nargs="?", default=Path("leaderboards"))
    parser.add_argument("--out", type=Path, default=Path("leaderboards"))
    args = parser.parse_args()
    tables = {panel.board: board_of(panel, args.boards) for panel in PANELS}
    text = page(tables)
    plain = {
        panel.figure: {
            "board": panel.board,
            "levels_degc": list(LEVELS),
            "published": {label: list(values) for label, values in panel.curves.items()},
            "measured": None
            if (table := tables[panel.board]) is None
            else {
                label: {f"{level:g}": interval.as_dict() for level, interval in curve.items()}
                for label, curve in curves(table).items()
            },
            "different": [] if table is None else differences(panel, table),
        }
        for panel in PANELS
    }
    if any(tables.values()):
        picture(tables, args.out)
    write_whole(args.out / "figure_3.md", text.encode())
    write_whole(args.out / "figure_3.json", (json.dumps(plain, indent=1) + "\n").encode())
    print(text)


if __name__ == "__main__":
    run_script(main)
