"""Products with the Hessian over the controls, against plain double backward through torch.

Graphs of gradients are kept in both ways, as they are in a job.
Run: python benchmarks/speed/hessian.py [--products 20] [--rounds 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from common import interleaved, report

from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.registry import workload_class
from pnnbench.running.resources import keep_memory
from pnnbench.script import run_script
from pnnbench.workloads.base import Workload

#: Workload -> images, shape of one, images of a chunk.
SAMPLES = {
    "mrr-mnist": (1000, (1, 28, 28), 250),
    "mzi-mnist": (1000, (1, 28, 28), 250),
    "mrr-cifar10-w16": (64, (3, 32, 32), 32),
    "mrr-cifar10-autoencoder": (128, (3, 32, 32), 32),
}


def products(hessian: ControlHessian, vector: torch.Tensor, count: int) -> None:
    """Some products; the first builds the graphs, which are not kept for the next round."""
    for _ in range(count):
        hessian.product(vector)
    hessian.release()


def compare(
    workload: Workload, sample: tuple[int, tuple[int, ...], int], count: int, rounds: int
) -> None:
    """Prints the ratio for one workload."""
    images, shape, chunk = sample
    x = torch.rand(images, *shape)
    y = x if workload.name.endswith("autoencoder") else torch.arange(images) % 10
    with deployed(workload, digital=True):
        variants: dict[str, Callable[[], object]] = {}
        for name, plain in (("double backward", True), ("cheap", False)):
            hessian = ControlHessian(workload, x, y, chunk=chunk, plain=plain)
            vector = torch.linspace(-1.0, 1.0, hessian.size, dtype=torch.float64)
            variants[name] = partial(products, hessian, vector, count)
        times = interleaved(variants, rounds)
    title = f"{count} products of {workload.name}, {images} images"
    report(title, times, "double backward")


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    for name, sample in SAMPLES.items():
        torch.manual_seed(0)
        compare(workload_class(name)(0), sample, args.products, args.rounds)


if __name__ == "__main__":
    run_script(main)
