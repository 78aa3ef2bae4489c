"""Training steps of small networks: norm, ReLU and pooling in one pass in C, and by the library.

Run: python benchmarks/speed/pooling.py [--steps 100] [--rounds 5]
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
import torch.nn.functional as F
from common import interleaved, report
from torch import nn

from pnnbench.data.datamodule import DataModule
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.sat import SAT
from pnnbench.running.resources import keep_memory
from pnnbench.running.training import fit
from pnnbench.script import run_script
from pnnbench.workloads import networks, pooling_op
from pnnbench.workloads.mrr import MRRMNIST
from pnnbench.workloads.mzi import MZIMNIST


def block(shape: tuple[int, ...], steps: int, *, compiled: bool) -> None:
    """Forward and back through one block."""
    x, norm = torch.randn(shape).requires_grad_(), nn.BatchNorm2d(shape[1])
    grad = torch.randn(*shape[:2], shape[2] // 2, shape[3] // 2)
    for _ in range(steps):
        y = pooling_op.norm_pool(norm, x) if compiled else None
        y = F.max_pool2d(F.relu(norm(x)), 2) if y is None else y
        torch.autograd.grad(y, (x, norm.weight, norm.bias), grad)


def training(
    workload: type[MRRMNIST | MZIMNIST],
    method: type[TrainingMethod],
    data: DataModule,
    *,
    compiled: bool,
) -> None:
    """One epoch through Trainer and callback."""
    kept = networks.norm_pool
    if not compiled:
        networks.norm_pool = lambda norm, x: None
    try:
        fit(workload(0), method(), data, epochs=1)
    finally:
        networks.norm_pool = kept


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if pooling_op.missing():
        raise SystemExit(f"nothing to compare: {pooling_op.missing()}")
    keep_memory()
    ways = {"library": False, "in C": True}
    for shape in ((64, 6, 28, 28), (64, 16, 10, 10), (64, 8, 8, 8)):
        variants = {k: partial(block, shape, args.steps, compiled=c) for k, c in ways.items()}
        times = interleaved(variants, args.rounds)
        report(f"{args.steps} passes of {shape}", times, "library")
    data = DataModule("mnist", batch_size=64, limit_train=64 * args.steps)
    data.train_tensors()
    for workload in (MRRMNIST, MZIMNIST):
        for method in (BP, SAT):
            variants = {
                k: partial(training, workload, method, data, compiled=c) for k, c in ways.items()
            }
            times = interleaved(variants, args.rounds)
            report(f"{args.steps} steps of {workload.name}, {method.__name__}", times, "library")


if __name__ == "__main__":
    run_script(main)
