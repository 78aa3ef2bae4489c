"""The published protocol of the diffractive stack: the released networks with rotated masks.

The released networks are two phase masks with threshold absorbers between two lenses, on MNIST.
Both masks are rotated by the same angle and sampled at the nearest pixel; planes are periodic. The
accuracy is measured against the angle

- on one batch of 200 test images, the 13th of 50, as in the published curve. Of all batches it is
  the one on which the network trained with backpropagation does worst at 1 degree;
- on every fifth test image, over a wider range of both signs;
- on all test images at three angles.

Below 0.45 degrees no pixel of a mask moves; angles whose masks are equal are measured once.
These numbers show that the physics is the published one. They never rank a method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pnnbench import data
from pnnbench.platforms.base import Condition, Device, operate, physical_layers
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.published.checkpoints import find_checkpoints
from pnnbench.published.diffractive_checkpoint import Checkpoint, load_checkpoint
from pnnbench.published.report import Progress, Report, Row
from pnnbench.published.series import series_rows
from pnnbench.workloads.accuracy import top1
from pnnbench.workloads.optical_networks import DiffractiveNet

TOLERANCE = 0.2  # percentage points, beside the rounding of what is recorded
#: Transmissions that differ by less are equal.
ROUNDING = 1e-5
#: Test images between two calls of the progress function, and at once in memory.
BLOCK, CHUNK = 1000, 25


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Angles and the test images on which they are measured.

    Attributes:
        quantity: Short name.
        label: The same in words.
        angles: Clockwise rotations of both masks in degrees.
        images: The test images.
    """

    quantity: str
    label: str
    angles: tuple[float, ...]
    images: slice


SWEEPS = (
    Sweep("full", "accuracy, all test images", (0.0, 0.5, 1.0), slice(None)),
    Sweep(
        "sweep",
        "accuracy, every fifth test image",
        (-2, -1, -0.7, -0.5, 0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 3),
        slice(None, None, 5),
    ),
    Sweep(
        "curve",
        "accuracy, 13th batch of 200",
        tuple(tenths / 10 for tenths in range(11)),
        slice(2400, 2600),
    ),
)


@dataclasses.dataclass(frozen=True)
class Images:
    """Test images in [0, 1], (N, 1, 28, 28), and labels (N,)."""

    test: Tensor
    labels: Tensor
    fingerprint: str

    @classmethod
    def mnist(cls, root: Path | None = None) -> Images:
        """Reads MNIST; raises UserError if it is not there."""
        arrays = data.load("mnist", root)
        return cls(arrays.test_inputs.float() / 255, arrays.test_targets, arrays.fingerprint)


@dataclasses.dataclass
class _Position:
    """One position of the masks: their transmissions, its angles, and the images wanted there."""

    masks: Tensor
    angles: list[float]
    chosen: Tensor


@torch.no_grad()
def positions(network: DiffractiveNet, chosen: Mapping[float, Tensor]) -> list[_Position]:
    """Positions of the masks that differ in some pixel.

    Args:
        network: The network.
        chosen: Angle in degrees -> which images are wanted, bool (N,).

    Returns:
        The positions; angles at which the masks are equal but for rounding share one.
    """
    stack = physical_layers(network)["stack"]
    found: list[_Position] = []
    for angle, wanted in chosen.items():
        environment = MisalignmentEnvironment(rotation_deg=angle)
        with operate(network, [Condition(Device.ideal(), environment)]):
            masks = stack.transfer()
        for position in found:
            if torch.allclose(position.masks, masks, rtol=0.0, atol=ROUNDING):
                position.angles.append(angle)
                position.chosen = position.chosen | wanted
                break
        else:
            found.append(_Position(masks, [angle], wanted))
    return found


class Recognition:
    """Which images a network recognises at which angles; the light up to the masks is shared.

    Args:
        network: The network.
        images: Test images.
        chosen: Angle in degrees -> which of the images are wanted, bool (N,).

    Attributes:
        correct: Angle -> whether each image was recognised, bool (N,); False where not wanted.
    """

    def __init__(
        self, network: DiffractiveNet, images: Images, chosen: Mapping[float, Tensor]
    ) -> None:
        self._network = network
        self._images = images
        self._positions = positions(network, chosen)
        self.correct = {angle: torch.zeros_like(wanted) for angle, wanted in chosen.items()}

    @torch.no_grad()
    def run(self, block: slice) -> None:
        """Measures the wanted ones of a block of images."""
        stack = physical_layers(self._network)["stack"]
        every = torch.arange(len(self._images.labels))[block]
        wanted = torch.stack([position.chosen[every] for position in self._positions]).any(0)
        try:
            for some in every[wanted].split(CHUNK):
                before = self._network.prefix(self._images.test[some])
                for position in self._positions:
                    here = position.chosen[some]
                    if not here.any():
                        continue
                    stack.override_weight(position.masks)
                    found = self._network.physical(before[here])
                    right = top1(found, self._images.labels[some[here]])
                    for angle in position.angles:
                        self.correct[angle][some[here]] = right
        finally:
            stack.override_weight(None)


def _rows(checkpoint: Checkpoint, correct: Mapping[float, Tensor]) -> list[Row]:
    rows: list[Row] = []
    for sweep in SWEEPS:
        values = {
            angle: 100 * int(right.sum()) / len(right)
            for angle in sweep.angles
            if len(right := correct[angle][sweep.images])
        }
        rows += series_rows(
            checkpoint.name,
            sweep.quantity,
            sweep.label,
            values,
            checkpoint.recorded,
            tolerance=TOLERANCE,
            level_unit="deg",
        )
    return rows


def compare(
    models: Sequence[Checkpoint], images: Images, progress: Progress | None = None
) -> Report:
    """Measures networks and sets the values beside the recorded ones.

    Args:
        models: The networks.
        images: The test images of MNIST for a comparison that means something; a series for
            which there are too few is left out.
        progress: Called after each block of images of each network.

    Returns:
        The comparison.
    """
    count = len(images.labels)
    chosen: dict[float, Tensor] = {}
    for sweep in SWEEPS:
        for angle in sweep.angles:
            chosen.setdefault(angle, torch.zeros(count, dtype=torch.bool))[sweep.images] = True
    starts = range(0, count, BLOCK)
    rows: list[Row] = []
    done = 0
    for model in models:
        recognition = Recognition(model.network(), images, chosen)
        for start in starts:
            recognition.run(slice(start, start + BLOCK))
            done += 1
            if progress is not None:
                progress(done, len(starts) * len(models))
        rows += _rows(model, recognition.correct)
    return Report("diffractive", tuple(rows), {"mnist": images.fingerprint})


def reproduce(
    checkpoints: Path, *, data_root: Path | None = None, progress: Progress | None = None
) -> Report:
    """Evaluates every network of a folder under the published protocol.

    Args:
        checkpoints: Folder of npz files, or one such file. Files without a record are measured
            all the same.
        data_root: Data folder of MNIST; None as for `pnnbench.data.load`.
        progress: Called after each block of images with the numbers done and in all.

    Returns:
        Every value beside the recorded one.

    Raises:
        UserError: If a file is not such a network, or MNIST is not there.
    """
    models = [load_checkpoint(path) for path in find_checkpoints(Path(checkpoints))]
    return compare(models, Images.mnist(data_root), progress)
