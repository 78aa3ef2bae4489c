"""Many devices at once: how a convolution with one kernel bank per device is computed fastest.

Run: python benchmarks/speed/conditions.py [--rounds 5]
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from common import interleaved, report
from torch import Tensor

from pnnbench.script import run_script


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    devices, images = 5, 50
    for name, (c, size, out, padding) in {
        "conv1 1-6": (1, 28, 6, 2),
        "conv2 6-16": (6, 14, 16, 0),
    }.items():
        x = torch.randn(devices, images, c, size, size)
        w = torch.randn(devices, out, c, 5, 5)

        def stacked(x: Tensor = x, w: Tensor = w, padding: int = padding) -> None:
            for _ in range(40):
                torch.stack([F.conv2d(a, b, padding=padding) for a, b in zip(x, w, strict=True)])

        def grouped(x: Tensor = x, w: Tensor = w, padding: int = padding) -> None:
            for _ in range(40):
                channels = x.transpose(0, 1).flatten(1, 2)
                y = F.conv2d(channels, w.flatten(0, 1), padding=padding, groups=devices)
                y.unflatten(1, (devices, -1)).transpose(0, 1).contiguous()

        with torch.no_grad():
            times = interleaved(
                {"one call per device": stacked, "one grouped call": grouped}, args.rounds
            )
        report(f"{name}, {devices} devices, {images} images", times, "one call per device")


if __name__ == "__main__":
    run_script(main)
