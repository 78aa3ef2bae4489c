"""The published protocol of the free-space products: the released networks under misalignment.

The released networks are 784-144-10 with a sigmoid between, on normalised and hence signed MNIST
pixels. The accuracy on all test images is measured against a rotation, a shift along y and a
magnification of the modulator images, sampled at the nearest pixel. As published, layer 1 answers
to all of them and layer 2 to the magnification only. With both layers rotated or shifted every
released network falls far lower; such series, and some with one layer misaligned alone, stand
beside the published ones.

At some levels many weights lie halfway between two pixels. Which one counts as the nearest is then
decided by rounding in single precision, and implementations differ by up to about 3 percentage
points. Such levels are measured and not compared.
These numbers show that the physics is the published one. They never rank a method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pnnbench import data
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.published.checkpoints import find_checkpoints
from pnnbench.published.freespace_checkpoint import (
    BOTH_LAYERS,
    LAYER_1,
    LAYER_2,
    PUBLISHED,
    Checkpoint,
    Rule,
    load_checkpoint,
)
from pnnbench.published.measure import INPUT_MEAN, INPUT_STD
from pnnbench.published.report import Progress, Report, Row
from pnnbench.published.series import known_at, series_rows
from pnnbench.workloads.accuracy import top1

TOLERANCE = 0.2  # percentage points, beside the rounding of what is recorded
RULE_NOTE = "layer 2 answers to the scale only, as published, except in series that name layers"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One misalignment at several levels.

    Attributes:
        quantity: Short name.
        label: The same in words.
        field: Field of the environment that takes the levels.
        levels: Its values.
        unit: Unit of the levels.
        rule: Fields of the environment that misalign each layer.
        rotation_deg: Rotation that stays.
        ties: Whether rounding decides which pixel many weights meet; not compared then.
    """

    quantity: str
    label: str
    field: str
    levels: tuple[float, ...]
    unit: str
    rule: Rule = PUBLISHED
    rotation_deg: float = 0.0
    ties: bool = False

    def environments(self) -> dict[float, MisalignmentEnvironment]:
        """Returns level -> environment."""
        fixed = {"rotation_deg": self.rotation_deg}
        return {v: MisalignmentEnvironment(**(fixed | {self.field: v})) for v in self.levels}


# With four decimals, as recorded: at 29 / 30 itself six percent of the weights would be at ties.
_SCALES = (0.9, 0.9333, 0.9667, 1, 1.0125, 1.025, 1.0333, 1.0667, 1.075)

SWEEPS = (
    Sweep("angle", "rotation", "rotation_deg", (-3, -2, -1, 0, 0.5, 1, 1.5, 2, 3), "deg"),
    Sweep("shift_y", "y shift", "shift_y_px", (-3, -2, -1, 0, 1, 2, 3), "px"),
    Sweep("shift_y_ties", "y shift, ties", "shift_y_px", (1.5,), "px", ties=True),
    Sweep("shift_x", "x shift", "shift_x_px", (1,), "px"),
    Sweep("scale", "scale", "scale", _SCALES, "x"),
    Sweep("scale_ties", "scale, ties", "scale", (1.05, 1.1), "x", ties=True),
    *(
        Sweep(
            f"shift_y_at_{angle:g}_deg",
            f"y shift at {angle:g} deg",
            "shift_y_px",
            (0, 0.4, 0.8, 1.2, 1.6, 2),
            "px",
            rotation_deg=angle,
        )
        for angle in (0, 0.8, 1.2, 2)
    ),
    Sweep(
        "both_angle",
        "rotation, both layers",
        "rotation_deg",
        (-1, 0, 0.5, 1, 1.5, 2),
        "deg",
        BOTH_LAYERS,
    ),
    Sweep("both_shift_y", "y shift, both layers", "shift_y_px", (0, 1, 2), "px", BOTH_LAYERS),
    Sweep("layer_2_angle", "rotation, layer 2 alone", "rotation_deg", (1,), "deg", LAYER_2),
    Sweep("layer_2_shift_y", "y shift, layer 2 alone", "shift_y_px", (1,), "px", LAYER_2),
    Sweep("layer_1_scale", "scale, layer 1 alone", "scale", (1.025,), "x", LAYER_1),
    Sweep("layer_2_scale", "scale, layer 2 alone", "scale", (1.025,), "x", LAYER_2),
)


@dataclasses.dataclass(frozen=True)
class Images:
    """Normalised test images (N, 1, 28, 28) and labels (N,)."""

    test: Tensor
    labels: Tensor
    fingerprint: str

    @classmethod
    def mnist(cls, root: Path | None = None) -> Images:
        """Reads MNIST; raises UserError if it is not there."""
        arrays = data.load("mnist", root)
        test = (arrays.test_inputs.float() / 255 - INPUT_MEAN) / INPUT_STD
        return cls(test, arrays.test_targets, arrays.fingerprint)


@torch.no_grad()
def accuracy(network: nn.Module, images: Images, environment: MisalignmentEnvironment) -> float:
    """Accuracy in percent in an environment.

    Args:
        network: The network.
        images: The test images.
        environment: Misalignment of the modulator images.

    Returns:
        The accuracy.
    """
    with operate(network, [Condition(Device.ideal(), environment)]):
        correct = top1(network(images.test), images.labels)
    return 100 * int(correct.sum()) / len(images.labels)


def measure(checkpoint: Checkpoint, images: Images, sweep: Sweep) -> list[Row]:
    """Measures one network along one sweep.

    Args:
        checkpoint: The network.
        images: The test images.
        sweep: The sweep.

    Returns:
        One row per level.
    """
    network = checkpoint.network(sweep.rule)
    values = {
        level: accuracy(network, images, environment)
        for level, environment in sweep.environments().items()
    }
    return series_rows(
        checkpoint.name,
        sweep.quantity,
        f"accuracy, {sweep.label}",
        values,
        {} if sweep.ties else checkpoint.recorded,
        tolerance=TOLERANCE,
        level_unit=sweep.unit,
    )


def tie_note(checkpoint: Checkpoint) -> str | None:
    """Names the recorded values at levels with ties, which are not compared; None if none are."""
    found = [
        f"{sweep.label.removesuffix(', ties')} {level:g} {sweep.unit}: {value:g} %"
        for sweep in SWEEPS
        if sweep.ties
        for level in sweep.levels
        if (value := known_at(checkpoint.recorded, sweep.quantity, level)) is not None
    ]
    if not found:
        return None
    return f"{checkpoint.name}: recorded at ties between pixels, not compared: {', '.join(found)}"


def compare(
    models: Sequence[Checkpoint], images: Images, progress: Progress | None = None
) -> Report:
    """Measures networks and sets the values beside the recorded ones.

    Args:
        models: The networks.
        images: The test images of MNIST for a comparison that means something.
        progress: Called after each network.

    Returns:
        The comparison.
    """
    rows: list[Row] = []
    for done, model in enumerate(models, start=1):
        rows.extend(row for sweep in SWEEPS for row in measure(model, images, sweep))
        if progress is not None:
            progress(done, len(models))
    notes = [note for model in models if (note := tie_note(model)) is not None]
    return Report("freespace", tuple(rows), {"mnist": images.fingerprint}, (RULE_NOTE, *notes))


def reproduce(
    checkpoints: Path, *, data_root: Path | None = None, progress: Progress | None = None
) -> Report:
    """Evaluates every network of a folder under the published protocol.

    Args:
        checkpoints: Folder of npz files, or one such file. Files without a record are measured
            all the same.
        data_root: Data folder of MNIST; None as for `pnnbench.data.load`.
        progress: Called after each network with the numbers done and in all.

    Returns:
        Every value beside the recorded one.

    Raises:
        UserError: If a file is not such a network, or MNIST is not there.
    """
    models = [load_checkpoint(path) for path in find_checkpoints(Path(checkpoints))]
    return compare(models, Images.mnist(data_root), progress)
