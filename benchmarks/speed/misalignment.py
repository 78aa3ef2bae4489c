"""Misaligned weights in free space against torchvision's affine on the modulator images.

Both sides start from the weights of `freespace-mnist` and end at the weights that the light of each
input meets, layer by layer. The other side is what one would write with torchvision: draw the
modulator images, warp them, read the tiles back, average the two columns of a weight. Results are
compared in the same run.
Run: python benchmarks/speed/misalignment.py [--rounds 5] [--images 1000]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable
from functools import partial

import torch
from common import interleaved, report
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, affine

from pnnbench.data import DataModule, load
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.script import run_script
from pnnbench.workloads.base import Workload
from pnnbench.workloads.freespace import FreeSpaceMNIST
from pnnbench.workloads.grid import Cell

#: Environments in one `operate`, as in the harness.
CHUNK = 10
#: Largest difference between the two sides, weights being -1 to 1.
TOLERANCE = 1e-4


def draw(layer: FreeSpaceLayer, weight: Tensor) -> Tensor:
    """Modulator images (images, rows, columns) that show a weight matrix."""
    layout = layer.layout
    (cy, cx), (ty, tx) = layout.cell, layout.tile
    y, x = (cy - ty) // 2, (cx - tx) // 2
    images = -(-len(weight) // layout.per_image)
    shown = weight.new_zeros(images * layout.per_image, cy, cx)
    shown[: len(weight), y : y + ty, x : x + tx] = weight.view(-1, ty, tx)
    cells = shown.view(images, *layout.cells, cy, cx).transpose(2, 3)
    columns = cells.repeat_interleave(layout.column_pixels, dim=-1)
    return columns.reshape(images, *layout.shape)


def warped(layer: FreeSpaceLayer, images: Tensor, environment: MisalignmentEnvironment) -> Tensor:
    """Weights that stand where those of the aligned layer stood, from images that are warped.

    Args:
        layer: The layer.
        images: Modulator images (images, rows, columns), which share one grid of positions, or
            (images, 1, rows, columns), for each of which torchvision makes its own.
        environment: The misalignment.

    Returns:
        (out_features, in_features).
    """
    e, layout = environment, layer.layout
    bilinear = InterpolationMode.BILINEAR
    shift = [e.shift_x_px, e.shift_y_px]
    # A tensor may be shifted by fractions of pixels, although the signature asks for integers.
    moved = affine(images, e.rotation_deg, shift, e.scale, [0.0, 0.0], interpolation=bilinear)
    (cy, cx), (ty, tx) = layout.cell, layout.tile
    y, x = (cy - ty) // 2, (cx - tx) // 2
    tiles = moved.view(len(images), layout.cells[0], cy, layout.cells[1], cx, layout.column_pixels)
    tiles = tiles[:, :, y : y + ty, :, x : x + tx].mean(-1)
    return tiles.transpose(2, 3).reshape(-1, ty * tx)[: len(layer.weight)]


def by_affine(
    layers: list[FreeSpaceLayer],
    environments: list[MisalignmentEnvironment],
    drawn_once: bool = False,
    as_batch: bool = False,
) -> list[list[Tensor]]:
    """Weights of each layer in each environment with torchvision, environment by environment.

    Args:
        layers: The layers.
        environments: The environments.
        drawn_once: Whether to draw the images for all environments at once, not for each.
        as_batch: Whether images are a batch, not channels of one image.
    """

    def images(layer: FreeSpaceLayer) -> Tensor:
        drawn = draw(layer, layer.weight)
        return drawn[:, None] if as_batch else drawn

    kept = [images(layer) for layer in layers] if drawn_once else None
    found = []
    for environment in environments:
        now = kept or [images(layer) for layer in layers]
        found.append([warped(layer, i, environment) for layer, i in zip(layers, now, strict=True)])
    return [list(weights) for weights in zip(*found, strict=True)]


def by_operate(
    workload: Workload, environments: list[MisalignmentEnvironment], per: int
) -> list[list[Tensor]]:
    """The same with the project's layers, ``per`` environments at once."""
    layers = workload.layers().values()
    found: list[list[Tensor]] = [[] for _ in layers]
    for i in range(0, len(environments), per):
        chosen = environments[i : i + per]
        with operate(workload.network, [Condition(Device.ideal(), e) for e in chosen]):
            for layer, weights in zip(layers, found, strict=True):
                transfer = layer.transfer()
                weights.extend(transfer if len(chosen) > 1 else [transfer])
    return found


def without_gradient(run: Callable[[], object]) -> None:
    """Runs without recording gradients."""
    with torch.no_grad():
        run()


def largest_difference(a: list[list[Tensor]], b: list[list[Tensor]]) -> float:
    """Largest absolute difference between weights of two sides."""
    pairs = [zip(x, y, strict=True) for x, y in zip(a, b, strict=True)]
    return max(float((x - y).detach().abs().max()) for pair in pairs for x, y in pair)


def check(difference: float, what: str) -> None:
    """Stops if two sides differ, else prints by how much.

    Raises:
        RuntimeError: If they differ by more than `TOLERANCE`.
    """
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{what} differ by {difference:.1e}, more than {TOLERANCE:.0e}")
    print(f"  {what} agree to {difference:.1e}")


def whole_grid(
    workload: Workload, environments: list[MisalignmentEnvironment], rounds: int
) -> None:
    """All misaligned weights of the grid, without gradient."""
    layers = list(workload.layers().values())
    sides: dict[str, Callable[[], list[list[Tensor]]]] = {
        "torchvision": partial(by_affine, layers, environments),
        "torchvision, images drawn once": partial(by_affine, layers, environments, drawn_once=True),
        "torchvision, images as a batch": partial(by_affine, layers, environments, as_batch=True),
        "one operate each": partial(by_operate, workload, environments, 1),
        f"operate, {CHUNK} at once": partial(by_operate, workload, environments, CHUNK),
        "operate, all at once": partial(by_operate, workload, environments, len(environments)),
    }
    times = interleaved({n: partial(without_gradient, s) for n, s in sides.items()}, rounds)
    aims = {f"operate, {CHUNK} at once": "<= 0.25", "operate, all at once": "<= 0.25"}
    title = f"weights of both layers in {len(environments)} environments, no gradient"
    report(title, times, "torchvision", aims)
    with torch.no_grad():
        expected = sides.pop("torchvision")()
        for name, side in sides.items():
            check(largest_difference(expected, side()), f"torchvision and {name!r}")


def one_environment(
    workload: Workload, environment: MisalignmentEnvironment, rounds: int, times_each: int = 20
) -> None:
    """Forward and backward of both layers in one environment, as a training step needs it."""
    layers = list(workload.layers().values())
    leaves = [layer.weight for layer in layers]
    probes = [torch.randn_like(leaf) for leaf in leaves]

    def step(side: Callable[[], list[list[Tensor]]]) -> tuple[list[list[Tensor]], list[Tensor]]:
        outputs = side()
        gradients = torch.autograd.grad([weights[0] for weights in outputs], leaves, probes)
        return outputs, list(gradients)

    def repeated(side: Callable[[], list[list[Tensor]]]) -> None:
        for _ in range(times_each):
            step(side)

    sides: dict[str, Callable[[], list[list[Tensor]]]] = {
        "torchvision": partial(by_affine, layers, [environment]),
        "operate": partial(by_operate, workload, [environment], 1),
    }
    times = interleaved({n: partial(repeated, s) for n, s in sides.items()}, rounds)
    report(
        f"forward and backward of both layers in 1 environment, {times_each} times",
        times,
        "torchvision",
    )
    outputs, gradients = zip(*(step(side) for side in sides.values()), strict=True)
    check(largest_difference(*outputs), "weights")
    scale = max(float(g.abs().max()) for g in gradients[0])
    difference = largest_difference(*([[g] for g in side] for side in gradients))
    check(difference / scale, "gradients, relative to the largest,")


def growth(
    workload: Workload, rounds: int, counts: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
) -> None:
    """Time for each environment against the number of environments at once."""
    generator = torch.Generator().manual_seed(0)
    z = (2 * torch.rand(max(counts), 4, generator=generator) - 1).tolist()
    place = MisalignmentEnvironment
    environments = [place(2 * a, 2 * b, 2 * c, 1 + 0.1 * d) for a, b, c, d in z]
    variants = {
        f"{n} at once": partial(without_gradient, partial(by_operate, workload, environments, n))
        for n in counts
    }
    times = interleaved(variants, rounds)
    print(f"growth with the number at once: {max(counts)} environments, no gradient")
    for name, values in times.items():
        each = [1e3 * v / max(counts) for v in values]
        ratios = [v / b for v, b in zip(values, times[f"{counts[0]} at once"], strict=True)]
        print(
            f"  {name:<34}{statistics.median(each):9.3f} ms CPU for each ({min(each):.2f} to"
            f" {max(each):.2f})   x{statistics.median(ratios):.2f} of {counts[0]} at once"
        )


def evaluation(workload: FreeSpaceMNIST, data: DataModule, images: int, rounds: int) -> None:
    """The whole standard grid on test images: the harness against one cell at a time."""
    workload.calibrate(data.train_tensors()[0][:1000])
    x, y = (t[:images] for t in data.test_tensors())
    cells: list[Cell] = workload.perturbation_grid("standard")
    found: dict[str, list[float]] = {}

    def run(name: str, per: int) -> None:
        found[name] = evaluate_grid(workload, x, y, cells, cells_per_batch=per)

    base = "harness, 1 cell at once"
    manners = {base: 1, f"harness, {CHUNK} at once": CHUNK}
    times = interleaved({name: partial(run, name, per) for name, per in manners.items()}, rounds)
    report(f"evaluation of {workload.name}: {len(cells)} cells, {len(x)} images", times, base)
    different = max(abs(a - b) for a, b in zip(*found.values(), strict=True))
    print(f"  accuracies agree to {different:.1e}")


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    data = DataModule(load(FreeSpaceMNIST.data))
    torch.manual_seed(0)
    workload = FreeSpaceMNIST(0)
    trained = {k: v.clone() for k, v in workload.state_dict().items()}
    for layer in workload.layers().values():
        torch.nn.init.uniform_(layer.weight, -1.0, 1.0)
    grid = [c.environment for c in workload.perturbation_grid("standard") if c.device_seed is None]
    environments = [e for e in grid if isinstance(e, MisalignmentEnvironment)]
    joint = dataclasses.replace(environments[0], rotation_deg=1.3, shift_y_px=-0.7, scale=1.03)
    whole_grid(workload, environments, args.rounds)
    one_environment(workload, joint, args.rounds)
    growth(workload, args.rounds)
    workload.load_state_dict(trained)
    evaluation(workload, data, args.images, max(1, args.rounds // 2))


if __name__ == "__main__":
    run_script(main)
