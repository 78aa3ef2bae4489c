"""A ResNet-18 on microrings on one device: steps, precisions, memory formats, the grid.

    python benchmarks/speed/accelerator.py --accelerator cuda --width 64

Prints milliseconds a step of BP and SAT at 128 images of 32 x 32 pixels, in each precision and with
channels first and last, and beside it the same network with plain convolutions; and the images per
second of a grid of ten cells, measured together and one by one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pnnbench.accelerator import choose, describe, synchronised
from pnnbench.data import Arrays
from pnnbench.data.base import DataSet
from pnnbench.evaluation.harness import measure_grid
from pnnbench.methods.bp import BP
from pnnbench.methods.sat import SAT
from pnnbench.script import run_script
from pnnbench.workloads.base import Tier
from pnnbench.workloads.image_networks import ResNet
from pnnbench.workloads.mrr_images import ResNetOnRings
from pnnbench.workloads.tiers import DIGITS_TIERS

BATCH = 128


class Noise(DataSet):
    """Images without a meaning, of the size of CIFAR-10."""

    name = "noise"
    input_shape = (3, 32, 32)
    n_classes = 10

    def load(self, root: Any = None, download: bool = False) -> Arrays:
        """Ten images a side."""
        images, labels = torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10)
        return Arrays(self.name, images, labels, images, labels)


class Rings(ResNetOnRings):
    """ResNet-18 on rings."""

    name = "speed"
    data: ClassVar[Any] = Noise()
    blocks = (2, 2, 2, 2)
    tiers: ClassVar[Mapping[str, Tier]] = DIGITS_TIERS


def plain_conv(inside: int, outside: int, kernel: int, *, stride: int, padding: int) -> nn.Module:
    """A convolution in the place of one on rings."""
    return nn.Conv2d(inside, outside, kernel, stride, padding, bias=False)


def milliseconds(work: Callable[[], Any], place: torch.device, repeats: int) -> float:
    """The least time of a call, after one that is not counted."""
    work()
    synchronised(place)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        synchronised(place)
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    place = choose(options.accelerator)
    print(describe(place) or "cpu", "width", options.width)
    Rings.width = options.width
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, 32, 32, generator=generator).to(place)
    y = torch.randint(10, (BATCH,), generator=generator).to(place)

    def cast(kind: torch.dtype | None) -> Any:
        return nullcontext() if kind is None else torch.autocast(place.type, kind)

    for last in (False, True):
        for kind in (None, torch.bfloat16):
            form = torch.channels_last if last else torch.contiguous_format
            network = ResNet(plain_conv, nn.Linear, options.width).to(place, memory_format=form)
            shown = x.contiguous(memory_format=form)

            def bare(net: nn.Module = network, kind: Any = kind, shown: Tensor = shown) -> None:
                with cast(kind):
                    loss = nn.functional.cross_entropy(net(shown), y)
                loss.backward()

            found = {"plain convolutions": milliseconds(bare, place, options.repeats)}
            Rings.channels_last = last
            for method in (BP(), SAT()):
                workload = Rings(0).to(place)

                def step(workload: Any = workload, method: Any = method, kind: Any = kind) -> None:
                    with cast(kind):
                        loss = method.loss(workload, (x, y))
                    loss.backward()

                found[type(method).__name__] = milliseconds(step, place, options.repeats)
            words = ", ".join(f"{name} {value:.1f} ms" for name, value in found.items())
            ratio = found["BP"] / found["plain convolutions"]
            print(f"channels {'last' if last else 'first'}, {kind or 'float32'}: {words};", end=" ")
            print(f"BP / plain {ratio:.2f}, SAT / BP {found['SAT'] / found['BP']:.2f}")
        workload = Rings(0).to(place)
        images = torch.rand(options.images, 3, 32, 32, generator=generator)
        labels = torch.randint(10, (options.images,), generator=generator)
        workload.calibrate(images[:100])
        cells = workload.perturbation_grid("smoke")[-10:]
        for per in (None, 1):

            def grid(sample: Any = (workload, images, labels, cells), per: Any = per) -> None:
                measure_grid(*sample, cells_per_batch=per)

            spent = milliseconds(grid, place, 1)
            print(f"grid, {per or 'ten'} at once: {1e4 * options.images / spent:.0f} images/s")


if __name__ == "__main__":
    run_script(main)
