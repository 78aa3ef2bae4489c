"""Propagation against torchoptics, fixed optics as matrices, and the diffractive training step.

torchoptics (MIT) comes with the dev extra. It takes its padding in samples on each side; both sides
here transform planes of the same size.
Run: python benchmarks/speed/propagation.py [--rounds 5] [--batch 64]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from common import interleaved, report
from torch import Tensor, nn
from torchoptics import Field

from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.diffractive import Detectors, DiffractiveStack
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.platforms.propagation import FreeSpace
from pnnbench.script import run_script
from pnnbench.workloads.diffractive import (
    FOCAL,
    FROM_MASK,
    ROWS,
    TO_DETECTORS,
    TO_LENS,
    TO_MASK,
    DiffractiveMNIST,
    optics,
)

WAVELENGTH_NM, DISTANCE_MM = 532.0, 2.0
#: Samples along a side and sample distance in um.
WINDOWS = ((128, 2.0), (64, 4.0))
#: Largest difference in complex128, relative to the largest value. torchoptics in complex64
#: computes the phase of its transfer function in single precision and is off by some 4e-3.
TOLERANCE = 1e-9
#: The same for optics in complex64 against complex128.
TOLERANCE_SINGLE = 1e-5


def field(batch: int, n: int, dtype: torch.dtype) -> Tensor:
    """Random fields that require gradients."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(batch, n, n, 2, dtype=torch.float64, generator=generator)
    return torch.view_as_complex(drawn).to(dtype).requires_grad_()


def by_torchoptics(data: Tensor, pixel_um: float, padding: int) -> Tensor:
    """The field behind the gap, computed by torchoptics in the precision of ``data``."""
    real = data.real.dtype
    spacing = torch.full((2,), pixel_um * 1e-6, dtype=real)
    before = Field(data, torch.tensor(WAVELENGTH_NM * 1e-9, dtype=real), 0.0, spacing)
    aside = (padding - 1) * data.shape[-1] // 2
    behind = before.propagate_to_z(
        DISTANCE_MM * 1e-3, propagation_method="ASM", asm_pad=(aside, aside)
    )
    return behind.data


def forward_backward(
    run: Callable[[Tensor], Tensor], data: Tensor, probe: Tensor
) -> tuple[Tensor, Tensor]:
    """Output, and gradient of its product with ``probe``."""
    output = run(data)
    (gradient,) = torch.autograd.grad(output, data, probe)
    return output.detach(), gradient


def check(one: Tensor, other: Tensor, tolerance: float, what: str) -> None:
    """Stops if two results differ, else prints by how much relative to the largest value.

    Raises:
        RuntimeError: If they differ by more than the tolerance.
    """
    difference = float((one - other).abs().max() / other.abs().max())
    if not difference <= tolerance:
        raise RuntimeError(f"{what}: {difference:.1e}, more than {tolerance:.0e}")
    print(f"  {what}: agree to {difference:.1e}")


def against_torchoptics(batch: int, rounds: int) -> None:
    """Forward and backward of one gap on both sides."""
    for n, pixel_um in WINDOWS:
        for padding in (1, 2):
            sides: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {}
            for dtype in (torch.complex64, torch.complex128):
                data = field(batch, n, dtype)
                probe = field(batch, n, dtype).detach().flip(0)
                gap = FreeSpace(n, pixel_um, WAVELENGTH_NM, DISTANCE_MM, padding, dtype)
                theirs = partial(by_torchoptics, pixel_um=pixel_um, padding=padding)
                name = str(dtype).removeprefix("torch.")
                sides[f"torchoptics, {name}"] = partial(forward_backward, theirs, data, probe)
                sides[f"FreeSpace, {name}"] = partial(forward_backward, gap, data, probe)
            times = interleaved(sides, rounds)
            quicker = min((f"torchoptics, complex{bits}" for bits in (64, 128)), key=_key(times))
            title = f"gap, batch {batch}, {n} x {n} at {pixel_um:g} um, padding {padding}"
            report(title, times, quicker, {"FreeSpace, complex64": "<= 0.5"})
            ours, theirs_now = sides["FreeSpace, complex128"](), sides["torchoptics, complex128"]()
            for a, b, what in zip(ours, theirs_now, ("fields", "gradients"), strict=True):
                check(a, b, TOLERANCE, f"{what} in complex128")
            single = sides["FreeSpace, complex64"]()
            check(single[0], theirs_now[0], TOLERANCE_SINGLE, "our complex64, their complex128")


def _key(times: dict[str, list[float]]) -> Callable[[str], float]:
    """Sorts names by their least time."""
    return lambda name: min(times[name])


def chain(elements: list[nn.Module], data: Tensor) -> Tensor:
    """The field behind elements that it meets one after the other."""
    for element in elements:
        data = element(data)
    return data


def matrices(batch: int, rounds: int) -> None:
    """Imaging and detectors of `diffractive-mnist` against the propagations that they replace."""
    n, pixel_um, side = DiffractiveMNIST.sampling
    plane, imaging, detectors = optics(n, pixel_um, side)

    def elements(dtype: torch.dtype) -> tuple[list[nn.Module], list[nn.Module]]:
        gap, lens = plane.gap, plane.lens
        return (
            [gap(TO_LENS, dtype), lens(FOCAL, dtype), gap(TO_MASK, dtype)],
            [gap(FROM_MASK, dtype), lens(FOCAL, dtype), gap(TO_DETECTORS, dtype)],
        )

    corners = tuple((r * n // 128, c * n // 128) for r, columns in ROWS for c in columns)
    pixels = Detectors(corners, side).pixels(n)
    amplitude = torch.rand(batch, n // 2, n // 2)
    edge = (n - n // 2) // 2

    def imaged(before: list[nn.Module]) -> Tensor:
        return chain(before, F.pad(amplitude, (edge,) * 4))

    def detected(behind: list[nn.Module], data: Tensor) -> Tensor:
        at = chain(behind, data).flatten(1)[:, pixels]
        return (at.real.square() + at.imag.square()).unflatten(1, (len(corners), -1)).sum(-1)

    before, behind = elements(torch.complex64)
    before_exact, behind_exact = elements(torch.complex128)
    times = interleaved(
        {"propagation": partial(imaged, before), "matrix": partial(imaging, amplitude)}, rounds
    )
    report(f"image to first mask, batch {batch}, forward", times, "propagation")
    reference = imaged(before_exact)
    check(imaging(amplitude), reference, TOLERANCE_SINGLE, "fields, complex64 and complex128")

    data = reference.to(torch.complex64).requires_grad_()
    probe = torch.rand(batch, len(corners))
    propagate = partial(detected, behind)
    times = interleaved(
        {
            "propagation": partial(forward_backward, propagate, data, probe),
            "matrix": partial(forward_backward, detectors, data, probe),
        },
        rounds,
    )
    report(f"last mask to detectors, batch {batch}, forward and backward", times, "propagation")
    exact = forward_backward(
        partial(detected, behind_exact), reference.detach().requires_grad_(), probe.double()
    )
    found = forward_backward(detectors, data, probe)
    for a, b, what in zip(found, exact, ("powers", "gradients"), strict=True):
        check(a, b, TOLERANCE_SINGLE, f"{what}, complex64 and complex128")


def training_step(batch: int, rounds: int) -> None:
    """A training step of `diffractive-mnist` and its parts; shares of the whole step."""
    torch.manual_seed(0)
    workload = DiffractiveMNIST(0).train()
    network = workload.network
    x, y = torch.rand(batch, 1, 28, 28), torch.randint(10, (batch,))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    stack = network.get_submodule("stack")
    if not isinstance(stack, DiffractiveStack):
        raise TypeError("the network has no diffractive stack")
    moved = [Condition(Device.ideal(), MisalignmentEnvironment(1.3, 0.4, -0.7, 1.01))]

    def step() -> None:
        optimizer.zero_grad()
        workload.loss(workload(x), (x, y)).backward()
        optimizer.step()

    def misaligned(run: Callable[[], object]) -> None:
        with operate(network, moved):
            run()

    before = network.prefix(x).detach()
    output = network.physical(before)
    loss = F.cross_entropy(output, y)
    mask = stack.ideal_weight().detach()[0]
    leaf = before.clone().requires_grad_()

    def back() -> None:
        torch.autograd.grad(loss, stack.phase, retain_graph=True)

    def both(module: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        out = module(leaf)
        return partial(forward_backward, module, leaf, torch.ones_like(out).detach())

    transmissions = mask.clone().requires_grad_()

    def through_mask(data: Tensor) -> Tensor:
        return data * transmissions

    variants: dict[str, Callable[[], object]] = {
        "whole step": step,
        "whole step, masks misaligned": partial(misaligned, step),
        "prefix": partial(network.prefix, x),
        "stack and logits, forward": partial(network.physical, before),
        "loss, backward": back,
        "update": optimizer.step,
        "one mask, both ways": both(through_mask),
        "one absorber, both ways": both(stack.absorber),
        "one gap, both ways": both(stack.gaps[0]),
        "detectors, both ways": both(stack.detector_plane),
    }
    times = interleaved(variants, rounds)
    report(f"training step of {workload.name}, batch {batch}", times, "whole step")


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    against_torchoptics(args.batch, args.rounds)
    matrices(args.batch, 4 * args.rounds)
    training_step(args.batch, 4 * args.rounds)


if __name__ == "__main__":
    run_script(main)
