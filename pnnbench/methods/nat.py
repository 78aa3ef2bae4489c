"""Noise-aware training: Gaussian noise on what the controls tune, drawn anew at each step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from pnnbench.methods.base import Knowledge, TrainingMethod
from pnnbench.methods.laws import Law, LawOf, Rule
from pnnbench.methods.pat import check_placement, in_situ_outputs
from pnnbench.platforms.base import Device
from pnnbench.workloads.amounts import Amount, Scale, check_amount
from pnnbench.workloads.base import Access, Batch, Workload


class NAT(TrainingMethod):
    """Noise-aware training: L(Θ + noise), the noise in physical space.

    The noise enters where fabrication errors enter (the resonance of a ring, the phase of an
    interferometer), not on the weights; the gradient is taken at the noisy point.

    Args:
        sigma: Standard deviation of the noise, >= 0: multiples of `Workload.offset_scale`, the
            offsets of a poor device, or absolute in the layer's `offset_unit` (``"0.5 HWHM"`` for
            rings). The published code's 0.08 normalised units are 0.53 HWHM.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    # Best so far: 0.5 to 1.5, the largest or the smallest tried.
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"sigma": Law(0.03, 10.0)})
    source = "Joshi et al., Nature Communications 11, 2473 (2020)"
    knows: ClassVar[tuple[Knowledge, ...]] = ("gaussian on controls",)
    amounts: ClassVar[tuple[str, ...]] = ("lr", "sigma")

    def __init__(
        self,
        sigma: Amount = 0.5,
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.sigma = check_amount("sigma", sigma)

    def scale(self, name: str, workload: Workload) -> Scale:
        """Adds the scale of the noise: that of offsets."""
        return workload.offset_scale if name == "sigma" else super().scale(name, workload)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss on one freshly drawn noisy device; frozen elements have errors as all have."""
        generator, sigma = self.generator(), self.amount("sigma", workload)
        errors = {
            name: layer.random_offsets(sigma, generator)
            for name, layer in workload.layers().items()
        }
        with workload.operating(Device(errors)):
            return workload.loss(workload(batch[0]), batch)


class NATInSitu(TrainingMethod):
    """Noise-aware training on hardware: the controls are dithered while the device measures.

    The surrogate of physics-aware training at Θ + noise, the noise drawn anew at each step. Only
    what can be set on a device is dithered: the trainable controls, not the errors of its
    fabrication. What would lie beyond the range of the drivers is measured at its edge.

    Args:
        sigma: Standard deviation of the noise, >= 0: multiples of `Workload.control_scale`, or
            absolute in the unit of the controls (``"0.15 rad"``).
        placement: Where the measured value stands, ``"output"`` or ``"read-out"``; see PAT.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    access: ClassVar[Access] = "in_situ"
    knows: ClassVar[tuple[Knowledge, ...]] = ("gaussian on controls",)
    chosen_by: ClassVar[Rule] = "own device"
    # Best so far: 0.4, the largest tried.
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"sigma": Law(0.01, 3.0)})
    source = "noise-aware training on the measurements of Wright et al., Nature 601, 549 (2022)"
    amounts: ClassVar[tuple[str, ...]] = ("lr", "sigma")

    def __init__(
        self,
        sigma: Amount = 0.2,
        placement: str = "read-out",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.sigma = check_amount("sigma", sigma)
        self.placement = check_placement(placement)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss of what the hardware gives at dithered controls."""
        generator, sigma = self.generator(), self.amount("sigma", workload)
        noise = {  # drawn for frozen controls too: the noise of one does not depend on the others
            name: torch.randn(p.shape, generator=generator, dtype=torch.float32).to(p.device)
            for name, p in workload.controls().items()
        }
        dithered = {
            name: p + sigma * noise[name] for name, p in workload.controls(trainable=True).items()
        }
        h = workload.prefix(batch[0])
        outputs = in_situ_outputs(workload, self.hardware, h, dithered, self.placement)
        return workload.loss(outputs, batch)
