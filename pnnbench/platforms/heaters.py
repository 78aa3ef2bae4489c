"""Heaters of phase shifters: what they can set, and what their heat does to their neighbours.

A heater only adds to a phase. Its waveguide is laid out so that undriven it stands an eighth of a
turn below 0, and the heater sets one period from there. Real matrices have outer phases of 0 and
pi, permutations and zeros those of any quarter turn, and all have inner phases of 0 to pi. So what
rounding and small steps of training make of them is inside the range, where heat is a smooth
function of the phase. It jumps by a period at the lower end alone, as on a chip, where a driver
that has come to its end starts again at the other.

The chip is set up with all phases at a quarter turn: interferometers that split evenly, and midway
between the outer phases of real matrices. The heat of that is part of the set-up; what leaks to the
neighbours is what a heater adds to it or takes from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnnbench.platforms.drivers import Driver

#: Phase in rad of a heater that is not driven. A choice: no phase that is programmed for a real
#: matrix of full rank, a permutation or zeros is nearer than that.
UNDRIVEN = -math.pi / 4
#: Phase in rad at which the chip is set up. A choice as well.
SET_UP = math.pi / 2


def phase_drivers(names: Sequence[str]) -> dict[str, Driver]:
    """Drivers of phases of interferometers.

    Args:
        names: Names of the phases; those of inner phases end in ``theta``.

    Returns:
        One period of each from `UNDRIVEN` on: 4 pi of theta, in push and pull, 2 pi of others.
    """
    once = Driver(UNDRIVEN, UNDRIVEN + 2 * math.pi, periodic=True)
    twice = Driver(UNDRIVEN, UNDRIVEN + 4 * math.pi, periodic=True)
    return {name: twice if name.endswith("theta") else once for name in names}


def warmed(
    phase: Tensor,
    driver: Driver,
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    shares: Tensor,
) -> Tensor:
    """Phases with what the other heaters of the same column add to them.

    Args:
        phase: Phases in rad (C or 1, ..., M), conditions first.
        driver: What sets them.
        places: Column and upper waveguide of each, (M,); interferometers of a column are two
            waveguides apart.
        shares: Share of the heat of a heater that its neighbour takes on, scalar or (C,); one that
            stands k interferometers away takes the k-th power.

    Returns:
        (C, ..., M), differentiable except where heat jumps.
    """
    columns, tops = (torch.from_numpy(place).to(phase.device) for place in places)
    away = (tops[:, None] - tops).abs() // 2
    beside = (columns[:, None] == columns) & (away > 0)
    leak = torch.where(beside, shares.reshape(-1, 1, 1).to(phase.dtype) ** away, 0.0)
    leak = leak.reshape(len(leak), *[1] * (phase.dim() - 2), *leak.shape[1:])
    heat = driver.reduced(phase) - SET_UP
    return phase + (leak @ heat[..., None])[..., 0]
