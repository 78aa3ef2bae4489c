"""Workloads small enough for their exact Hessian."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import hessian

from pnnbench.platforms.base import Environment, PhysicalLayer
from pnnbench.platforms.mrr import MRRConv2d, MRRLinear
from pnnbench.workloads.base import Classification, Workload
from pnnbench.workloads.networks import PhysicalNetwork, max_pool_2x2


class SmallNet(PhysicalNetwork):
    """Rings: conv 1-4 k3, batch norm, ReLU, pooling, then 36-10; 396 controls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = MRRConv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = MRRLinear(36, 10)

    def physical(self, h: Tensor) -> Tensor:
        return self.fc(max_pool_2x2(torch.relu(self.norm(self.conv(h)))).flatten(1))


class SmallRings(Classification, Workload):
    """6 x 6 images on 396 rings."""

    name = "small-rings"
    platform = "mrr"
    data = "none"

    def build_network(self) -> PhysicalNetwork:
        return SmallNet()


class Negated(SmallRings):
    """The same with the loss upside down: its largest eigenvalue in magnitude is negative."""

    def loss(self, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return -super().loss(outputs, batch)


class LinearLayer(PhysicalLayer):
    """y = x . controls, with controls clamped to +-limit."""

    control_names = ("theta",)
    control_unit = "1"
    offset_unit = "1"
    environment_class = Environment

    ball_radius = 0.5

    def __init__(self, theta: Tensor, limit: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta.clone())
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.theta

    @torch.no_grad()
    def project(self) -> None:
        self.theta.clamp_(-self.limit, self.limit)


class QuadraticNet(PhysicalNetwork):
    def __init__(self, theta: Tensor, limit: float) -> None:
        super().__init__()
        self.layer = LinearLayer(theta, limit)

    def physical(self, h: Tensor) -> Tensor:
        return self.layer(h)


class Quadratic(Workload):
    """Half the mean square of x . theta - y: the Hessian is X'X / n everywhere."""

    name = "quadratic"
    platform = "none"
    data = "none"

    def __init__(self, theta: Tensor, limit: float = 1e9) -> None:
        self._theta, self._limit = theta, limit
        super().__init__()

    def build_network(self) -> PhysicalNetwork:
        return QuadraticNet(self._theta, self._limit)

    def loss(self, outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return 0.5 * (outputs - batch[1]).square().mean()


def blobs(n: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy 6 x 6 templates of ten classes."""
    g = torch.Generator().manual_seed(seed)
    templates = torch.randn(10, 1, 6, 6, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(10, (n,), generator=g)
    images = templates[labels] + 1.5 * torch.randn(n, 1, 6, 6, generator=g)
    return images.to(dtype), labels


def trained(
    kind: type[SmallRings] = SmallRings, dtype: torch.dtype = torch.float32, steps: int = 60
) -> SmallRings:
    """A briefly trained small workload, in evaluation mode."""
    workload = kind(init_seed=3).to(dtype)
    x, y = blobs(256, dtype, seed=1)
    optimizer = torch.optim.Adam(workload.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        SmallRings.loss(workload, workload(x), (x, y)).backward()
        optimizer.step()
        workload.project_controls()
    optimizer.zero_grad()
    workload.calibrate(x)
    workload.gradient_evaluations = 0
    return workload.eval()


def exact_hessian(workload: Workload, images: Tensor, labels: Tensor) -> Tensor:
    """Hessian of the loss over the flat controls by torch.func, float64 (n, n).

    Turns the workload to float64.
    """
    names = list(workload.controls())
    shapes = [p.shape for p in workload.controls().values()]
    flat = torch.cat([p.detach().flatten() for p in workload.controls().values()]).double()
    model = workload.double()
    images = images.double()

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([s.numel() for s in shapes])
        controls = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return model.loss(model.outputs_at(images, controls), (images, labels))

    return hessian(loss)(flat).detach()
