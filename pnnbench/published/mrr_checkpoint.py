"""The released microring models: their files, and the network they run in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION, MRRWeightBank
from pnnbench.published.checkpoints import read_model
from pnnbench.published.printed import recorded
from pnnbench.workloads.mrr import MRRMNIST, mrr_layers
from pnnbench.workloads.networks import LeNet5


class PublishedMRRMNIST(MRRMNIST):
    """The microring LeNet-5 with the published normalised rings.

    Args:
        fc_relu: ReLU after the first two linear layers; False is the variant of the published
            eigenvalues.
    """

    def __init__(self, fc_relu: bool = True) -> None:
        self._fc_relu = fc_relu
        super().__init__()

    def build_network(self) -> LeNet5:
        """Builds the network."""
        return LeNet5(*mrr_layers(PUBLISHED_CALIBRATION), fc_relu=self._fc_relu)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One released model.

    Attributes:
        name: File name without its ending.
        arrays: Parameters by name; ``<layer>.weight`` of a ring layer holds weights or currents.
        signed_currents: Whether ring layers hold normalised currents x instead of weights.
        lambda_variant: Whether the model runs without ReLU after the linear layers and on
            normalised inputs.
        recorded: Recorded values by quantity.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    signed_currents: bool
    lambda_variant: bool
    recorded: Mapping[str, Any]

    @property
    def over_range(self) -> int:
        """Number of weights outside [-1, 1], which no current gives."""
        if self.signed_currents:
            return 0
        rings = (self.arrays[f"{name}.weight"] for name in PublishedMRRMNIST().layers())
        return sum(int((np.abs(w) > 1.0).sum()) for w in rings)

    def workload(self, *, signed: bool = False) -> PublishedMRRMNIST:
        """Builds the model.

        Args:
            signed: Keeps the sign of currents instead of taking the positive branch. The ideal
                transfer is the same; drift moves a negative current away from the dip.

        Returns:
            The workload in evaluation mode.
        """
        workload = PublishedMRRMNIST(fc_relu=not self.lambda_variant)
        with torch.no_grad():
            for name, module in workload.network.named_children():
                tensors = {
                    key.removeprefix(f"{name}."): torch.from_numpy(np.array(array, np.float64))
                    for key, array in self.arrays.items()
                    if key.startswith(f"{name}.")
                }
                if isinstance(module, MRRWeightBank):
                    stored = tensors["weight"]
                    if not self.signed_currents:
                        module.program(stored)
                    else:
                        module.current.copy_(stored if signed else stored.abs())
                    if module.bias is not None:
                        module.bias.copy_(tensors["bias"])
                else:
                    module.load_state_dict(tensors, strict=False)
        return workload.eval()


def _shapes() -> dict[str, tuple[int, ...]]:
    state = PublishedMRRMNIST().network.state_dict()
    return {
        key.replace(".current", ".weight"): tuple(value.shape)
        for key, value in state.items()
        if not key.endswith(".full_scale")
    }


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one released model, or any other file of the same layout.

    The name decides what it holds: ``Lorentz`` in it means normalised currents, else weights;
    ``-lambda`` means the variant without ReLU after the linear layers and with normalised inputs,
    unless the record of that name says otherwise.

    Args:
        path: The npz file.

    Returns:
        The model.

    Raises:
        UserError: If the file is not such a model.
    """
    arrays = read_model(path, _shapes())
    name = path.stem
    entry = recorded("mrr")["checkpoints"].get(name.replace("_Lorentz", ""), {})
    variant = entry.get("variant", "lambda" if "-lambda" in name else "standard")
    return Checkpoint(name, arrays, "Lorentz" in name, variant == "lambda", entry)
