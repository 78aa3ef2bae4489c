"""What a training step of a small network costs beside its computing, through the real path.

The time of a step is the slope between a short and a long training, so that what a Trainer costs
once is left out. Computing is the forward and the backward pass of the same batches alone. The
usual Trainer is Lightning as it comes, with torch's Adam.
Run: python benchmarks/speed/fixed.py [--steps 600] [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from common import interleaved

from pnnbench.data import DataModule, load
from pnnbench.methods import base
from pnnbench.registry import method_class, workload_class
from pnnbench.running.resources import keep_memory
from pnnbench.running.training import RunState, TrainingData, fit, quiet
from pnnbench.script import run_script
from pnnbench.workloads.base import Workload

#: Workload, method, images of a batch.
CASES = (
    ("freespace-mnist", "bp", 64),
    ("freespace-mnist", "random-environment", 64),
    ("mrr-digits", "bp", 32),
    ("mrr-digits", "sat", 32),
)


def computing(workload: Workload, method: Any, data: DataModule, epochs: int) -> None:
    """The loss of each batch and its gradient, nothing else."""
    images, labels = data.train_tensors()
    workload.train()
    method.attach(workload)
    workload.__dict__["_trainer"] = None
    parameters = [p for p in workload.parameters() if p.requires_grad]
    for epoch in range(epochs):
        for index in data.train_batches(epoch):
            method.calls += 1
            batch = images[index], labels[index]
            torch.autograd.grad(method.loss(workload, batch), parameters)


def usual(workload: Workload, method: Any, data: DataModule, epochs: int) -> None:
    """Lightning's Trainer as it comes, with torch's Adam."""
    ours, base.Adam = base.Adam, torch.optim.Adam  # type: ignore[misc]
    filled = torch.utils.deterministic
    filled.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    try:
        with quiet():
            trainer = pl.Trainer(
                max_epochs=epochs,
                callbacks=[RunState(), method],
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                deterministic=True,
            )
            trainer.fit(workload, datamodule=TrainingData(data))
    finally:
        base.Adam = ours  # type: ignore[misc]
        filled.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def through_fit(workload: Workload, method: Any, data: DataModule, epochs: int) -> None:
    """The project's own path."""
    fit(workload, method, data, epochs=epochs)


WAYS: dict[str, Callable[[Workload, Any, DataModule, int], None]] = {
    "computing": computing,
    "usual Trainer": usual,
    "fit": through_fit,
}


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    keep_memory()
    for name, method, size in CASES:
        cls, images = workload_class(name), load(workload_class(name).data)
        sets = {
            steps: DataModule(images, batch_size=size, limit_train=min(size * steps, 1400))
            if name.endswith("digits")
            else DataModule(images, batch_size=size, limit_train=size * steps)
            for steps in (args.steps // 4, args.steps)
        }
        epochs = {s: max(1, s // len(d.train_batches(0))) for s, d in sets.items()}
        steps = {s: epochs[s] * len(d.train_batches(0)) for s, d in sets.items()}

        def run(way: str, length: int, cls: Any = cls, method: str = method, **kept: Any) -> None:
            sets, epochs = kept["sets"], kept["epochs"]
            WAYS[way](cls(0), method_class(method)(), sets[length], epochs[length])

        variants = {
            f"{way} {length}": partial(run, way, length, sets=sets, epochs=epochs)
            for way in WAYS
            for length in sets
        }
        times = interleaved(variants, args.rounds)
        short, long = sorted(sets)
        each = {
            way: [
                1e3 * (b - a) / (steps[long] - steps[short])
                for a, b in zip(times[f"{way} {short}"], times[f"{way} {long}"], strict=True)
            ]
            for way in WAYS
        }
        middle = {way: statistics.median(values) for way, values in each.items()}
        before, after = (middle[w] - middle["computing"] for w in ("usual Trainer", "fit"))
        print(f"{name}, {method}, batch {size}: ms for each step")
        print("  " + ", ".join(f"{way} {value:.2f}" for way, value in middle.items()))
        print(f"  beside the computing {before:.2f} -> {after:.2f}: x{after / before:.2f}")


if __name__ == "__main__":
    run_script(main)
