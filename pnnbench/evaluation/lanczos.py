"""Extreme eigenvalues and spectral density of a symmetric operator from its products alone.

The Lanczos recurrence (Golub and Van Loan, Matrix Computations, chapter 10) with full
reorthogonalisation in float64, so that no eigenvalue shows up twice. The products may be float32;
their rounding limits the result to about 1e-6 of the operator's norm.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from pnnbench.errors import UserError, check_range

#: Symmetric operator: float64 vector (n,) -> float64 vector (n,).
Product = Callable[[Tensor], Tensor]
#: Called after each product with the number done and the most that will be done.
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Eigenpairs:
    """Extreme eigenpairs of an operator.

    Attributes:
        top: Most positive eigenvalues, descending (k,).
        vectors: Their unit eigenvectors (k, n).
        bounds: Estimated absolute error of each entry of `top`, min(r, r^2 / gap) with residual r
            and the gap to the residual interval of the nearest other Ritz value; never below the
            rounding floor of the recurrence (float32 products add about 1e-6 of the norm).
        lowest: Most negative eigenvalue; the true one is at most this.
        lowest_vector: Its unit eigenvector (n,).
        lowest_bound: Its residual: some eigenvalue lies within this of `lowest`.
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
    """The Lanczos recurrence, one step at a time.

    Args:
        product: The operator.
        start: First basis vector, any non-zero length (n,).
        generator: Source of the new directions after a breakdown.
    """

    def __init__(self, product: Product, start: Tensor, generator: torch.Generator) -> None:
        self.product = product
        self.generator = generator
        self.size = len(start)
        self.basis = (start / start.norm()).unsqueeze(0)
        self.alphas: list[float] = []
        self.betas: list[float] = []
        self.scale = 0.0
        self._next = self.basis[0]

    def step(self) -> None:
        """Takes one product; `betas[-1]` is the residual norm, exactly 0 after a breakdown."""
        if self.alphas:
            self.basis = torch.cat([self.basis, self._next.unsqueeze(0)])
        v = self.basis[-1]
        w = self.product(v)
        if not torch.isfinite(w).all():
            raise UserError(
                "the Hessian of this model is not finite",
                next_step="check that training did not diverge: the loss must be finite",
            )
        self.scale = max(self.scale, float(w.norm()))
        self.alphas.append(float(v @ w))
        w = self._orthogonal(w)
        beta = float(w.norm())
        if beta <= 1e-10 * self.scale or len(self.alphas) == self.size:
            beta = 0.0
            w = self._orthogonal(_random(self.size, self.generator, v))
        self.betas.append(beta)
        self._next = w / w.norm() if len(self.alphas) < self.size else w

    def _orthogonal(self, w: Tensor) -> Tensor:
        for _ in range(2):
            w = w - self.basis.T @ (self.basis @ w)
        return w

    def ritz(self) -> tuple[Tensor, Tensor, Tensor]:
        """Ritz values ascending (m,), their coordinates (m, m) by column, their residuals (m,)."""
        t = torch.diag(torch.tensor(self.alphas, dtype=torch.float64))
        off = torch.tensor(self.betas[:-1], dtype=torch.float64)
        t += torch.diag(off, 1) + torch.diag(off, -1)
        values, coordinates = torch.linalg.eigh(t)
        return values, coordinates, self.betas[-1] * coordinates[-1].abs()

    def vector(self, coordinates: Tensor) -> Tensor:
        """Ritz vector (n,) from its coordinates (m,)."""
        v = self.basis.T @ coordinates.to(self.basis)
        return v / v.norm()


def _random(size: int, generator: torch.Generator, like: Tensor | None = None) -> Tensor:
    z = torch.randn(size, generator=generator, dtype=torch.float64)
    return z if like is None else z.to(like.device)


def _error_estimates(values: Tensor, residuals: Tensor, floor: float) -> Tensor:
    """Error of each Ritz value: min(r, r^2 / gap), not below the rounding floor.

    The gap is to the near end of the neighbours' own residual intervals, since a neighbour that has
    not converged may still move closer; with no gap left the residual stands.
    """
    gaps = torch.full_like(values, math.inf)
    if len(values) > 1:
        steps = values.diff()
        gaps[1:] = steps - residuals[:-1]
        gaps[:-1] = torch.minimum(gaps[:-1], steps - residuals[1:])
    quadratic = residuals.square() / gaps.clamp(min=1e-300)
    return torch.minimum(residuals, quadratic).clamp(min=floor)


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
    lowest_tol: float = math.inf,
    lowest_products: int | None = None,
    max_products: int = 100,
    progress: Progress | None = None,
) -> Eigenpairs:
    """Finds the most positive and the most negative eigenvalues of a symmetric operator.

    Args:
        product: The operator; takes and returns float64 vectors (size,).
        size: Dimension.
        seed: Seed of the start vector and of restarts.
        start: Start vector (size,) instead of a random one, such as a guess of the top eigenvector.
        device: Device of the vectors.
        top: Number of most positive eigenvalues, at least 1.
        tol: Relative error estimate at which the most positive eigenvalue counts as found.
        others_tol: The same for the other `top` values. None takes `tol`.
        lowest_tol: Relative residual at which the most negative eigenvalue counts as found. It
            usually converges last; by default it is not waited for.
        lowest_products: Products after which it is no longer waited for; None waits on.
        max_products: Most products to take.
        progress: Called after each product.

    Returns:
        The eigenpairs. The most positive Ritz value never exceeds the true eigenvalue by more than
        rounding.

    Raises:
        UserError: If an argument is out of range or a product is not finite.
    """
    check_range("top", top, low=1, high=size)
    check_range("tol", tol, low=0.0, high=1.0)
    check_range("max_products", max_products, low=1, high=1e7)
    others = tol if others_tol is None else others_tol
    generator = torch.Generator().manual_seed(seed)
    if start is None:
        start = _random(size, generator).to(device)
    krylov = _Krylov(product, start.to(device, torch.float64), generator)
    limit = min(size, max_products)
    converged = False
    for done in range(1, limit + 1):
        krylov.step()
        if progress is not None:
            progress(done, limit)
        values, coordinates, residuals = krylov.ritz()
        errors = _error_estimates(values, residuals, 1e-15 * krylov.scale)
        if done < min(size, top + 1):
            continue
        tols = torch.full((min(top, done),), others, dtype=torch.float64)
        tols[-1] = tol
        size_of = values[-top:].abs()
        # The residual itself must be small too: early Ritz values can be far from any eigenvalue.
        found = (errors[-top:] <= tols * size_of) & (residuals[-top:] <= 0.1 * size_of)
        waited = lowest_products is not None and done >= lowest_products
        found_lowest = waited or bool(residuals[0] <= lowest_tol * abs(values[0]))
        converged = done == size or (bool(found.all()) and found_lowest)
        if converged:
            break
    count = min(top, len(values))
    order = torch.arange(len(values) - 1, len(values) - 1 - count, -1)
    return Eigenpairs(
        top=values[order],
        vectors=torch.stack([krylov.vector(coordinates[:, i]) for i in order]),
        bounds=errors[order],
        lowest=float(values[0]),
        lowest_vector=krylov.vector(coordinates[:, 0]),
        lowest_bound=max(float(residuals[0]), 1e-15 * krylov.scale),
        products=len(krylov.alphas),
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

    def smoothed(self, at: Tensor, width: float) -> Tensor:
        """Density at given places with Gaussian smoothing.

        Args:
            at: Places (...).
            width: Standard deviation of the smoothing, in units of the eigenvalues, > 0.

        Returns:
            Density (...), per unit of eigenvalue; its integral is 1.
        """
        check_range("width", width, low=0.0, high=1e300, low_open=True)
        z = (at.to(torch.float64).unsqueeze(-1) - self.nodes.flatten()) / width
        kernel = torch.exp(-0.5 * z.square()) / (width * math.sqrt(2.0 * math.pi))
        return kernel @ self.weights.flatten()


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
        UserError: If an argument is out of range or a product is not finite.
    """
    check_range("probes", probes, low=1, high=1e6)
    check_range("steps", steps, low=1, high=1e6)
    steps = min(steps, size)
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.zeros(probes, steps, dtype=torch.float64)
    weights = torch.zeros(probes, steps, dtype=torch.float64)
    for i in range(probes):
        signs = 2.0 * torch.randint(2, (size,), generator=generator).double() - 1.0
        krylov = _Krylov(product, signs.to(device), generator)
        for j in range(steps):
            krylov.step()
            if progress is not None:
                progress(i * steps + j + 1, probes * steps)
        # A breakdown makes a block that the probe does not reach: its coordinates are zero.
        nodes[i], coordinates, _ = krylov.ritz()
        weights[i] = coordinates[0].square() / probes
    return SpectralDensity(nodes, weights, size, probes * steps)
