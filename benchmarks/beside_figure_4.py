"""The retrained published recipe beside Figures 4c and 4d of the paper, in one table.

Usage: python benchmarks/beside_figure_4.py [RUNS] [--out FOLDER]

RUNS is the run folder of the suite mzi_published, with parameters. Written to FOLDER are
``figure_4.md`` and ``figure_4.json``. Published accuracies are of one training, one device and, for
fresh ones, five devices, with batch norm in training mode on the test images; the eigenvalue is
over all parameters with a loss over all 64 ports, on the ideal device and the first 1,000 test
images, and that is how it is measured here, beside the one over the optical phases.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.leaderboard import statistics as st
from pnnbench.published.mzi import LAMBDA_IMAGES, lambda_all
from pnnbench.published.mzi_checkpoint import PublishedMZIMNIST
from pnnbench.records.folders import read_records
from pnnbench.script import run_script
from pnnbench.workloads.mzi import PORTS

#: Row -> published accuracy in % on the training device, seconds, eigenvalue; Figure 4c.
FIGURE_4C: dict[str, tuple[float, float, float]] = {
    "BP": (68.64, 356.1, 93.5),
    "NAT": (79.77, 338.2, 96.8),
    "PAT": (70.17, 393.8, 114.7),
    "DAT": (94.64, 1272.7, 252.4),
    "SAT": (92.31, 513.8, 0.3),
    "SAT in situ": (97.05, 623.1, 0.6),
}
#: Row -> published mean accuracy in % on five fresh devices of severity 0.15; behind Figure 4d.
FIGURE_4D = {"DAT": 53.65, "SAT in situ": 95.21}
#: Row -> mean accuracy in % of the released checkpoint on 100 fresh devices of severity 0.15.
CHECKPOINT_FRESH = {
    **{"BP": 70.6, "NAT": 66.2, "PAT": 73.0},
    **{"DAT": 48.5, "SAT": 86.7, "SAT in situ": 89.5},
}


def percent(interval: st.Interval) -> str:
    """Mean and half the 95 % interval, in percent."""
    text = f"{100 * interval.mean:.1f}"
    if interval.low is not None and interval.high is not None:
        text += f" ±{50 * (interval.high - interval.low):.1f}"
    return text


def eigenvalue(folder: Path, images: Any, labels: Any) -> float:
    """Largest eigenvalue over all parameters of a finished run, 64-way loss."""
    workload = PublishedMZIMNIST(PORTS)
    workload.network.load_state_dict(load_file(folder / "parameters.safetensors"), strict=False)
    value, converged = lambda_all(workload.eval(), images, labels)
    if not converged:
        raise UserError(f"{folder}: the eigenvalue has not converged")
    return value


def geometric(values: list[float], digits: int = 3) -> str:
    """Geometric mean, and the range if there are several values."""
    mean = math.exp(float(np.log(values).mean()))
    low, high = min(values), max(values)
    text = f"{mean:.{digits}g}"
    return f"{text} ({low:.{digits}g} to {high:.{digits}g})" if len(values) > 1 else text


def fresh(record: dict[str, Any]) -> list[float]:
    """Accuracies on the fresh devices of the training device's severity."""
    severity = record["training_device"]["severity"]
    return [c["value"] for c in record["cells"] if math.isclose(c["severity"], severity)]


def main() -> None:
    """Measures, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/mzi_published"))
    parser.add_argument("--out", type=Path, default=Path("leaderboards/mzi_published"))
    args = parser.parse_args()
    images, labels = DataModule(load("mnist"), batch_size=100, seed=0).test_tensors()
    rows: dict[str, list[dict[str, Any]]] = {}
    for record in read_records(args.runs):
        if record["status"] != "ok":
            continue
        folder = args.runs / record["job"]["hash"]
        found = eigenvalue(folder, images[:LAMBDA_IMAGES], labels[:LAMBDA_IMAGES])
        rows.setdefault(record["job"]["method"]["label"], []).append(
            {
                "seed": record["job"]["seed"],
                "device": record["training_device"]["value"],
                "fresh": fresh(record),
                "clean": record["clean"],
                "seconds": record["cost"]["train_seconds"],
                "lambda_all_64": found,
                "lambda_phases": record["sharpness"]["lambda_max"],
            }
        )
    if "BP" not in rows:
        raise UserError(
            f"{args.runs} has no finished run of BP, to which times are compared",
            next_step="pnnbench run benchmarks/mzi_published.yaml",
        )
    bp = {r["seed"]: r["seconds"] for r in rows["BP"]}
    lines = [
        "| method | seeds | clean % | training device % | Fig. 4c | fresh devices % | published "
        "| released file, 100 devices | time / BP | Fig. 4c | λmax, all parameters | Fig. 4c "
        "| λmax, phases |",
        "| :--- " + "| ---: " * 12 + "|",
    ]
    for label, runs in rows.items():
        accuracy, seconds, published = FIGURE_4C.get(label, (None, None, None))
        cells = [
            label,
            str(len(runs)),
            percent(st.one_way(np.array([r["clean"] for r in runs]))),
            percent(st.one_way(np.array([r["device"] for r in runs]))),
            "" if accuracy is None else f"{accuracy:.1f}",
            percent(st.crossed(np.array([r["fresh"] for r in runs]))),
            f"{FIGURE_4D[label]:.1f}" if label in FIGURE_4D else "",
            f"{CHECKPOINT_FRESH[label]:.1f}" if label in CHECKPOINT_FRESH else "",
            geometric([r["seconds"] / bp[r["seed"]] for r in runs if r["seed"] in bp]),
            "" if seconds is None else f"{seconds / FIGURE_4C['BP'][1]:.2f}",
            geometric([r["lambda_all_64"] for r in runs]),
            "" if published is None else f"{published:g}",
            geometric([r["lambda_phases"] for r in runs]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "± is half a 95 % interval over seeds, and over seeds and devices for fresh ones; ranges "
        "are over seeds. Fig. 4c: one training, one device. Published fresh devices: five.",
        "",
    ]
    text = "\n".join(lines)
    for name, content in (
        ("figure_4.md", text),
        ("figure_4.json", json.dumps({"rows": rows, "figure_4c": FIGURE_4C}, indent=1) + "\n"),
    ):
        temporary = args.out / f"{name}.tmp"
        args.out.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(args.out / name)
    print(text)


if __name__ == "__main__":
    run_script(main)
