"""The published protocol of the interferometer mesh: the released models on their error device.

The released models are a LeNet front end before one mesh of 64 waveguides, on MNIST. Measured are

- the accuracy on all test images, on the ideal device and on the one fabricated device that every
  model was trained and tested on; published with batch norm in training mode on test batches of
  6000 and 4000 images, and measured with frozen batch norm as well; then with the errors of the
  couplers alone and of the phases alone;
- the largest Hessian eigenvalue, always on the ideal device with frozen batch norm and the first
  1000 test images. The published one is over all parameters, most of them digital, with a
  cross-entropy over all 64 ports. It says little of the mesh: rescaling digital layers, which no
  output notices, moves it a hundredfold. Those with the deployed loss over ten ports, over all
  parameters and over the optical phases alone, stand beside it.

A model trained with error-prediction networks is deployed and measured without them.
These numbers show that the physics is the published one. They never rank a method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pnnbench import data
from pnnbench.errors import UserError
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.lanczos import Product, lanczos
from pnnbench.platforms.base import Device
from pnnbench.published.checkpoints import find_checkpoints
from pnnbench.published.measure import (
    INPUT_MEAN,
    INPUT_STD,
    batch_statistics,
    parameter_product,
)
from pnnbench.published.mzi_checkpoint import (
    Checkpoint,
    PublishedMZIMNIST,
    load_checkpoint,
    load_error_device,
)
from pnnbench.published.report import Progress, Report, Row
from pnnbench.workloads.accuracy import top1
from pnnbench.workloads.mzi import PORTS

#: File of the device's errors, beside the models.
ERROR_DEVICE = "error_device.npz"
#: Ending of the names of files with error-prediction networks.
SEPN = "_sepn"
#: Images that share batch statistics.
BATCH = 6000
#: Number of test images, from the first, for eigenvalues.
LAMBDA_IMAGES = 1000

# Beside the rounding of what is recorded:
ACCURACY_TOLERANCE = 0.02  # percentage points
LAMBDA_TOLERANCE = 0.01  # relative


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
def features(workload: PublishedMZIMNIST, images: Tensor) -> Tensor:
    """What enters the mesh (N, 64), in batches of 6000, with the present batch-norm mode."""
    return torch.cat([workload.prefix(x) for x in images.split(BATCH)])


@torch.no_grad()
def accuracy(workload: PublishedMZIMNIST, h: Tensor, labels: Tensor, device: Device) -> float:
    """Accuracy in percent on a device, from what enters the mesh (N, 64)."""
    with workload.operating(device):
        correct = top1(workload.physical(h), labels)
    return 100 * int(correct.sum()) / len(labels)


def _top(product: Product, size: int) -> tuple[float, bool]:
    # The second eigenvalue is asked for as well, so that a first one that shows up late in the
    # recurrence is not missed.
    found = lanczos(product, size, seed=0, top=2, tol=1e-4, others_tol=1e-2)
    return float(found.top[0]), found.converged


def lambda_all(workload: PublishedMZIMNIST, images: Tensor, labels: Tensor) -> tuple[float, bool]:
    """Largest Hessian eigenvalue over all parameters, and whether it has converged.

    Args:
        workload: The model; its number of ports is that of the loss.
        images: Normalised images (N, 1, 28, 28).
        labels: Labels (N,).

    Returns:
        The eigenvalue and the verdict.
    """
    parameters = list(workload.network.parameters())
    loss = F.cross_entropy(workload(images), labels)
    product = parameter_product(loss, parameters)
    return _top(product, sum(p.numel() for p in parameters))


def lambda_phases(
    workload: PublishedMZIMNIST, images: Tensor, labels: Tensor
) -> tuple[float, bool]:
    """Largest Hessian eigenvalue over the optical phases, per rad^2; see `lambda_all`."""
    with deployed(workload):
        hessian = ControlHessian(workload, images, labels, chunk=LAMBDA_IMAGES)
        return _top(hessian.product, hessian.size)


class _Measurements:
    """The measurements of one checkpoint, in the order of the report."""

    def __init__(self, checkpoint: Checkpoint, images: Images, device: Device | None) -> None:
        self.checkpoint = checkpoint
        self.images = images
        self.device = device
        self.workload = checkpoint.workload()
        self.notes: list[str] = []

    def steps(self) -> list[Callable[[], list[Row]]]:
        """Returns the measurements."""
        return [self.accuracies, self.published_sharpness, self.all_sharpness, self.sharpness]

    def _row(self, key: str, label: str, value: float, unit: str, tolerance: float) -> Row:
        known = self.checkpoint.recorded.get(key)
        return Row(self.checkpoint.name, key, label, value, unit, known, tolerance)

    def accuracies(self) -> list[Row]:
        """Measures the accuracies."""
        modes = {"frozen": features(self.workload, self.images.test)}
        with batch_statistics(self.workload):
            modes["batch"] = features(self.workload, self.images.test)
        cases: list[tuple[str, str, Device, tuple[str, ...]]] = [
            ("clean", "accuracy", Device.ideal(), ("frozen", "batch"))
        ]
        if self.device is not None:
            errors = self.device.errors["mesh"]
            couplers = Device({"mesh": {k: errors[k] for k in ("e_l", "e_r")}})
            phases = Device({"mesh": {k: errors[k] for k in ("theta", "phi")}})
            cases += [
                ("error", "accuracy on the error device", self.device, ("frozen", "batch")),
                ("couplers", "accuracy, its coupler errors only", couplers, ("frozen",)),
                ("phases", "accuracy, its phase errors only", phases, ("frozen",)),
            ]
        words = {"frozen": "frozen batch norm", "batch": "batch statistics"}
        return [
            self._row(
                f"{name}_{mode}",
                f"{label}, {words[mode]}",
                accuracy(self.workload, modes[mode], self.images.labels, device),
                "%",
                ACCURACY_TOLERANCE,
            )
            for name, label, device, chosen in cases
            for mode in chosen
        ]

    def _eigenvalue(self, key: str, label: str, found: tuple[float, bool]) -> Row:
        value, converged = found
        if not converged:
            self.notes.append(f"{self.checkpoint.name}: {label} has not converged")
        tolerance = LAMBDA_TOLERANCE * abs(self.checkpoint.recorded.get(key, 0.0))
        return self._row(key, label, value, "", tolerance)

    def _sample(self) -> tuple[Tensor, Tensor]:
        return self.images.test[:LAMBDA_IMAGES], self.images.labels[:LAMBDA_IMAGES]

    def published_sharpness(self) -> list[Row]:
        """Measures the eigenvalue of the published loss, over all ports."""
        found = lambda_all(self.checkpoint.workload(PORTS), *self._sample())
        label = "lambda, all parameters, 64-way"
        rows = [self._eigenvalue("lambda_all_64", label, found)]
        if "published_lambda" in self.checkpoint.recorded:
            rows.append(self._eigenvalue("published_lambda", f"{label}, as printed", found))
        return rows

    def all_sharpness(self) -> list[Row]:
        """Measures the eigenvalue of the deployed loss over all parameters."""
        found = lambda_all(self.workload, *self._sample())
        return [self._eigenvalue("lambda_all_10", "lambda, all parameters, 10-way", found)]

    def sharpness(self) -> list[Row]:
        """Measures the eigenvalue of the deployed loss over the phases."""
        found = lambda_phases(self.workload, *self._sample())
        return [self._eigenvalue("lambda_phases", "lambda, optical phases, 10-way", found)]


def compare(
    models: Sequence[Checkpoint],
    images: Images,
    device: Device | None,
    progress: Progress | None = None,
) -> Report:
    """Measures models and sets the values beside the recorded ones.

    Args:
        models: The models.
        images: The test images of MNIST for a comparison that means something.
        device: The error device; without one, what needs it is left out.
        progress: Called after each measurement.

    Returns:
        The comparison.
    """
    measurements = [_Measurements(model, images, device) for model in models]
    steps = [step for m in measurements for step in m.steps()]
    rows: list[Row] = []
    for done, step in enumerate(steps, start=1):
        rows.extend(step())
        if progress is not None:
            progress(done, len(steps))
    notes = tuple(note for m in measurements for note in m.notes)
    return Report("mzi", tuple(rows), {"mnist": images.fingerprint}, notes)


def reproduce(
    checkpoints: Path, *, data_root: Path | None = None, progress: Progress | None = None
) -> Report:
    """Evaluates every model of a folder under the published protocol.

    Args:
        checkpoints: Folder of npz files, or one such file. Files without a record are measured
            all the same. The error device is read from ``error_device.npz`` beside them.
        data_root: Data folder of MNIST; None as for `pnnbench.data.load`.
        progress: Called after each measurement with the numbers done and in all.

    Returns:
        Every value beside the recorded one.

    Raises:
        UserError: If a file is not such a model or device, or MNIST is not there.
    """
    paths = find_checkpoints(Path(checkpoints))
    skipped = [p for p in paths if p.stem.endswith(SEPN)]
    chosen = [p for p in paths if p.name != ERROR_DEVICE and p not in skipped]
    if not chosen:
        raise UserError(
            f"no model in {checkpoints}: only {', '.join(p.name for p in paths)}",
            next_step="give a folder with models as npz files, or one model",
        )
    models = [load_checkpoint(path) for path in chosen]
    notes = [f"{p.name}: error-prediction networks are not deployed; not measured" for p in skipped]
    device_path = chosen[0].with_name(ERROR_DEVICE)
    device = load_error_device(device_path) if device_path.is_file() else None
    if device is None:
        notes.append(f"no {ERROR_DEVICE} there: measured are clean accuracies and lambda only")
    report = compare(models, Images.mnist(data_root), device, progress)
    return dataclasses.replace(report, notes=(*notes, *report.notes))
