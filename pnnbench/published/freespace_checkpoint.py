"""The released free-space networks: their files and the layers they run on.

Files hold the signed weights, -1 to 1 of full modulation, and the digital biases of both layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.misalignment import FIELDS, NEAREST
from pnnbench.published.checkpoints import read_checkpoint
from pnnbench.published.printed import recorded
from pnnbench.published.series import Recorded
from pnnbench.workloads.optical_networks import FreeSpaceNet

#: Shapes of the arrays in a file.
SHAPES: dict[str, tuple[int, ...]] = {
    "fc1__weight": (144, 784),
    "fc1__bias": (144,),
    "fc2__weight": (10, 144),
    "fc2__bias": (10,),
}
#: Fields of the environment that misalign layer 1 and layer 2.
Rule = tuple[tuple[str, ...], tuple[str, ...]]
#: The published rule: nothing but the scale reaches layer 2.
PUBLISHED: Rule = (FIELDS, ("scale",))
BOTH_LAYERS: Rule = (FIELDS, FIELDS)
LAYER_1: Rule = (FIELDS, ())
LAYER_2: Rule = ((), FIELDS)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One released network.

    Attributes:
        name: File name without its ending.
        arrays: Weights and biases by their names in the file.
        recorded: Recorded values by quantity.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    recorded: Recorded

    def network(self, rule: Rule = PUBLISHED) -> FreeSpaceNet:
        """Builds the network with nearest sampling and noiseless detectors.

        Args:
            rule: Fields of the environment that misalign each layer.

        Returns:
            The network in evaluation mode.
        """
        first, second = (
            FreeSpaceLayer(inputs, outputs, sampling=NEAREST, answers_to=fields, readout_noise=0.0)
            for (inputs, outputs), fields in zip(((784, 144), (144, 10)), rule, strict=True)
        )
        network = FreeSpaceNet(first, second)
        state = {
            name.replace("__", "."): torch.from_numpy(np.asarray(array, np.float32))
            for name, array in self.arrays.items()
        }
        network.load_state_dict(state, strict=False)
        return network.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one released network, or any other file of the same layout.

    Args:
        path: The npz file.

    Returns:
        The network, with what is recorded under the file's name.

    Raises:
        UserError: If the file is not such a network.
    """
    known = recorded("freespace")["checkpoints"].get(path.stem, {})
    return Checkpoint(path.stem, read_checkpoint(path, SHAPES), known)
