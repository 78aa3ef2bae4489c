"""Extreme eigenvalues and spectral density of a symmetric operator from its products alone.

The Lanczos recurrence (Golub and Van Loan, Matrix Computations, chapter 10) with full
reorthogonalisation in float64, so that no eigenvalue shows up more often than it is there. From one
start vector no recurrence sees that an eigenvalue is repeated; from a block of k it sees k copies.
The block grows by one vector per product (Ruhe, Math. Comp. 33, 680 (1979)). The products may be
float32; their rounding limits the result to 1e-8 to 2e-5 of the operator's norm.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pnnbench.errors import check_range
from pnnbench.evaluation.gaps import NotFiniteError

#: Symmetric operator: float64 vector (n,) -> float64 vector (n,).
Product = Callable[[Tensor], Tensor]
#: Rounding error of a Hessian product in units in the last place, relative to the norm. Between
#: float32 and float64 products along the leading eigenvector lie 1 to 230 such units: digits
#: networks of all platforms, outputs scaled by 1 to 15, losses from 1.5 down to 1e-14.
ROUNDING = 512.0
#: The same for float32 products as a number.
_SINGLE = ROUNDING * torch.finfo(torch.float32).eps
#: Start vectors beyond the number of eigenvalues asked for. A start vector may hold next to nothing
#: of an eigenvector, whose value then goes unseen: on 1,000 random spectra with tolerance 1e-3 that
#: broke the bounds 62 times without guards, 4 times with one and once with two.
GUARDS = 2
#: Products along every start vector before anything counts as found. A guess that is nearly an
#: eigenvector has a small residual at once, before the recurrence has looked at anything else: with
#: 3 that broke 64 of 600 searches from guesses of second and third eigenvectors (two Hessians of
#: 114,336 phases), with 4 one, with 5 none.
ROUNDS = 5
#: Vectors for which room is made at a time.
_ROOM = 8
#: Called after each product with the number done and the most that will be done.
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Eigenpairs:
    """Extreme eigenpairs of an operator.

    Attributes:
        top: Most positive eigenvalues, descending (k,).
        vectors: Their unit eigenvectors (k, n).
        bounds: Estimated absolute error of each entry of `top`: the residual r, or where the value
            stands apart r^2 / gap, r over a cluster of Ritz values and the gap to the residual
            intervals of the others; and the rounding of the products on top.
        lowest: Most negative eigenvalue; the true one is at most this.
        lowest_vector: Its unit eigenvector (n,).
        lowest_bound: Its residual and the rounding of the products: some eigenvalue lies within
            this of `lowest`.
        products: Number of products taken.
        converged: Whether every tolerance was met before the products ran out.
    """

    top: Tensor
    vectors: Tensor
    bounds: Tensor
    lowest: float
    lowest_vector: Tensor
    lowest_bound: float
    products: int
    converged: bool


class _Krylov:
    """The Lanczos recurrence from a block of start vectors, one product at a time.

    Args:
        product: The operator.
        starts: The block, any non-zero lengths (b, n), b at most n.
        generator: Source of the new directions where the block runs dry.
    """

    def __init__(self, product: Product, starts: Tensor, generator: torch.Generator) -> None:
        self.product = product
        self.generator = generator
        self.block, self.size = starts.shape
        self.done = 0
        self.scale = 0.0
        self._rows = starts.new_empty(0, self.size)
        self.count = 0
        self._band: list[list[float]] = []  # column j of the projected operator from row j on
        for start in starts:
            self._append(self._orthogonal(start / start.norm())[0])

    @property
    def known(self) -> Tensor:
        """The basis, then the vectors that wait for their product (m, n)."""
        return self._rows[: self.count]

    @property
    def basis(self) -> Tensor:
        """Orthonormal vectors whose products were taken (m, n)."""
        return self.known[: self.done]

    def _append(self, w: Tensor) -> float:
        """Adds the direction of w, or a random one where w is none; the length of w or 0."""
        length = float(w.norm())
        if length <= 1e-10 * max(self.scale, float(not self.done)):
            length = 0.0
            w = self._orthogonal(_random(self.size, self.generator, w))[0]
        if self.count == len(self._rows):  # a few at a time: they are what takes the memory
            self._rows = torch.cat([self._rows, self._rows.new_empty(_ROOM, self.size)])
        self._rows[self.count] = w / w.norm()
        self.count += 1
        return length

    def _orthogonal(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of w beside the known vectors, and its components along them."""
        components = torch.zeros(len(self.known)).to(w)
        for _ in range(2):
            along = self.known @ w
            w = w - self.known.T @ along
            components += along
        return w, components

    def step(self) -> None:
        """Takes one product."""
        w = self.product(self.known[self.done])
        if not torch.isfinite(w).all():
            raise NotFiniteError(
                "the Hessian of this model is not finite",
                next_step="check that training did not diverge: the loss must be finite",
            )
        self.scale = max(self.scale, float(w.norm()))
        w, components = self._orthogonal(w)
        self._band.append(components[self.done :].tolist())
        self.done += 1
        if len(self.known) < self.size:
            self._band[-1].append(self._append(w))

    def ritz(self) -> tuple[Tensor, Tensor, Tensor]:
        """Ritz values ascending (m,), their coordinates (m, m) by column, their residuals (m,)."""
        m = self.done
        t = torch.zeros(len(self.known), m, dtype=torch.float64)
        for j, column in enumerate(self._band):
            t[j : j + len(column), j] = torch.tensor(column, dtype=torch.float64)
        lower = t[:m].tril(-1)
        values, coordinates = torch.linalg.eigh(t[:m].diag().diag() + lower + lower.T)
        return values, coordinates, (t[m:] @ coordinates).norm(dim=0)

    def vector(self, coordinates: Tensor) -> Tensor:
        """Ritz vector (n,) from its coordinates (m,)."""
        v = self.basis.T @ coordinates.to(self.basis)
        return v / v.norm()


def _random(size: int, generator: torch.Generator, like: Tensor | None = None) -> Tensor:
    z = torch.randn(size, generator=generator, dtype=torch.float64)
    return z if like is None else z.to(like.device)


def _error_estimates(values: Tensor, residuals: Tensor, count: int) -> Tensor:
    """Errors of the `count` most positive Ritz values, in the order of `values` (count,).

    A cluster of Ritz values with residuals r_i is off by sum r_i^2 / gap at most (Parlett, The
    Symmetric Eigenvalue Problem, chapter 11), if the gap to the rest of the spectrum is known. It
    is taken to the near ends of the neighbours' own residual intervals, since a neighbour that has
    not converged may still move closer. The least over all clusters among the `count` that a value
    may belong to counts; without a gap, or a neighbour that tells of one, its residual stands.
    """
    last = len(values)
    first = max(0, last - count)
    errors = residuals[first:].clone()
    below = values - residuals  # near ends as seen from below, and from above
    above = values + residuals
    for a in range(max(1, first), last):
        for c in range(a, last):
            gap = float(values[a] - above[:a].max())
            if c + 1 < last:
                gap = min(gap, float(below[c + 1 :].min() - values[c]))
            if gap > 0.0:
                bound = float(residuals[a : c + 1].square().sum()) / gap
                inside = slice(a - first, c + 1 - first)
                errors[inside] = errors[inside].clamp(max=bound)
    return errors


def lanczos(
    product: Product,
    size: int,
    *,
    seed: int,
    start: Tensor | None = None,
    device: torch.device | str = "cpu",
    top: int = 1,
    tol: float = 1e-3,
    others_tol: float | None = None,
    max_products: int = 100,
    rounding: float = _SINGLE,
    progress: Progress | None = None,
) -> Eigenpairs:
    """Finds the most positive and the most negative eigenvalues of a symmetric operator.

    Eigenvalues that are repeated count as often as they are there. The most negative one is not
    waited for, and its bound says how well it is known.

    Args:
        product: The operator; takes and returns float64 vectors (size,).
        size: Dimension.
        seed: Seed of the start vectors and of restarts.
        start: First start vectors (size,) or (guesses, size) instead of random ones, such as the
            leading eigenvectors of an operator that is like this one. Each counts by itself: of a
            sum of two, one may cancel. `GUARDS` random ones are there in any case.
        device: Device of the vectors.
        top: Number of most positive eigenvalues, at least 1; the block starts from as many vectors
            and `GUARDS` more.
        tol: Relative error estimate at which the most positive eigenvalue counts as found.
        others_tol: The same for the other `top` values. None takes `tol`.
        max_products: Most products to take.
        rounding: Error of a product relative to the norm of the operator, which every bound has on
            top; the default is that of float32.
        progress: Called after each product.

    Returns:
        The eigenpairs. The most positive Ritz value never exceeds the true eigenvalue by more than
        rounding.

    Raises:
        NotFiniteError: If a product is not finite.
        UserError: If an argument is out of range.
    """
    check_range("top", top, low=1, high=size)
    check_range("tol", tol, low=0.0, high=1.0)
    check_range("max_products", max_products, low=1, high=1e7)
    check_range("rounding", rounding, low=0.0, high=1.0)
    others = tol if others_tol is None else others_tol
    generator = torch.Generator().manual_seed(seed)
    given = [] if start is None else list(start.to(device, torch.float64).reshape(-1, size))
    block = min(max(top, len(given)) + GUARDS, size)
    drawn = [_random(size, generator).to(device) for _ in range(block - len(given))]
    krylov = _Krylov(product, torch.stack((given + drawn)[:size]), generator)
    limit = min(size, max_products)
    converged = False
    for done in range(1, limit + 1):
        krylov.step()
        if progress is not None:
            progress(done, limit)
        values, coordinates, residuals = krylov.ritz()
        errors = _error_estimates(values, residuals, top)
        if done < min(size, ROUNDS * block):
            continue
        tols = torch.full((len(errors),), others, dtype=torch.float64)
        tols[-1] = tol
        size_of = values[-top:].abs()
        # Nothing is known to better than the products are. The residual itself must be small too:
        # early Ritz values can be far from any eigenvalue.
        floor = rounding * krylov.scale
        found = (errors <= (tols * size_of).clamp(min=floor)) & (
            residuals[-top:] <= (0.1 * size_of).clamp(min=floor)
        )
        converged = done == size or bool(found.all())
        if converged:
            break
    count = min(top, len(values))
    order = torch.arange(len(values) - 1, len(values) - 1 - count, -1)
    floor = rounding * krylov.scale
    return Eigenpairs(
        top=values[order],
        vectors=torch.stack([krylov.vector(coordinates[:, i]) for i in order]),
        bounds=errors.flip(0) + floor,
        lowest=float(values[0]),
        lowest_vector=krylov.vector(coordinates[:, 0]),
        lowest_bound=float(residuals[0]) + floor,
        products=krylov.done,
        converged=converged,
    )


@dataclasses.dataclass(frozen=True)
class SpectralDensity:
    """Share of the eigenvalues at each place, as point masses that sum to 1.

    Attributes:
        nodes: Places (probes, steps), in units of the eigenvalues.
        weights: Masses (probes, steps); all of them sum to 1.
        size: Number of eigenvalues.
        products: Number of products taken.
    """

    nodes: Tensor
    weights: Tensor
    size: int
    products: int

    def moment(self, power: int) -> tuple[float, float]:
        """Sum over all eigenvalues of their ``power``, with its standard error over probes.

        Args:
            power: 1 gives the trace, 2 the squared Frobenius norm.

        Returns:
            The estimate and its standard error; the error is infinite with one probe.
        """
        probes = len(self.nodes)
        each = self.size * probes * (self.weights * self.nodes.pow(power)).sum(1)
        error = float(each.std() / math.sqrt(probes)) if probes > 1 else math.inf
        return float(each.mean()), error

    def as_dict(self) -> dict[str, Any]:
        """The density as plain values.

        Returns:
            ``size``, ``products``; ``trace`` and ``squares``, the sums of all eigenvalues and of
            their squares, each with its ``_error``, None with one probe; ``places`` ascending,
            and the ``shares`` of the eigenvalues that they stand for.
        """
        order = self.nodes.flatten().argsort()
        sums: dict[str, float | None] = {}
        for power, name in ((1, "trace"), (2, "squares")):
            sums[name], error = self.moment(power)
            sums[f"{name}_error"] = error if math.isfinite(error) else None
        return {
            "size": self.size,
            "products": self.products,
            **sums,
            "places": self.nodes.flatten()[order].tolist(),
            "shares": self.weights.flatten()[order].tolist(),
        }


def spectral_density(
    product: Product,
    size: int,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    probes: int = 4,
    steps: int = 30,
    progress: Progress | None = None,
) -> SpectralDensity:
    """Estimates the spectral density by stochastic Lanczos quadrature.

    Source: Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38, 1075 (2017).

    Args:
        product: The operator; takes and returns float64 vectors (size,).
        size: Dimension.
        seed: Seed of the random-sign probes.
        device: Device of the vectors.
        probes: Number of probes.
        steps: Lanczos steps for each probe; at most `size` are taken.
        progress: Called after each product.

    Returns:
        The density; probes x steps products were taken.

    Raises:
        NotFiniteError: If a product is not finite.
        UserError: If an argument is out of range.
    """
    check_range("probes", probes, low=1, high=1e6)
    check_range("steps", steps, low=1, high=1e6)
    steps = min(steps, size)
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.zeros(probes, steps, dtype=torch.float64)
    weights = torch.zeros(probes, steps, dtype=torch.float64)
    for i in range(probes):
        signs = 2.0 * torch.randint(2, (size,), generator=generator).double() - 1.0
        krylov = _Krylov(product, signs.to(device).unsqueeze(0), generator)
        for j in range(steps):
            krylov.step()
            if progress is not None:
                progress(i * steps + j + 1, probes * steps)
        # A breakdown makes a block that the probe does not reach: its coordinates are zero.
        nodes[i], coordinates, _ = krylov.ritz()
        weights[i] = coordinates[0].square() / probes
    return SpectralDensity(nodes, weights, size, probes * steps)
