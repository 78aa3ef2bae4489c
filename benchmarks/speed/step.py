"""Training steps of the microring LeNet: Trainer and callback against a plain loop, SAT against BP.

Run: python benchmarks/speed/step.py [--steps 200] [--rounds 5]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import interleaved, report

from pnnbench.data.datamodule import DataModule
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.nat import NAT
from pnnbench.methods.pruning import OpticalPruning
from pnnbench.methods.sat import SAT
from pnnbench.running.training import fit
from pnnbench.script import run_script
from pnnbench.workloads.mrr import MRRMNIST


def plain(data: DataModule) -> None:
    """The same training written by hand: same network, data, Adam, cosine schedule and limits."""
    network = MRRMNIST(0).network.train()
    controls = [p for n, p in network.named_parameters() if n.endswith("current")]
    digital = [p for n, p in network.named_parameters() if not n.endswith("current")]
    optimizer = torch.optim.Adam(
        [{"params": controls, "lr": 0.02}, {"params": digital, "lr": 1e-3}]
    )
    batches = list(data.train_batches(0))
    images, labels = data.train_tensors()
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / len(batches)))
    )
    for index in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(images[index]), labels[index]).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for p in controls:
                p.clamp_(0.0, 5.0)


def through_trainer(method: Callable[[], TrainingMethod], data: DataModule) -> None:
    """One epoch through Trainer and callback."""
    fit(MRRMNIST(0), method(), data, epochs=1)


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    data = DataModule("mnist", batch_size=64, limit_train=64 * args.steps)
    data.train_tensors()
    variants: dict[str, Callable[[], object]] = {
        "plain loop": lambda: plain(data),
        "Trainer + BP": lambda: through_trainer(BP, data),
    }
    times = interleaved(variants, args.rounds)
    report(
        f"{args.steps} steps of LeNet-5, batch 64", times, "plain loop", {"Trainer + BP": "<= 1.10"}
    )
    methods: dict[str, Callable[[], object]] = {
        "BP": lambda: through_trainer(BP, data),
        "SAT": lambda: through_trainer(SAT, data),
        "NAT": lambda: through_trainer(NAT, data),
        "optical pruning": lambda: through_trainer(OpticalPruning, data),
    }
    times = interleaved(methods, args.rounds)
    report("the same by method", times, "BP", {"SAT": "<= 2.0"})


if __name__ == "__main__":
    run_script(main)
