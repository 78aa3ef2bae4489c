"""Searches hyper-parameters with one budget for all rows and writes the record of the search.

Usage: python scripts/search.py benchmarks/search/NAME.yaml [--workers 2]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import yaml

from pnnbench.data import load
from pnnbench.errors import UserError
from pnnbench.leaderboard.grid import arrange
from pnnbench.registry import workload_class
from pnnbench.script import run_script
from pnnbench.workloads.amounts import parse


def trials(search: dict[str, Any]) -> list[dict[str, Any]]:
    """Expands the search file to trials: row label, method and hyper-parameters."""
    found = []
    for label, row in search["rows"].items():
        names = list(row["grid"])
        for values in itertools.product(*row["grid"].values()):
            params = {**row.get("params", {}), **dict(zip(names, values, strict=True))}
            for name, source in row.get("tie", {}).items():
                value = params[source]  # the same number: the other has a unit of its own
                amount = parse(value) if isinstance(value, str) else None
                params[name] = value if amount is None else amount[0]
            found.append({"label": label, "method": row["method"], "params": params})
    return found


def identity(trial: dict[str, Any]) -> str:
    """Names a trial by its row and hyper-parameters."""
    return json.dumps([trial["label"], trial["params"]], sort_keys=True)


def validation_cells(workload: Any, tier: str, devices: list[int]) -> list[Any]:
    """The workload's grid on devices that are neither test nor training devices."""
    groups = dict.fromkeys(
        dataclasses.replace(cell, device_seed=None) for cell in workload.perturbation_grid(tier)
    )
    return [
        dataclasses.replace(cell, device_seed=device)
        for cell in groups
        for device in (devices if cell.severity else [None])  # at severity 0 all are the ideal one
    ]


def figures(
    workload: Any, images: Any, labels: Any, cells: list[Any], training: Any
) -> dict[str, float]:
    """Robust score, mean of each axis and clean metric of a trained workload.

    Args:
        workload: The workload, calibrated.
        images: Inputs (B, ...).
        labels: Targets (B,).
        cells: The cells to measure.
        training: Training images (N, ...), of which devices take their offsets again where the
            workload's headline is that deployment.

    Returns:
        ``score``, the score of the leaderboard on these cells, ``clean``, and each axis by name.
    """
    from pnnbench.evaluation.harness import evaluate_clean, evaluate_grid
    from pnnbench.workloads.grid import OFFSET_CALIBRATED

    again = workload.headline == OFFSET_CALIBRATED
    calibration = training[: workload.offset_calibration_images] if again else None
    values = evaluate_grid(workload, images, labels, cells, calibration=calibration)
    grid = arrange(
        {**cell.as_dict(), "counts": cell.counts_when(workload.headline), "value": value}
        for cell, value in zip(cells, values, strict=True)
    )
    if grid.scores is None:
        raise UserError(f"no cell of {type(workload).__name__} counts, so that it has no score")
    axes: dict[str, list[float]] = {}
    for cell, value in zip(cells, values, strict=True):
        axes.setdefault(cell.axis, []).append(value)
    return {
        "score": float(grid.scores.mean()),
        **{axis: sum(v) / len(v) for axis, v in axes.items()},
        "clean": evaluate_clean(workload, images, labels),
    }


def run(job: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Trains one trial at every seed and measures it on the validation cells."""
    search, trial = job
    import torch

    torch.set_num_threads(1)
    started = time.perf_counter()
    runs = []
    for seed in search["seeds"]:
        found = run_seed(search, trial, seed)
        if isinstance(found, str):
            return {**trial, "score": None, "clean": None, "why": found}
        runs.append(found)
    names = runs[0].keys()
    return {
        **trial,
        **{name: sum(run[name] for run in runs) / len(runs) for name in names},
        "scores": [run["score"] for run in runs],
        "seconds": round(time.perf_counter() - started, 1),
    }


def split(search: dict[str, Any], seed: int) -> tuple[Any, tuple[Any, Any]]:
    """Training images of a search, and the images on which it chooses.

    The jobs of the searched workload keep the last `Tier.validation_images` training images out: a
    search chooses on these, so that no setting is chosen on what a job trains on.

    Args:
        search: The search file. ``holdout`` keeps more images out of the training than jobs do,
            ``train_images`` limits the others, ``validation_images`` those that are chosen on.
        seed: Seed of the data order.

    Returns:
        The data module, and images (N, ...) with labels (N,).

    Raises:
        UserError: If the tier holds no images out, or ``holdout`` is fewer than it does.
    """
    from pnnbench.data.datamodule import ImageDataModule

    cls = workload_class(search["workload"])
    tier = cls.tier(search["tier"])
    kept = tier.validation_images
    holdout = search.get("holdout", kept)
    if not 0 < kept <= holdout:
        raise UserError(
            f"holdout is {holdout}, and jobs of {search['workload']} at the tier "
            f"{search['tier']} keep {kept} images out of their training",
            allowed="at least as many as the jobs, of a tier that keeps some out",
            next_step="remove holdout from the search file, or take another tier",
        )
    data = ImageDataModule(
        cls.data,
        batch_size=tier.batch_size,
        seed=seed,
        holdout=holdout,
        limit_train=search.get("train_images", tier.train_images),
    )
    images, labels = (part[-kept:] for part in data.validation_tensors())
    count = search.get("validation_images")
    return data, (images[:count], labels[:count])


def run_seed(search: dict[str, Any], trial: dict[str, Any], seed: int) -> dict[str, float] | str:
    """Trains one trial at one seed; returns its figures, or why there are none."""
    from pnnbench.registry import method_class
    from pnnbench.running.training import DivergedError, fit
    from pnnbench.seeds import validation_devices

    cls = workload_class(search["workload"])
    data, (images, labels) = split(search, seed)
    workload = cls(seed)
    method = method_class(trial["method"])(**trial["params"])
    method.seed = seed
    try:
        fit(workload, method, data, epochs=search["epochs"])
    except DivergedError as error:
        return str(error)
    training = data.train_tensors()[0]
    # A method in situ takes its statistics on the device that it has trained on, as its jobs do.
    device = None if method.access == "in_silico" else workload.training_device(seed)
    images_to_calibrate = training[: cls.tier(search["tier"]).calibration_images]
    workload.calibrate(images_to_calibrate, device=device)
    cells = validation_cells(workload, search["tier"], validation_devices(search["devices"]))
    return figures(workload, images, labels, cells, training)


def recorded(path: Path) -> list[dict[str, Any]]:
    """Trials of the record of an earlier search, each with its setting."""
    if not path.exists():
        return []
    record = json.loads(path.read_text())
    setting = {k: v for k, v in record["search"].items() if k != "rows"}
    return [{**trial, "setting": setting} for trial in record["trials"]]


def main() -> None:
    """Runs the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if not args.search.is_file():
        raise UserError(f"{args.search}: there is no such file", allowed="benchmarks/search/*.yaml")
    search = yaml.safe_load(args.search.read_text())
    load(workload_class(search["workload"]).data)  # an error before any work if it is not there
    setting = {k: v for k, v in search.items() if k != "rows"}
    # Finished trials are kept one per line, so that an interrupted search goes on; those of the
    # record stand, so that a row can be added.
    log, path = args.search.with_suffix(".jsonl"), args.search.with_suffix(".json")
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done += recorded(path)
    kept = {identity(result): result for result in done if result["setting"] == setting}
    wanted = trials(search)
    jobs = [(search, trial) for trial in wanted if identity(trial) not in kept]
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.workers, maxtasksperchild=4) as pool, log.open("a") as file:
        for result in pool.imap(run, jobs):
            result["setting"] = setting
            kept[identity(result)] = result
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(f"{len(kept)}/{len(wanted)}", json.dumps(result), flush=True)
    results = [
        {k: v for k, v in kept[identity(trial)].items() if k != "setting"} for trial in wanted
    ]
    best = {}
    for label in search["rows"]:
        row = [r for r in results if r["label"] == label and r["score"] is not None]
        if not row:
            raise UserError(f"every trial of {label} diverged")
        best[label] = max(row, key=lambda r: r["score"])
    record = {"search": search, "best": best, "trials": results}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(path)
    log.unlink(missing_ok=True)


if __name__ == "__main__":
    run_script(main)
