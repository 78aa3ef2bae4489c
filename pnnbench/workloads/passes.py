"""Passes through the network of a workload, at its own parameters or at others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pnnbench.workloads.lightning_steps import LightningSteps
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.replaced import call_replaced


class Passes(LightningSteps):
    """A network in two parts, before and from its first physical layer on.

    Attributes:
        network: The network of physical and digital layers.
        gradient_evaluations: Passes through the network recorded for differentiation so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gradient_evaluations = 0

    def _take(self, network: PhysicalNetwork) -> None:
        """Makes a network the workload's own."""
        self.network = network
        # In a tuple, since assigning a module would register it a second time.
        self._parts = (_Part(network, "prefix"), _Part(network, "physical"))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the network, (B, ...) for inputs (B, ...)."""
        return self.physical(self.prefix(x))

    def prefix(self, x: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """What goes into the first physical layer.

        A method that needs several passes at other controls takes this part once.

        Args:
            x: Inputs (B, ...).
            parameters: Replacements as for `physical`.

        Returns:
            Tensor (B, ...); the inputs themselves if the first layer is physical.
        """
        x = self.in_precision(x)
        if not parameters:
            return self.network.prefix(x)
        return call_replaced(self._parts[0], parameters, x)

    def in_precision(self, x: Tensor) -> Tensor:
        """The same inputs where the network is, in double precision if it is kept in it."""
        like = next(self.network.parameters())
        if x.dtype == torch.float32 and like.dtype == torch.float64:
            x = x.double()
        return x.to(like.device)

    def physical(self, h: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs (B, ...) from the inputs of the first physical layer (B, ...).

        Args:
            h: What `prefix` gives.
            parameters: Replacements under the names of `controls` or `digital_parameters`,
                differentiable; those left out are at their present values.

        Returns:
            Outputs (B, ...).
        """
        if torch.is_grad_enabled():
            self.gradient_evaluations += 1
        if not parameters:
            return self.network.physical(h)
        return call_replaced(self._parts[1], parameters, h)

    def outputs_at(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Outputs with some parameters replaced, differentiable with respect to them.

        Args:
            x: Inputs (B, ...).
            parameters: Replacements under the names of `controls` or `digital_parameters`.

        Returns:
            Outputs (B, ...).
        """
        return self.physical(self.prefix(x, parameters), parameters)

    @contextmanager
    def extra_pass(self) -> Iterator[None]:
        """Context for a forward pass that must not touch buffers such as batch-norm statistics."""
        owners = [(m, n, b) for m in self.network.modules() for n, b in m._buffers.items()]
        try:
            for module, name, buffer in owners:
                module._buffers[name] = None if buffer is None else buffer.clone()
            yield
        finally:
            for module, name, buffer in owners:
                module._buffers[name] = buffer


class _Part(nn.Module):
    """Prefix or physical part of a network, parameters under their names in a workload."""

    def __init__(self, network: PhysicalNetwork, part: str) -> None:
        super().__init__()
        self.network = network
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.network, self.part)(x)
