"""Sharpness-aware training: the gradient at the worst point of a small ball around the controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from pnnbench.errors import UserError, check_range
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.pat import check_placement, measured_outputs
from pnnbench.workloads.base import Access, Batch, Workload


class SAT(TrainingMethod):
    """Sharpness-aware training: L(Θ + stopgrad(ε)), ε = ρ g / ‖g‖, two gradients per step.

    Adaptive (ASAM): ε = ρ Θ² g / ‖Θ g‖, elementwise, which scales the ball with the controls.
    The first pass leaves batch-norm statistics alone.

    Args:
        rho: Radius of the ball: Euclidean norm over the perturbed group, in control units (mA for
            rings); dimensionless if adaptive. >= 0.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` perturbs the physical controls only, ``"all"`` also the digital
            parameters, as the published code did.
        lr: Peak learning rate of the control parameters, in their unit per step.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    source = "Foret et al., ICLR 2021 (SAM); Kwon et al., ICML 2021 (ASAM)"

    def __init__(
        self,
        rho: float = 1.0,
        adaptive: bool = False,
        perturb: str = "controls",
        lr: float = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.rho = check_range("rho", rho, low=0.0, high=1e6)
        if perturb not in ("controls", "all"):
            raise UserError(f"perturb is {perturb!r}", allowed="controls, all")
        self.adaptive = bool(adaptive)
        self.perturb = perturb

    def perturbation(
        self, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The step ε to the worst point of the ball, to first order.

        Args:
            parameters: Perturbed parameters by name.
            gradients: Their gradients of the task loss.

        Returns:
            ε by name, each of its parameter's shape, without gradient.
        """
        with torch.no_grad():
            scaled = {
                n: g * parameters[n].abs() if self.adaptive else g for n, g in gradients.items()
            }
            norm = torch.linalg.vector_norm(
                torch.stack([torch.linalg.vector_norm(s) for s in scaled.values()])
            )
            factor = self.rho / norm.clamp(min=1e-12)
            return {
                n: s * parameters[n].abs() * factor if self.adaptive else s * factor
                for n, s in scaled.items()
            }

    def outputs(
        self, workload: Workload, h: Tensor, parameters: Mapping[str, Tensor] | None
    ) -> Tensor:
        """Outputs at replaced parameters from what `Workload.prefix` gives: the digital model."""
        return workload.physical(h, parameters)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss at the perturbed point; the perturbation carries no gradient."""
        group = dict(workload.controls())
        if self.perturb == "all":
            group.update(workload.digital_parameters())
            with workload.extra_pass():
                h = workload.prefix(batch[0])
                first = workload.loss(self.outputs(workload, h, None), batch)
        else:  # what lies before the controls is the same in both passes
            h = workload.prefix(batch[0])
            with workload.extra_pass():
                first = workload.loss(self.outputs(workload, h.detach(), None), batch)
        gradients = torch.autograd.grad(first, list(group.values()))
        epsilon = self.perturbation(group, dict(zip(group, gradients, strict=True)))
        shifted = {name: p + epsilon[name] for name, p in group.items()}
        if self.perturb == "all":
            h = workload.prefix(batch[0], shifted)
        return workload.loss(self.outputs(workload, h, shifted), batch)


class SATInSitu(SAT):
    """Sharpness-aware training on hardware: both passes have the device's values.

    The surrogate of physics-aware training at Θ and at Θ + ε: two gradients and two measurements
    per step.

    Args:
        rho: Radius of the ball; see SAT.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` or ``"all"``; see SAT.
        placement: Where the measured value stands, ``"output"`` or ``"read-out"``; see PAT.
        lr: Peak learning rate of the control parameters, in their unit per step.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    access: ClassVar[Access] = "in_situ"
    source = "in situ variant of the sharpness-aware-training paper"

    def __init__(
        self,
        rho: float = 0.3,
        adaptive: bool = False,
        perturb: str = "controls",
        placement: str = "output",
        lr: float = 0.03,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(rho, adaptive, perturb, lr, lr_digital, optimizer)
        self.placement = check_placement(placement)

    def outputs(
        self, workload: Workload, h: Tensor, parameters: Mapping[str, Tensor] | None
    ) -> Tensor:
        """Outputs with the values of the hardware at replaced controls."""
        controls = None
        if parameters is not None:
            controls = {n: parameters[n] for n in workload.controls()}
        measurement = self.hardware.measure(h, controls)
        return measured_outputs(workload, measurement, h, parameters, self.placement)
