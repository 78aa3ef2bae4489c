"""The released mesh models: their files, the network they run in and the device with errors.

Files hold theta and phi of the mesh as (64 columns, 32), entry [l, k] the k-th interferometer of
column l from the top; the last entry of odd columns, which have 31, stands for nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.platforms.base import Device
from pnnbench.platforms.mesh import coupler_places
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.published.checkpoints import read_checkpoint, read_model
from pnnbench.published.printed import recorded
from pnnbench.workloads.mzi import MZIMNIST, PORTS
from pnnbench.workloads.optical_networks import LeNetFront, MeshNet

#: Shape of everything that the files hold once per interferometer.
PLACES = (PORTS, PORTS // 2)
#: Error of the mesh -> its name in the file.
_ERRORS = {"theta": "d_theta", "phi": "d_phi", "e_l": "e_l", "e_r": "e_r"}
#: Products of coupler amplitudes sqrt(1 +- e_l) sqrt(1 +- e_r) that the released device also holds.
_PRODUCTS = {"epp": (1, 1), "enn": (-1, -1), "epn": (1, -1), "enp": (-1, 1)}
_PRODUCT_TOLERANCE = 1e-4


class PublishedMZIMNIST(MZIMNIST):
    """The published network on one mesh, with noiseless detectors.

    Args:
        ports: Number of ports that enter the loss: the ten classes, or all of them.
    """

    def __init__(self, ports: int = 10) -> None:
        self._ports = ports
        super().__init__()

    def build_network(self) -> MeshNet:
        """Builds the network."""
        return MeshNet(LeNetFront(PORTS), MZIMesh(PORTS, readout_noise=0.0), self._ports)


def at_couplers(array: NDArray[Any]) -> Tensor:
    """Values of the interferometers in the order of a mesh, float64 (2016,), from (64, 32)."""
    columns, tops = coupler_places(PORTS)
    return torch.from_numpy(np.asarray(array, np.float64)[columns, (tops - columns % 2) // 2])


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One released model.

    Attributes:
        name: File name without its ending.
        arrays: Parameters by name: those of the digital layers, and ``mesh.theta``, ``mesh.phi``
            (64, 32) and ``mesh.gamma`` (64,) in rad.
        recorded: Recorded values by quantity.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    recorded: Mapping[str, Any]

    def workload(self, ports: int = 10) -> PublishedMZIMNIST:
        """Builds the model.

        Args:
            ports: As for `PublishedMZIMNIST`.

        Returns:
            The workload in evaluation mode. Phases that no detector sees are left out.
        """
        workload = PublishedMZIMNIST(ports)
        state = {
            f"front.{name}": torch.from_numpy(np.array(array, np.float64))
            for name, array in self.arrays.items()
            if not name.startswith("mesh.")
        }
        state["mesh.theta"] = at_couplers(self.arrays["mesh.theta"])
        live = workload.network.get_buffer("mesh.live_phi")
        state["mesh.phi"] = at_couplers(self.arrays["mesh.phi"])[live]
        state["mesh.gamma"] = torch.from_numpy(np.asarray(self.arrays["mesh.gamma"]))
        workload.network.load_state_dict(state, strict=False)
        return workload.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one released model, or any other file of the same layout.

    Args:
        path: The npz file.

    Returns:
        The model, with what is recorded under the file's name.

    Raises:
        UserError: If the file is not such a model.
    """
    shapes = {name: tuple(value.shape) for name, value in LeNetFront(PORTS).state_dict().items()}
    shapes |= {"mesh.theta": PLACES, "mesh.phi": PLACES, "mesh.gamma": (PORTS,)}
    arrays = read_model(path, shapes)
    return Checkpoint(path.stem, arrays, recorded("mzi")["checkpoints"].get(path.stem, {}))


def load_error_device(path: Path) -> Device:
    """Reads the errors of the device on which the released models were trained and tested.

    Args:
        path: The npz file: ``d_theta`` and ``d_phi`` in rad, ``e_l`` and ``e_r`` as power
            imbalance in [-1, 1], each (64, 32). Also, if the file has them, the amplitudes
            ``epp``, ``enn``, ``epn``, ``enp`` (64 waveguides, 64 columns), which must agree.

    Returns:
        The device, for the layer ``mesh``.

    Raises:
        UserError: If the file does not hold such a device.
    """
    shapes = dict.fromkeys(_ERRORS.values(), PLACES)
    arrays = read_checkpoint(
        path, shapes | dict.fromkeys(_PRODUCTS, (PORTS, PORTS)), optional=_PRODUCTS
    )
    errors = {error: at_couplers(arrays[name]) for error, name in _ERRORS.items()}
    for name in ("e_l", "e_r"):
        if (worst := float(errors[name].abs().max())) > 1:
            raise UserError(f"{path}: {name} is up to {worst:.3g} in magnitude", allowed="[-1, 1]")
    for name in sorted(_PRODUCTS.keys() & arrays.keys()):
        left, right = _PRODUCTS[name]
        expected = torch.sqrt((1 + left * errors["e_l"]) * (1 + right * errors["e_r"]))
        # The k-th interferometer of a column stands at waveguide 2 k, whatever the column.
        off = (at_couplers(arrays[name][0::2].T) - expected).abs().max()
        if off > _PRODUCT_TOLERANCE:
            raise UserError(
                f"{path}: {name} contradicts e_l and e_r by up to {off:.3g}",
                allowed=f"at most {_PRODUCT_TOLERANCE:g}",
            )
    return Device({"mesh": {name: value.float() for name, value in errors.items()}})
