"""The free-space suite beside the hardware curves of Figure 5e and the published simulation.

Usage: python benchmarks/beside_figure_5.py [RECORDS] [--out FOLDER]

RECORDS is a folder of records of the suite freespace_mnist. Written are ``figure_5.md`` and
``figure_5.json``. Hardware values are of about 100 test images each. The published simulation is
that of the released parameters under the published rules, in which rotation and shift leave the
second layer where it is; this suite misaligns both layers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from pnnbench.leaderboard import statistics as st
from pnnbench.records.folders import read_records
from pnnbench.script import run_script

Curve = dict[float, float]
#: Axis -> (unit, network -> accuracy in % at each level), Figure 5e-i to iii; scale in % off 1.
HARDWARE: dict[str, tuple[str, dict[str, Curve]]] = {
    "rotation": (
        "deg",
        {
            "BP": {0.0: 95, 0.5: 59, 1.0: 43, 1.5: 32, 2.0: 20},
            "SAT": {0.0: 98, 0.5: 98, 1.0: 98, 1.5: 90, 2.0: 87},
        },
    ),
    "shift_y": (
        "px",
        {
            "BP": {0.0: 96, 0.5: 59, 1.0: 36, 1.5: 8, 2.0: 8},
            "SAT": {0.0: 97, 0.5: 97, 1.0: 95, 1.5: 92, 2.0: 89},
        },
    ),
    "scale": (
        "%",
        {
            "BP": {0.0: 96, 2.5: 25, 5.0: 12, 7.5: 5, 10.0: 1},
            "SAT": {0.0: 96, 2.5: 92, 5.0: 93, 7.5: 93, 10.0: 86},
        },
    ),
}
#: The released parameters in the published simulation: standard BP, and SAT of the axis alone.
SIMULATION: dict[str, dict[str, Curve]] = {
    "rotation": {
        "BP": {0.0: 97.2, 0.5: 96.8, 1.0: 92.6, 1.5: 89.8, 2.0: 81.9},
        "SAT": {0.0: 97.1, 0.5: 97.3, 1.0: 96.7, 1.5: 95.5, 2.0: 91.8},
    },
    "shift_y": {
        "BP": {0.0: 97.2, 1.0: 94.1, 1.5: 87.0, 2.0: 78.0},
        "SAT": {0.0: 97.8, 1.0: 97.6, 1.5: 95.8, 2.0: 93.3},
    },
    "scale": {
        "BP": {0.0: 97.2, 2.5: 14.8, 5.0: 11.4, 7.5: 9.0, 10.0: 10.1},
        "SAT": {0.0: 96.9, 2.5: 97.1, 5.0: 96.1, 7.5: 93.7, 10.0: 92.0},
    },
}


def percent(interval: st.Interval) -> str:
    """Mean and half the 95 % interval, in percent."""
    text = f"{100 * (interval.mean or 0.0):.1f}"
    if interval.low is not None and interval.high is not None:
        text += f" ±{50 * (interval.high - interval.low):.1f}"
    return text


def measured(records: list[dict[str, Any]]) -> dict[str, dict[str, dict[float, st.Interval]]]:
    """Axis -> row of the suite -> level -> accuracy; the clean one at level 0."""
    values: dict[str, dict[str, dict[float, list[float]]]] = {}
    for record in records:
        label = record["job"]["method"]["label"]
        for axis in HARDWARE:
            curve = values.setdefault(axis, {}).setdefault(label, {})
            curve.setdefault(0.0, []).append(record["clean"])
            for cell in record["cells"]:
                if cell["axis"] == axis:
                    curve.setdefault(cell["level"], []).append(cell["value"])
    return {
        axis: {
            label: {level: st.one_way(np.array(v)) for level, v in curve.items()}
            for label, curve in rows.items()
        }
        for axis, rows in values.items()
    }


def table(found: dict[str, dict[str, dict[float, st.Interval]]]) -> str:
    """The tables, one for each axis, as Markdown."""
    lines: list[str] = []
    for axis, (unit, hardware) in HARDWARE.items():
        levels = sorted(hardware["BP"])
        words = axis.replace("_", " along ")
        lines += [
            f"| {words}, {unit} | {' | '.join(f'{level:g}' for level in levels)} |",
            "| :--- " + "| ---: " * len(levels) + "|",
        ]
        for title, curves in (("Figure 5e, hardware", hardware), ("simulation", SIMULATION[axis])):
            for name, curve in curves.items():
                cells = [f"{curve[x]:g}" if x in curve else "" for x in levels]
                lines.append(f"| {name}, published {title} | {' | '.join(cells)} |")
        for label, row in found[axis].items():
            cells = [percent(row[x]) if x in row else "" for x in levels]
            lines.append(f"| {label} | {' | '.join(cells)} |")
            if any(-x in row for x in levels[1:]):
                cells = [percent(row[-x]) if x and -x in row else "" for x in levels]
                lines.append(f"| {label}, the other way | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "± is half a 95 % interval over training seeds. Full test set; both layers misaligned, "
        "bilinear. Hardware: about 100 images. Simulation: released parameters, the second layer "
        "in place except under scale, nearest pixel.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Reads, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = Path("leaderboards/pnnbench-1/freespace_mnist")
    parser.add_argument("records", type=Path, nargs="?", default=folder / "records")
    parser.add_argument("--out", type=Path, default=folder)
    args = parser.parse_args()
    found = measured([r for r in read_records(args.records) if r["status"] == "ok"])
    text = table(found)
    plain = {
        axis: {
            label: {f"{level:g}": interval.as_dict() for level, interval in row.items()}
            for label, row in rows.items()
        }
        for axis, rows in found.items()
    }
    for name, content in (
        ("figure_5.md", text),
        ("figure_5.json", json.dumps({"suite": plain}, indent=1) + "\n"),
    ):
        temporary = args.out / f"{name}.tmp"
        args.out.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(args.out / name)
    print(text)


if __name__ == "__main__":
    run_script(main)
