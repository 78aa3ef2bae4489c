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
        forward_evaluations: Passes in training mode that were not, but for those on hardware, which
            `hardware_queries` counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gradient_evaluations = 0
        self.forward_evaluations = 0

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
        """The same inputs where the network is, real ones in the precision of its parameters.

        Complex numbers stay as they are; so do uint8, pixels that nobody has divided by 255, and
        whole numbers for a network that looks them up in a table (``nn.Embedding``).
        """
        like = next(self.network.parameters())
        dtype = like.dtype.to_real()
        if x.dtype != dtype and (x.is_floating_point() or self._are_numbers(x)):
            x = x.to(dtype)
        return x.to(like.device)

    def _are_numbers(self, x: Tensor) -> bool:
        """Whether whole numbers are amounts, and neither pixels nor places in a table."""
        if x.is_complex() or x.dtype == torch.uint8:
            return False
        tables = (nn.Embedding, nn.EmbeddingBag)
        return not any(isinstance(module, tables) for module in self.network.modules())

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
        elif self.training:
            self.forward_evaluations += 1
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
