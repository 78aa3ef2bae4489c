"""Physical layers: control parameters, and what they make of errors and environments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.drivers import Driver
from pnnbench.platforms.environment import Environment
from pnnbench.platforms.read_out import ReadOut
from pnnbench.platforms.static_errors import Quantity, StaticError, check_errors

#: Static errors of one layer: name of the error -> tensor. Zero always means ideal.
LayerErrors = Mapping[str, Tensor]


class PhysicalLayer(ReadOut):
    """A layer whose trainable tensors are control parameters, besides an optional digital bias.

    Subclasses name their control parameters in `control_names` and compute their transfer from
    `control` and `operation`, the errors and environment that `operate` installs.
    """

    #: Names of the parameters that the hardware lets one set.
    control_names: ClassVar[tuple[str, ...]]
    #: Names of the digital parameters that `program` sets beside them.
    programmed_too: ClassVar[tuple[str, ...]] = ()
    #: Unit of those parameters.
    control_unit: ClassVar[str]
    #: Unit of the offsets that `random_offsets` draws.
    offset_unit: ClassVar[str]
    #: Environment class with this platform's nominal conditions as defaults.
    environment_class: ClassVar[type[Environment]]
    #: Radius, in `control_unit`, of the L2 ball over all controls of a network in which the worst
    #: loss is looked for: so large that the curvature decides and not what is left of a slope
    #: (0.5 λ r² > 3 |g| r for BP on the digits), so small that the loss stays under guessing.
    ball_radius: ClassVar[float]
    #: Controls that a drift of the whole hardware shifts together, where that changes the outputs:
    #: those behind the sharpness figure ``common_mode``. Without any it is left out.
    common_controls: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        # In a tuple, since assigning a parameter to a module would register it there.
        self._weight_override: tuple[Tensor | None] = (None,)
        self._measured = False

    @classmethod
    def example(cls) -> tuple[PhysicalLayer, Tensor]:
        """A small layer of this class and inputs (B, ...) for it, as ``pnnbench check`` takes them.

        Raises:
            UserError: If the class gives none.
        """
        raise UserError(
            f"{cls.__name__} gives no example of itself",
            next_step="add a classmethod example() that returns a small layer and inputs (B, ...)",
        )

    @property
    def weight_override(self) -> Tensor | None:
        """Used instead of the transfer: by methods that train weights, and by `hold_transfer`."""
        return self._weight_override[0]

    @property
    def deployed(self) -> bool:
        """Whether the layer stands for what is deployed, not for the digital model in training.

        So in evaluation mode, and in `as_hardware` in either mode. A platform whose training model
        is coarser than its hardware goes by it.
        """
        return self._measured or not self.training

    def override_weight(self, weight: Tensor | None) -> None:
        """Sets `weight_override`; None goes back to the transfer."""
        self._weight_override = (weight,)

    @property
    def like(self) -> Tensor:
        """A tensor of the precision and on the device of the controls."""
        control: Tensor = getattr(self, self.control_names[0])
        return control

    def control_origins(self) -> dict[str, float]:
        """Where the platform counts its controls from: name -> value in `control_unit`.

        A relative change of a control is one of its distance from there. Here 0 for all.
        """
        return dict.fromkeys(self.control_names, 0.0)

    def static_errors(self) -> dict[str, StaticError]:
        """Declares the errors that a device may have in this layer: name -> what it may be.

        The one place where they are named: `operate`, `Device` and `describe` go by it.
        """
        return {}

    def further_errors(self) -> dict[str, StaticError]:
        """Declares errors that only axes on request and measured devices have; see `draw_alone`.

        They are no part of the error model that `draw_errors` draws and `describe` tells.
        """
        return {}

    def possible_errors(self) -> dict[str, StaticError]:
        """All errors that a device may have in this layer."""
        return {**self.static_errors(), **self.further_errors()}

    def measured_quantities(self) -> dict[str, Quantity]:
        """Quantities that are measured in place of an error: name with its unit -> what it gives.

        Such as a resonance in nm for an offset in half widths. See `pnnbench.platforms.measured`.
        """
        return {}

    def lay(self, law: StaticError, values: Tensor) -> Tensor:
        """Lays what was measured of a device over the elements of this layer.

        Args:
            law: The error.
            values: In the form in which they were measured, flat or of any shape.

        Returns:
            Shape of the error.

        Raises:
            UserError: If there are not as many values as elements.
        """
        if values.numel() != math.prod(law.shape):
            raise UserError(
                f"{values.numel()} elements were measured",
                allowed=f"{math.prod(law.shape)}, shape {law.shape}" if law.shape else "1",
            )
        return values.reshape(law.shape)

    def drivers(self) -> dict[str, Driver]:
        """What sets the controls: name of the control -> range and levels of its driver.

        Without any, no resolution of the drivers can be asked for.

        Raises:
            UserError: If the layer's constants leave a control without a finite range.
        """
        return {}

    def control(self, name: str) -> Tensor:
        """A control as it is set under the present operation: at the nearest level of its driver.

        Its gradient is that of the control: rounding is seen through (straight-through), since its
        own gradient is zero everywhere.

        Args:
            name: One of `control_names`.

        Returns:
            The control itself where drivers have no resolution to speak of; else of its shape, with
            C > 1 conditions (C, *shape).

        Raises:
            UserError: If there is a resolution, and no driver of the control.
        """
        value: Tensor = getattr(self, name)
        op = self.operation
        if op is None or not any(map(math.isfinite, op.numbers.get("control_bits", ()))):
            return value
        drivers = self.drivers()
        if name not in drivers:
            raise UserError(
                f"layer {self.layer_name!r} has no driver of {name!r}, and cannot be set in bits",
                next_step=f"declare its range in drivers() of {type(self).__name__}",
            )
        return drivers[name].nearest(value, op.environment["control_bits"])

    def check_errors(self, name: str, errors: LayerErrors) -> dict[str, Tensor]:
        """Holds errors against `static_errors`.

        Args:
            name: Name of this layer, for the message.
            errors: Name of the error -> value, of one device.

        Returns:
            The errors in the precision and on the device of the layer.

        Raises:
            UserError: If a name, a shape or a value is not what the layer declares.
        """
        return check_errors(name, self.possible_errors(), errors, self.like)

    def describe_errors(self) -> dict[str, Any]:
        """The declaration of `static_errors` as plain values, for `describe`."""
        return {name: law.describe() for name, law in self.static_errors().items()}

    def draw_errors(self, severity: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws the static errors of one fabricated instance of this layer.

        Args:
            severity: Multiple of the platform's measured spread, 0 to 1000.
            generator: Source of randomness; the unit draw does not depend on the severity.

        Returns:
            Name of the error -> tensor, all zero at severity 0; cut to what is physical.

        Raises:
            UserError: If the severity is out of range.
        """
        raise NotImplementedError

    def random_offsets(self, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws Gaussian offsets of the quantity that the controls tune, in `offset_unit`.

        Args:
            sigma: Standard deviation in `offset_unit`, 0 to 1000.
            generator: Source of randomness.

        Returns:
            Errors in the form of `draw_errors`.

        Raises:
            UserError: If ``sigma`` is out of range.
        """
        raise NotImplementedError

    def draw_alone(
        self, law: str, severity: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draws errors of one kind, for axes that vary it alone.

        Args:
            law: Name of the kind; a platform has its own.
            severity: In the unit of that kind, at least 0.
            generator: As for `draw_errors`: the same device has the same draw under every law.

        Returns:
            Errors in the form of `draw_errors`.

        Raises:
            UserError: If the platform has no such kind.
        """
        raise UserError(f"{type(self).__name__} has no device errors of the kind {law!r}")

    def ideal_weight(self) -> Tensor:
        """Weight of the ideal device at the nominal operating point, differentiable."""
        raise NotImplementedError

    def project_weight(self, weight: Tensor) -> Tensor:
        """Nearest weight that `program` can reach exactly, without gradient.

        What is not a number stays so: a run that has diverged ends with the loss.

        Raises:
            UserError: If the weight has another shape or kind.
        """
        raise NotImplementedError

    def program(self, weight: Tensor) -> None:
        """Sets the controls so that the ideal device has a weight, or the nearest it can.

        Raises:
            UserError: If the weight has another shape or kind, or is not finite.
        """
        raise NotImplementedError

    def transfer(self) -> Tensor:
        """What the present operation makes of the controls; conditions first if there are many."""
        raise NotImplementedError

    def answers(self, environment: Environment) -> bool:
        """Whether an environment off nominal should change the transfer, as the harness checks.

        The resolution of drivers always should.
        """
        return True

    def sensitivity(self) -> Tensor:
        """Slope of the ideal elements' transmission with respect to an offset, up to its sign.

        Returns:
            Per `offset_unit`, one number for each element (ring, interferometer).
        """
        raise NotImplementedError

    def sensitivity_of_weight(self, weight: Tensor) -> Tensor:
        """`sensitivity` of elements that are programmed to given weights, differentiable.

        Where each weight has an element of its own; other platforms have none.

        Args:
            weight: Weights that `project_weight` leaves as they are.

        Returns:
            Shape of the weight.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Constants of the layer that decide its transfer, as plain values."""
        raise NotImplementedError

    def project(self) -> None:
        """Puts the control parameters back into their allowed range, in place."""
        raise NotImplementedError

    def control_limits(self) -> tuple[float, float] | None:
        """Least and largest setting of the controls, in `control_unit`; None where any will do."""
        return None

    def controls_within(self, low: float, high: float) -> dict[str, Tensor]:
        """Controls of the same transfer inside a driver's range, as far as they are periodic.

        Args:
            low: Lower end of the range, in `control_unit`.
            high: Upper end.

        Returns:
            Name -> settings without gradient, of the control's shape; here as they are.
        """
        return {name: getattr(self, name).detach().clone() for name in self.control_names}

    def power_mw(self) -> Tensor | None:
        """Electrical power that holds the controls, in mW (a scalar); None without a model."""
        return None


def check_target(
    weight: Tensor, shape: tuple[int, ...], *, is_complex: bool = False, finite: bool = True
) -> None:
    """Checks a weight before it is programmed or projected.

    Args:
        weight: The weight.
        shape: The shape that the layer has.
        is_complex: Whether the layer's weights are complex; a real weight will do as well.
        finite: Whether every value must be finite.

    Raises:
        UserError: If shape or kind differ, or a value is not finite.
    """
    if weight.shape != shape:
        raise UserError(
            f"weights of shape {tuple(weight.shape)} do not fit the layer",
            allowed=str(tuple(shape)),
        )
    if weight.is_complex() and not is_complex:
        raise UserError("weights of this layer are real numbers, not complex ones")
    if finite and not torch.isfinite(weight).all():
        raise UserError("weights to program are not finite", allowed="finite numbers")


def physical_layers(network: nn.Module) -> dict[str, PhysicalLayer]:
    """Returns the physical layers of a network by their module names, in module order."""
    return {n: m for n, m in network.named_modules() if isinstance(m, PhysicalLayer)}
