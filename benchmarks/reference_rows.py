"""The reference rows from which the counted levels of a workload's grid are chosen.

Trains back-propagation and noise-aware training without the held-out images and measures every
level of the grid on validation devices, which neither training nor tests ever meet: as trained,
and after each deployment step that the workload declares. A level counts where the mean of both
rows lies between 20 and 90 percent; of an error, which has no percents, where between 10 and 90
percent are left of what the clean networks have over guessing. The levels and these figures stand
beside each other in the workload's module. Printed: a line for each axis and level, BP / NAT in
percent or as the metric has it, the mean over seeds, signs and devices; last the mean of all that
counts but device errors alone.

Usage: python benchmarks/reference_rows.py WORKLOAD [--tier quick] [--epochs N] [--images N]
    [--seeds 100 101] [--devices 6] [--tests 2000] [--bp lr="0.043 mA"] [--nat sigma="0.5 HWHM"]
    [--assembled 0.05]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import evaluate_clean, measure_grid
from pnnbench.leaderboard.grid import DEVICE_AXIS
from pnnbench.registry import method_class, method_parameters, workload_class
from pnnbench.running.training import fit
from pnnbench.script import run_script
from pnnbench.seeds import FIRST_VALIDATION_DEVICE, validation_devices
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import FIRST_TEST_DEVICE, FROZEN, OFFSET_CALIBRATED, Cell

ROWS = {"BP": "bp", "NAT": "nat"}
#: Between these means of the rows a level tells methods apart.
COUNTED = (0.2, 0.9)
#: The same of the share that is left of what clean networks have over guessing.
LEFT = (0.1, 0.9)
#: Axis, level without its sign, deployment -> row -> values.
CLEAN = ("clean", 0.0, "")
#: Axis of the mean of all counted cells but those of the axis of device errors.
ENVIRONMENTS = "environments"
Found = dict[tuple[str, float, str], dict[str, list[float]]]


def validation_cells(
    workload: Workload, tier: str, devices: int, assembled: float | None
) -> list[Cell]:
    """The grid of a tier with validation devices in the place of the first test devices.

    Args:
        workload: The workload.
        tier: Name of the tier.
        devices: How many of them.
        assembled: Severity of the devices that meet what counts beside device errors alone, 0 for
            the ideal one; None for what the grid says.
    """
    cells = [
        cell
        if cell.device_seed is None
        else dataclasses.replace(
            cell, device_seed=cell.device_seed - FIRST_TEST_DEVICE + FIRST_VALIDATION_DEVICE
        )
        for cell in workload.perturbation_grid(tier)
        if cell.device_seed is None or cell.device_seed < FIRST_TEST_DEVICE + devices
    ]
    if assembled is None:
        return cells
    seeds = validation_devices(devices) if assembled else [None]
    places = dict.fromkeys(
        dataclasses.replace(cell, severity=assembled, device_seed=None)
        for cell in cells
        if is_environment(cell)
    )
    met = [dataclasses.replace(cell, device_seed=seed) for cell in places for seed in seeds]
    return [cell for cell in cells if not is_environment(cell)] + met


def is_environment(cell: Cell) -> bool:
    """Whether a cell counts and is not one of device errors alone."""
    return cell.counts and cell.axis != DEVICE_AXIS


def measure(
    workload: Workload, images: Tensor, labels: Tensor, cells: Sequence[Cell], training: Tensor
) -> dict[str, list[float]]:
    """Values of the cells by deployment."""
    count = workload.offset_calibration_images
    steps = {FROZEN: None, **({OFFSET_CALIBRATED: training[:count]} if count else {})}
    found: dict[str, list[float]] = {}
    for name, calibration in steps.items():
        readings = measure_grid(workload, images, labels, cells, calibration=calibration)
        found[name] = [math.nan if r.value is None else r.value for r in readings]
    return found


def row(args: argparse.Namespace, name: str, params: dict[str, Any], found: Found) -> None:
    """Trains one row at every seed and adds what it measures."""
    cls = workload_class(args.workload)
    tier = cls.tier(args.tier)
    for seed in args.seeds:
        data = DataModule(
            cls.data,
            batch_size=tier.batch_size,
            seed=seed,
            holdout=args.holdout,
            limit_train=args.images or tier.train_images,
            augmentation=cls.augmentation,
        )
        workload = cls(seed)
        method_type = method_class(ROWS[name])
        method = method_type(**method_parameters(method_type, params))
        method.seed = seed
        fit(workload, method, data, epochs=args.epochs or tier.epochs)
        training, _ = data.train_tensors(slice(tier.calibration_images))
        workload.calibrate(training)
        images, labels = (part[: args.tests] for part in data.validation_tensors())
        cells = validation_cells(workload, args.tier, args.devices, args.assembled)
        clean = evaluate_clean(workload, images, labels)
        found.setdefault(CLEAN, {}).setdefault(name, []).append(clean)
        print(f"{name} seed {seed}: clean {clean:.4g}", flush=True)
        for deployment, values in measure(workload, images, labels, cells, training).items():
            for cell, value in zip(cells, values, strict=True):
                key = (cell.axis, abs(cell.level) if args.fold else cell.level, deployment)
                found.setdefault(key, {}).setdefault(name, []).append(value)
                if is_environment(cell):
                    every = found.setdefault((ENVIRONMENTS, 0.0, deployment), {})
                    every.setdefault(name, []).append(value)


def told_apart(value: float, clean: float, cls: type[Workload]) -> bool:
    """Whether a level counts at which both rows have this mean."""
    if cls.higher_is_better:
        return COUNTED[0] <= value <= COUNTED[1]
    guess = cls(0).chance
    if guess is None:
        raise UserError(f"{cls.__name__} has no value of guessing")
    return LEFT[0] <= (guess - value) / (guess - clean) <= LEFT[1]


def mean_of(rows: Mapping[str, list[float]]) -> tuple[list[float], float]:
    """Means of the rows, and the mean of these."""
    means = [sum(values) / len(values) for values in rows.values()]
    return means, sum(means) / len(means)


def pairs(texts: Sequence[str]) -> dict[str, Any]:
    """Hyper-parameters from texts such as ``lr=0.043 mA``."""
    result: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text!r} is no hyper-parameter", allowed='NAME=VALUE, "lr=0.043 mA"')
        try:
            result[name] = float(value)
        except ValueError:
            result[name] = value
    return result


def main() -> None:
    """Trains, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--epochs", type=int, help="by default those of the tier")
    parser.add_argument("--images", type=int, help="training images, by default those of the tier")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    parser.add_argument("--devices", type=int, default=6)
    parser.add_argument("--holdout", type=int, default=5000)
    parser.add_argument("--tests", type=int, default=2000, help="held-out images measured")
    parser.add_argument("--bp", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--nat", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--fold", action="store_true", help="take both signs of a level together")
    parser.add_argument(
        "--assembled", type=float, help="severity of the devices that meet the environments"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: Found = {}
    for name in ROWS:
        row(args, name, pairs(getattr(args, name.lower())), found)
    _, clean = mean_of(found.pop(CLEAN))
    cls = workload_class(args.workload)
    for (axis, level, deployment), rows in sorted(
        found.items(), key=lambda item: (item[0][0] == ENVIRONMENTS, item[0])
    ):
        means, mean = mean_of(rows)
        if axis == ENVIRONMENTS:
            values = " / ".join(f"{value:.4f}" for value in means)
            print(f"{deployment:18} {axis}, mean of what counts: {values}")
            continue
        told = "counts" if told_apart(mean, clean, cls) else ""
        share = cls.higher_is_better
        figures = "/".join(f"{100 * v:.0f}" if share else f"{v:.4g}" for v in means)
        print(f"{deployment:18} {axis:20} {level:8g}  {figures:10} {told}")


if __name__ == "__main__":
    run_script(main)
