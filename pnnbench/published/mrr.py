"""The published protocol of the microring weight bank: the released checkpoints, their tables.

The released models are LeNet-5 networks on MNIST whose weights follow the normalised Lorentzian
w = 1 - 2 / (1 + (x / 0.15)^2). The evaluation is repeated with the platform's own layers:

- the drift sweep shifts the rings of fc2 and fc3 only, by x -> x - 0.08 |dT|, and normalises with
  the statistics of each batch of 100 test images, 1400 to 1499 in the published figure;
- a model saved as weights is inverted on the positive branch x >= 0. The published evaluation did
  that with every model, so a model saved as signed currents is measured with |x|, and its sweep
  with signed x stands beside it;
- lambda_1 is the largest eigenvalue of the Hessian with respect to the currents of all five
  layers, frozen batch norm, on a fixed set of training images. The published number is the
  second eigenvalue over all parameters on 100 test images, in a network without ReLU after the
  linear layers and with normalised inputs, whatever the model was trained in.

These numbers show that the physics is the published one. They never rank a method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench import data
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.lanczos import lanczos
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION, MRRWeightBank
from pnnbench.published.checkpoints import find_checkpoints
from pnnbench.published.measure import (
    INPUT_MEAN,
    INPUT_STD,
    batch_statistics,
    parameter_product,
)
from pnnbench.published.mrr_checkpoint import (
    Checkpoint,
    PublishedMRRMNIST,
    load_checkpoint,
)
from pnnbench.published.printed import recorded
from pnnbench.published.report import Progress, Report, Row
from pnnbench.workloads.accuracy import top1

#: Temperature changes of the published sweep and of the same sweep on all test images, degC.
SWEEP_DEGC = tuple(-i / 10 for i in range(21))
FULL_SWEEP_DEGC = (-0.1, -0.2, -0.5, -1.0, -1.5, -2.0)
#: Test images of the published sweep and of the published eigenvalue.
SWEEP_IMAGES = slice(1400, 1500)
#: Layers that the published sweep shifts.
SWEPT_LAYERS = ("fc2", "fc3")
#: Images that share batch statistics.
BATCH = 100

# Beside the rounding of what is recorded:
ACCURACY_TOLERANCE = 0.02  # percentage points
SWEEP_TOLERANCE = 0.0  # the same, of counts of 100 images
LAMBDA_TOLERANCE = 0.02  # relative


def drift_device(network: nn.Module, change_degc: float) -> Device:
    """The published drift: the rings of fc2 and fc3 shifted by x -> x - 0.08 |dT|.

    Args:
        network: The published network.
        change_degc: Temperature change dT in degC; only its magnitude counts.

    Returns:
        A device whose other layers are ideal.
    """
    c = PUBLISHED_CALIBRATION
    offset = c.drift_nm_per_degc * abs(change_degc) / c.hwhm_nm
    layers = {name: network.get_submodule(name) for name in SWEPT_LAYERS}
    return Device(
        {
            name: {"detuning": torch.full_like(layer.current, offset)}
            for name, layer in layers.items()
            if isinstance(layer, MRRWeightBank)
        }
    )


@dataclasses.dataclass(frozen=True)
class Images:
    """Raw images in [0, 1] and labels: test (N, 1, 28, 28), and the training images of lambda_1."""

    test: Tensor
    test_labels: Tensor
    train: Tensor
    train_labels: Tensor
    fingerprint: str

    @classmethod
    def mnist(cls, root: Path | None = None) -> Images:
        """Reads MNIST; raises UserError if it is not there."""
        arrays = data.load("mnist", root)
        chosen = torch.tensor(recorded("mrr")["lambda_images"], dtype=torch.long)
        return cls(
            arrays.test_inputs.float() / 255,
            arrays.test_targets,
            arrays.train_inputs[chosen].float() / 255,
            arrays.train_targets[chosen],
            arrays.fingerprint,
        )


def _inputs(images: Tensor, normalised: bool) -> Tensor:
    return (images - INPUT_MEAN) / INPUT_STD if normalised else images


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Accuracy in percent in batches of 100, with the present batch-norm mode."""
    pairs = zip(images.split(BATCH), labels.split(BATCH), strict=True)
    correct = sum(int(top1(network(x), y).sum()) for x, y in pairs)
    return 100 * correct / len(labels)


def drift_sweep(
    workload: PublishedMRRMNIST, images: Tensor, labels: Tensor, levels: Sequence[float]
) -> list[float]:
    """Accuracies in percent under the published drift, with the present batch-norm mode.

    Args:
        workload: The model.
        images: Inputs (N, 1, 28, 28).
        labels: Labels (N,).
        levels: Temperature changes in degC.

    Returns:
        One accuracy per level.
    """
    network = workload.network
    values = []
    for level in levels:
        with operate(network, [Condition(drift_device(network, level))]):
            values.append(accuracy(network, images, labels))
    return values


def lambda_1(workload: PublishedMRRMNIST, images: Tensor, labels: Tensor) -> tuple[float, bool]:
    """Largest Hessian eigenvalue with respect to all currents, and whether it has converged."""
    with deployed(workload):
        hessian = ControlHessian(workload, images, labels, chunk=500)
        # The second eigenvalue is asked for as well, so that a first one that shows up late in
        # the recurrence is not missed.
        found = lanczos(hessian.product, hessian.size, seed=0, top=2, tol=1e-4, others_tol=1e-2)
    return float(found.top[0]), found.converged


def published_lambda(
    workload: PublishedMRRMNIST, images: Tensor, labels: Tensor
) -> tuple[float, bool]:
    """Second largest Hessian eigenvalue over all parameters, and whether it has converged."""
    parameters = list(workload.network.parameters())
    product = parameter_product(F.cross_entropy(workload.network(images), labels), parameters)
    size = sum(p.numel() for p in parameters)
    found = lanczos(product, size, seed=0, top=2, tol=1e-3, others_tol=1e-4)
    return float(found.top[1]), found.converged


class _Measurements:
    """The measurements of one checkpoint, in the order of the report."""

    def __init__(self, checkpoint: Checkpoint, images: Images) -> None:
        self.checkpoint = checkpoint
        self.images = images
        self.workload = checkpoint.workload()
        self.test = _inputs(images.test, checkpoint.lambda_variant)
        self.notes: list[str] = []
        if count := checkpoint.over_range:
            self.notes.append(f"{checkpoint.name}: {count} weights outside [-1, 1] were clamped")

    def steps(self) -> list[Callable[[], list[Row]]]:
        """Returns the measurements that apply."""
        steps = [self.drift, self.clean, self.full_sweep, self.sharpness]
        if self.checkpoint.signed_currents:
            steps.insert(1, self.signed_drift)
        if "published_lambda" in self.checkpoint.recorded:
            steps.append(self.published_sharpness)
        return steps

    def _series(
        self, key: str, label: str, levels: Sequence[float], values: list[float], tolerance: float
    ) -> list[Row]:
        known = self.checkpoint.recorded.get(key) or [None] * len(levels)
        return [
            Row(self.checkpoint.name, key, label, v, "%", r, tolerance, level, "degC")
            for level, v, r in zip(levels, values, known, strict=True)
        ]

    def drift(self) -> list[Row]:
        x, y = self.test[SWEEP_IMAGES], self.images.test_labels[SWEEP_IMAGES]
        with batch_statistics(self.workload):
            values = drift_sweep(self.workload, x, y, SWEEP_DEGC)
        label = "drift, 100 images, batch statistics"
        return self._series("drift", label, SWEEP_DEGC, values, SWEEP_TOLERANCE)

    def signed_drift(self) -> list[Row]:
        workload = self.checkpoint.workload(signed=True)
        x, y = self.test[SWEEP_IMAGES], self.images.test_labels[SWEEP_IMAGES]
        with batch_statistics(workload):
            values = drift_sweep(workload, x, y, SWEEP_DEGC)
        label = "drift, 100 images, batch statistics, signed currents"
        return self._series("drift_signed", label, SWEEP_DEGC, values, SWEEP_TOLERANCE)

    def _accuracy(self, key: str, label: str) -> Row:
        value = accuracy(self.workload.network, self.test, self.images.test_labels)
        known = self.checkpoint.recorded.get(key)
        return Row(self.checkpoint.name, key, label, value, "%", known, ACCURACY_TOLERANCE)

    def clean(self) -> list[Row]:
        frozen = self._accuracy("clean_frozen", "accuracy, frozen batch norm")
        with batch_statistics(self.workload):
            return [frozen, self._accuracy("clean_batch", "accuracy, batch statistics")]

    def full_sweep(self) -> list[Row]:
        def sweep(key: str, label: str) -> list[Row]:
            labels = self.images.test_labels
            values = drift_sweep(self.workload, self.test, labels, FULL_SWEEP_DEGC)
            return self._series(key, label, FULL_SWEEP_DEGC, values, ACCURACY_TOLERANCE)

        frozen = sweep("drift_10k_frozen", "drift, all images, frozen batch norm")
        with batch_statistics(self.workload):
            return frozen + sweep("drift_10k_batch", "drift, all images, batch statistics")

    def _eigenvalue(self, key: str, label: str, found: tuple[float, bool]) -> list[Row]:
        value, converged = found
        if not converged:
            self.notes.append(f"{self.checkpoint.name}: {label} has not converged")
        known = self.checkpoint.recorded.get(key)
        tolerance = 0.0 if known is None else LAMBDA_TOLERANCE * abs(known)
        return [Row(self.checkpoint.name, key, label, value, "", known, tolerance)]

    def sharpness(self) -> list[Row]:
        x = _inputs(self.images.train, self.checkpoint.lambda_variant)
        found = lambda_1(self.workload, x, self.images.train_labels)
        return self._eigenvalue("lambda_1", "lambda_1 of the currents", found)

    def published_sharpness(self) -> list[Row]:
        variant = dataclasses.replace(self.checkpoint, lambda_variant=True).workload()
        x = _inputs(self.images.test[SWEEP_IMAGES], True)
        found = published_lambda(variant, x, self.images.test_labels[SWEEP_IMAGES])
        return self._eigenvalue("published_lambda", "published lambda (second, all)", found)


def compare(
    models: Sequence[Checkpoint], images: Images, progress: Progress | None = None
) -> Report:
    """Measures models and sets the values beside the recorded ones.

    Args:
        models: The models.
        images: All of MNIST for a comparison that means something.
        progress: Called after each measurement.

    Returns:
        The comparison.
    """
    measurements = [_Measurements(model, images) for model in models]
    steps = [step for m in measurements for step in m.steps()]
    rows: list[Row] = []
    for done, step in enumerate(steps, start=1):
        rows.extend(step())
        if progress is not None:
            progress(done, len(steps))
    notes = tuple(note for m in measurements for note in m.notes)
    return Report("mrr", tuple(rows), {"mnist": images.fingerprint}, notes)


def reproduce(
    checkpoints: Path, *, data_root: Path | None = None, progress: Progress | None = None
) -> Report:
    """Evaluates every checkpoint of a folder under the published protocol.

    Args:
        checkpoints: Folder of npz files, or one such file. Files without a record are measured
            all the same.
        data_root: Data folder of MNIST; None as for `pnnbench.data.load`.
        progress: Called after each measurement with the numbers done and in all.

    Returns:
        Every value beside the recorded one.

    Raises:
        UserError: If a file is not such a checkpoint, or MNIST is not there.
    """
    models = [load_checkpoint(path) for path in find_checkpoints(Path(checkpoints))]
    return compare(models, Images.mnist(data_root), progress)
