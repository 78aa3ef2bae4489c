"""Parameters of a workload: controls of its physical layers and digital ones, and their scales."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from pnnbench.platforms.base import PhysicalLayer, physical_layers
from pnnbench.workloads.amounts import Scale
from pnnbench.workloads.passes import Passes


class Parameters(Passes):
    """What can be set in a network: the hardware's controls, and the rest."""

    def layers(self) -> dict[str, PhysicalLayer]:
        """Physical layers by their names in the network."""
        return physical_layers(self.network)

    def controls(self, *, trainable: bool = False) -> dict[str, nn.Parameter]:
        """Control parameters by their names in this module, in layer order.

        Args:
            trainable: Whether to leave out those that are frozen (``requires_grad`` is False), such
                as a heater that cannot be set. Methods train and move what is trainable only.
        """
        return {
            f"network.{layer}.{name}": getattr(module, name)
            for layer, module in self.layers().items()
            for name in module.control_names
            if not trainable or getattr(module, name).requires_grad
        }

    def control_origins(self) -> dict[str, float]:
        """Where the platform counts the `controls` from, by name; see `PhysicalLayer`."""
        return {
            f"network.{layer}.{name}": origin
            for layer, module in self.layers().items()
            for name, origin in module.control_origins().items()
        }

    def digital_parameters(self, *, trainable: bool = False) -> dict[str, nn.Parameter]:
        """Parameters that are not controls: biases, batch norm, digital layers.

        Args:
            trainable: Whether to leave out those that are frozen; see `controls`.
        """
        controls = self.controls()
        return {
            f"network.{name}": p
            for name, p in self.network.named_parameters()
            if f"network.{name}" not in controls and (not trainable or p.requires_grad)
        }

    def project_controls(self) -> None:
        """Puts the controls back into the range the hardware allows."""
        for layer in self.layers().values():
            layer.project()

    @property
    def n_controls(self) -> int:
        """Number of control parameters, those that are not trained included."""
        return sum(p.numel() for p in self.controls().values())

    @property
    def control_scale(self) -> Scale:
        """The change of one control in which methods state steps and strengths.

        One that matters: an optimiser takes a tenth of it per step. Here one unit; a workload
        states its own.
        """
        return Scale(1.0, self._unit("control_unit"))

    @property
    def offset_scale(self) -> Scale:
        """The offset of what the controls tune in which methods state noise and slopes.

        As large as those of a poor device of the grid. Here one unit; a workload states its own.
        """
        return Scale(1.0, self._unit("offset_unit"))

    @property
    def weight_scale(self) -> Scale:
        """The change of one weight in which methods that train weights state their steps.

        What `control_scale` makes of a weight. Here 1; a workload states its own.
        """
        return Scale(1.0, "weight")

    @property
    def ball_scale(self) -> Scale:
        """The Euclidean norm of a change of all controls in which methods state radii.

        As many times `control_scale` as moves every control by it: the square root of their number.
        """
        return self.control_scale.times(math.sqrt(self.n_controls))

    def _unit(self, kind: str) -> str:
        units = {getattr(layer, kind) for layer in self.layers().values()}
        return units.pop() if len(units) == 1 else ""

    def tensors(self) -> dict[str, Tensor]:
        """What is kept of a trained workload: the tensors of the network by their names.

        One that has several names, of a layer that is used in several places or of tied weights, is
        there under each of them, in memory of its own.
        """
        found: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, tensor in self.network.state_dict(keep_vars=True).items():
            found[name] = tensor.detach().clone() if id(tensor) in seen else tensor.detach()
            seen.add(id(tensor))
        return found

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes `tensors` back.

        Raises:
            RuntimeError: If names or shapes differ.
        """
        self.network.load_state_dict(dict(tensors))
