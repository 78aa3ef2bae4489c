"""The law of one Mach-Zehnder interferometer, and phases that make a mesh a random unitary matrix.

One interferometer on the fields of its upper and lower waveguide, with coupler imbalances e_l (met
first) and e_r and u = exp(i theta / 2):

    M = diag(e^{i phi}, 1) B(e_r) diag(u, u*) B(e_l)
    B(e) = (1 / sqrt 2) [[sqrt(1 + e), i sqrt(1 - e)], [i sqrt(1 - e), sqrt(1 + e)]]
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pnnbench.platforms.mesh import coupler_places, n_couplers
from pnnbench.platforms.static_errors import StaticError

#: Largest magnitude of a drawn or scaled coupler imbalance: from 1 on there is no such coupler.
MAX_IMBALANCE = 0.999


def imbalance_law(which: str, shape: tuple[int, ...]) -> StaticError:
    """Declares power imbalances of couplers.

    Args:
        which: Which coupler of an interferometer, in a word.
        shape: Shape of the imbalances of one device.

    Returns:
        Imbalances between -1 and 1; drawn and scaled ones are cut to `MAX_IMBALANCE`.
    """
    cut = (-MAX_IMBALANCE, MAX_IMBALANCE)
    return StaticError(f"power imbalance of the {which} coupler", "1", shape, -1, 1, True, cut)


def couplings(e_l: Tensor, e_r: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the imbalances of the two couplers make of an interferometer.

    Args:
        e_l: Power imbalance of the first coupler in [-1, 1]: (1 + e) / 2 stays in the waveguide.
        e_r: Of the second coupler, of the same shape.

    Returns:
        p, q, r and t of `entries`, each of that shape; 1, 0, 1 and 0 for ideal couplers.
    """
    bar_l, bar_r = torch.sqrt(1 + e_l), torch.sqrt(1 + e_r)
    cross_l, cross_r = torch.sqrt(1 - e_l), torch.sqrt(1 - e_r)
    both, none = bar_l * bar_r, cross_l * cross_r
    right, left = cross_l * bar_r, bar_l * cross_r
    return (both + none) / 2, (both - none) / 2, (right + left) / 2, (right - left) / 2


def entries(
    theta: Tensor,
    phi: Tensor,
    coupling: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """Entries of interferometers.

    Args:
        theta: Inner phases (C, M) in rad.
        phi: Outer phases (C, M) in rad.
        coupling: What `couplings` returns, each (C, M) or broadcastable; None for ideal couplers.

    Returns:
        m11, m12, m21, m22: complex (C, 4, M), differentiable.
    """
    c, s = torch.cos(theta / 2), torch.sin(theta / 2)
    if coupling is None:
        zero = torch.zeros_like(c)
        m11, m12 = torch.complex(zero, s), torch.complex(zero, c)
        m21, m22 = m12, torch.complex(zero, -s)
    else:
        p, q, r, t = coupling
        m11, m12 = torch.complex(q * c, p * s), torch.complex(-t * s, r * c)
        m21, m22 = torch.complex(t * s, r * c), torch.complex(q * c, -p * s)
    outer = torch.polar(torch.ones_like(phi), phi)
    return torch.stack((outer * m11, outer * m12, m21, m22), -2)


def haar_phases(n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Draws phases that make the ideal mesh a Haar-random unitary matrix.

    theta = pi - 2 arcsin(u^(1 / (2 alpha))) with uniform u and the sensitivity index alpha =
    n - max(|2 a + 2 - n|, |2 l + 1 - n|) of an interferometer with upper waveguide a in column l
    (Pai et al., Phys. Rev. Applied 11, 064044 (2019)); phi and gamma are uniform.

    Args:
        n: Number of waveguides, at least 2.
        generator: Source of randomness; torch's global one if None.

    Returns:
        theta (M,), phi (M,) and gamma (n,) in rad, float32.
    """
    columns, tops = (torch.from_numpy(a) for a in coupler_places(n))
    alpha = n - torch.maximum((2 * tops + 2 - n).abs(), (2 * columns + 1 - n).abs())
    count = n_couplers(n)
    u = torch.rand(count, dtype=torch.float64, generator=generator)
    theta = math.pi - 2 * torch.asin(u ** (1 / (2 * alpha)))
    phi = 2 * math.pi * torch.rand(count, dtype=torch.float64, generator=generator)
    gamma = 2 * math.pi * torch.rand(n, dtype=torch.float64, generator=generator)
    return theta.float(), phi.float(), gamma.float()
