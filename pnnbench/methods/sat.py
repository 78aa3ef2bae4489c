"""Sharpness-aware training: the gradient at the worst point of a small ball around the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.laws import Law, LawOf, Rule
from pnnbench.methods.pat import check_placement, in_situ_outputs
from pnnbench.workloads.amounts import Amount, Scale, check_amount
from pnnbench.workloads.base import Access, Batch, Workload


class SAT(TrainingMethod):
    """Sharpness-aware training: L(Θ + stopgrad(ε)), ε = r g / ‖g‖, two gradients per step.

    Adaptive (ASAM): ε = r Θ² g / ‖Θ g‖, elementwise, which scales the ball with the controls, or
    with their distance from where the platform counts them. The first pass leaves batch-norm
    statistics alone. What is frozen is not moved.

    The literature's ρ is r, a Euclidean norm over all that is moved, which moves each of many
    controls less than each of few. A plain number is a multiple of `Workload.ball_scale` instead,
    on most workloads the displacement of one control, its root mean square: r = rho · s · sqrt(N)
    with s the `Workload.control_scale` and N the number of the workload's controls, the frozen ones
    included. Adaptive, that r is divided by the root mean
    square of the controls: a ball of that size whose axes follow the controls.

    Args:
        rho: Radius of the ball, >= 0: in multiples of `Workload.ball_scale`, or the literature's ρ
            as a text, ``"0.3 rad"``; adaptive, where it is a norm of relative changes, ``"0.15
            relative"``.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` perturbs the physical controls only, ``"all"`` also the digital
            parameters, as the published code did.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
        origin: From where the adaptive ball counts the controls: ``"zero"``, or ``"platform"``, its
            `PhysicalLayer.control_origins`, which are the resonances of rings: the published code
            scales with the distance from the dip, where the ball vanishes.
    """

    amounts: ClassVar[tuple[str, ...]] = ("lr", "rho")
    # Best so far: 0.006 (rings) to 0.08 (free space), most of them the largest or smallest tried.
    # Adaptive, a plain number is a ball of the same size.
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"rho": Law(0.001, 0.3)})
    source = "Foret et al., ICLR 2021 (SAM); Kwon et al., ICML 2021 (ASAM)"

    def __init__(
        self,
        rho: Amount = 0.015,
        adaptive: bool = False,
        perturb: str = "controls",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
        origin: str = "zero",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.rho = check_amount("rho", rho)
        if perturb not in ("controls", "all"):
            raise UserError(f"perturb is {perturb!r}", allowed="controls, all")
        if origin not in ("zero", "platform"):
            raise UserError(f"origin is {origin!r}", allowed="zero, platform")
        if origin == "platform" and not adaptive:
            raise UserError(
                "origin is 'platform' and adaptive is false",
                allowed="adaptive true: only then does the ball follow the controls",
            )
        self.adaptive = bool(adaptive)
        self.perturb = perturb
        self.origin = origin

    def scale(self, name: str, workload: Workload) -> Scale:
        """Adds the scale of the radius; see the class."""
        if name != "rho":
            return super().scale(name, workload)
        ball = workload.ball_scale
        if not self.adaptive:
            return ball
        with torch.no_grad():
            sizes = self.sizes(workload, workload.controls())
            squares = sum(torch.stack([s.square().sum() for s in sizes.values()]).tolist())
        size = math.sqrt(squares / workload.n_controls)
        return ball.times(1.0 / max(size, 1e-12), "relative")

    def perturbed(self, workload: Workload) -> dict[str, nn.Parameter]:
        """What is moved, by name: what is trainable of the controls, or of all parameters."""
        group = workload.controls(trainable=True)
        if self.perturb == "all":
            group.update(workload.digital_parameters(trainable=True))
        return group

    def sizes(self, workload: Workload, parameters: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What the adaptive ball scales with: parameters, from where they are counted.

        Args:
            workload: The workload.
            parameters: Parameters by name; digital ones are counted from 0.
        """
        if self.origin == "zero":
            return parameters
        origins = workload.control_origins()
        return {name: p - origins.get(name, 0.0) for name, p in parameters.items()}

    def step_to_worst(
        self, workload: Workload, first: Tensor, group: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Moved parameters by name, differentiable in the present ones.

        Args:
            workload: The workload.
            first: Task loss at the present parameters.
            group: What `perturbed` gives; a parameter that the loss does not follow stays.
        """
        if not group:
            return {}
        gradients = torch.autograd.grad(
            first, list(group.values()), allow_unused=True, materialize_grads=True
        )
        radius = self.amount("rho", workload)
        sizes = self.sizes(workload, group)
        epsilon = self.perturbation(sizes, dict(zip(group, gradients, strict=True)), radius)
        return {name: p + epsilon[name] for name, p in group.items()}

    def perturbation(
        self, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], radius: float
    ) -> dict[str, Tensor]:
        """The step ε to the worst point of the ball, to first order.

        Args:
            parameters: Perturbed parameters by name, at least one; adaptive, what `sizes` gives.
            gradients: Their gradients of the task loss.
            radius: r of the class: in the unit of the controls, adaptive without a unit.

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
            factor = radius / norm.clamp(min=1e-12)
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
        group = self.perturbed(workload)
        if self.perturb == "all":
            with workload.extra_pass():
                h = workload.prefix(batch[0])
                first = workload.loss(self.outputs(workload, h, None), batch)
        else:  # what lies before the controls is the same in both passes
            h = workload.prefix(batch[0])
            with workload.extra_pass():
                first = workload.loss(self.outputs(workload, h.detach(), None), batch)
        shifted = self.step_to_worst(workload, first, group)
        if self.perturb == "all":
            h = workload.prefix(batch[0], shifted)
        return workload.loss(self.outputs(workload, h, shifted), batch)


class SATInSitu(SAT):
    """Sharpness-aware training on hardware: both passes have the device's values.

    The surrogate of physics-aware training at Θ and at Θ + ε: two gradients and two measurements
    per step. What would lie beyond the range of the drivers is measured at its edge.

    Args:
        rho: Radius of the ball; see SAT.
        adaptive: Whether the ball scales with the controls.
        perturb: ``"controls"`` or ``"all"``; see SAT.
        placement: Where the measured value stands, ``"output"`` or ``"read-out"``; see PAT.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    access: ClassVar[Access] = "in_situ"
    chosen_by: ClassVar[Rule] = "own device"
    source = "in situ variant of the sharpness-aware-training paper"

    def __init__(
        self,
        rho: Amount = 0.015,
        adaptive: bool = False,
        perturb: str = "controls",
        placement: str = "read-out",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(rho, adaptive, perturb, lr, lr_digital, optimizer)
        self.placement = check_placement(placement)

    def outputs(
        self, workload: Workload, h: Tensor, parameters: Mapping[str, Tensor] | None
    ) -> Tensor:
        """Outputs with the values of the hardware at replaced parameters, digital ones too."""
        return in_situ_outputs(workload, self.hardware, h, parameters, self.placement)
