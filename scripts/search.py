"""Searches hyper-parameters with one budget for all rows and writes the record of the search.

Usage: python scripts/search.py benchmarks/search/NAME.yaml [--workers 2]
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import yaml


def trials(search: dict[str, Any]) -> list[dict[str, Any]]:
    """Expands the search file to trials: row label, method and hyper-parameters."""
    found = []
    for label, row in search["rows"].items():
        names = list(row["grid"])
        for values in itertools.product(*row["grid"].values()):
            params = {**row.get("params", {}), **dict(zip(names, values, strict=True))}
            for name, source in row.get("tie", {}).items():
                params[name] = params[source]
            found.append({"label": label, "method": row["method"], "params": params})
    return found


def identity(trial: dict[str, Any]) -> str:
    """Names a trial by its row and hyper-parameters."""
    return json.dumps([trial["label"], trial["params"]], sort_keys=True)


def run(job: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """Trains one trial and measures it on the validation cells."""
    search, trial = job
    import torch

    from pnnbench.data.datamodule import ImageDataModule
    from pnnbench.evaluation.harness import evaluate_clean, evaluate_grid
    from pnnbench.platforms.mrr import MRREnvironment
    from pnnbench.registry import method_class, workload_class
    from pnnbench.training import DivergedError, fit
    from pnnbench.workloads.grid import device_axis, environment_axis

    torch.set_num_threads(1)
    cls = workload_class(search["workload"])
    data = ImageDataModule(
        cls.data,
        batch_size=64,
        seed=search["seed"],
        holdout=search["holdout"],
        limit_train=search["train_images"],
    )
    workload = cls(search["seed"])
    method = method_class(trial["method"])(**trial["params"])
    method.seed = search["seed"]
    started = time.perf_counter()
    try:
        fit(workload, method, data, epochs=search["epochs"])
    except DivergedError as error:
        return {**trial, "score": None, "clean": None, "why": str(error)}
    workload.calibrate(data.train_tensors()[0][:10_000])
    images, labels = (t[: search["validation_images"]] for t in data.validation_tensors())
    # Validation devices: below the first test device, never used in training.
    devices = [500_000 + i for i in range(search["devices"])]
    nominal = MRREnvironment()
    shifts = [(d, MRREnvironment(nominal.temperature_degc + d)) for d in (-0.25, -0.15, 0.15, 0.25)]
    cells = device_axis((0.1, 0.25, 0.5, 1.0), devices, nominal)
    cells += environment_axis("temperature_fine", "degC", shifts, 0.1, devices)
    values = evaluate_grid(workload, images, labels, cells)
    n = 4 * len(devices)
    device, temperature = sum(values[:n]) / n, sum(values[n:]) / (len(values) - n)
    return {
        **trial,
        "score": (device + temperature) / 2,
        "device": device,
        "temperature": temperature,
        "clean": evaluate_clean(workload, images, labels),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """Runs the search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    search = yaml.safe_load(args.search.read_text())
    setting = {k: v for k, v in search.items() if k != "rows"}
    # Finished trials are kept one per line, so that an interrupted search goes on.
    log = args.search.with_suffix(".jsonl")
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
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
            sys.exit(f"every trial of {label} diverged")
        best[label] = max(row, key=lambda r: r["score"])
    record = {"search": search, "best": best, "trials": results}
    path = args.search.with_suffix(".json")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(path)
    log.unlink()


if __name__ == "__main__":
    main()
