"""Phases inside the range of a driver, with the same transfer.

The inner phase of an interferometer has the period 4 pi, since M(theta + 2 pi) = -M(theta): a sign
on both of its waveguides. M(-theta) = diag(-1, 1) M(theta) diag(1, -1) likewise is a matter of
signs. Signs move towards the input, into outer phases and input phases, whose period is 2 pi. So a
range of 2 pi takes any mesh; in a shorter one inner phases need pi, and outer and input phases are
cut where they lie outside.

Phases moved by 2 pi mean the same on every device. A phase that is turned into its negative, which
happens in ranges shorter than 2 pi, means the same on an ideal one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pnnbench.platforms.mesh import coupler_places

_TURN = 2.0 * math.pi


def wrapped(phase: Tensor, low: float) -> Tensor:
    """Phases of period 2 pi in [low, low + 2 pi); the same shape, in double precision."""
    phase = phase.detach().double()
    return phase - _TURN * torch.floor((phase - low) / _TURN)


def outer(phase: Tensor, low: float, high: float) -> Tensor:
    """Phases of period 2 pi in a range, or as near to it as they come."""
    found = wrapped(phase, low)
    nearer = (found > high) & (low + _TURN - found < found - high)
    return torch.where(nearer, found - _TURN, found)


def inner(theta: Tensor, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inner phases of period 4 pi as near to a range as signs allow.

    Args:
        theta: Inner phases in rad, any shape.
        low: Lower end of the range in rad.
        high: Upper end.

    Returns:
        Phases, whether each is that of -theta, and a sign, 1 or -1: M(theta) is the sign times M of
        the phase, with diag(-1, 1) before and diag(1, -1) behind it where it is that of -theta.
    """
    theta = theta.detach().double()
    plain, turned = wrapped(theta, low), wrapped(-theta, low)
    negative = (plain > high) & (turned <= high)
    found = torch.where(negative, turned, plain)
    turns = torch.round((torch.where(negative, -theta, theta) - found) / _TURN)
    return found, negative, 1.0 - 2.0 * (turns % 2)


def mesh_phases(
    theta: Tensor, phi: Tensor, gamma: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Phases of meshes in a range, as far as that leaves the transfer as it is.

    Args:
        theta: Inner phases (N, M) in rad.
        phi: Outer phases (N, M) in rad.
        gamma: Input phases (N, n) in rad.
        low: Lower end of the range in rad.
        high: Upper end; what cannot be brought below it stays beyond it.

    Returns:
        theta, phi and gamma of the same shapes, in double precision.
    """
    n = gamma.shape[-1]
    columns, tops = (torch.from_numpy(a) for a in coupler_places(n))
    theta, negative, sign = inner(theta, low, high)
    phi, signs = phi.detach().double().clone(), torch.ones_like(gamma.detach().double())
    for column in reversed(range(n)):
        here = torch.nonzero(columns == column).flatten()
        top = tops[here]
        upper, lower = signs[:, top], signs[:, top + 1]
        mirrored = torch.where(negative[:, here], -1.0, 1.0).double()
        phi[:, here] += math.pi * (upper * lower * mirrored < 0).double()
        signs[:, top] = sign[:, here] * lower
        signs[:, top + 1] = sign[:, here] * lower * mirrored
    gamma = gamma.detach().double() + math.pi * (signs < 0).double()
    return theta, outer(phi, low, high), outer(gamma, low, high)
