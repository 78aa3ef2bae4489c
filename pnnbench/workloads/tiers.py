"""How much of a workload one job runs."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tier:
    """How much of a workload one job runs.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per gradient step.
        n_devices: Test devices per severity.
        train_images: Number of training images, None for all.
        test_images: Number of test images, None for all.
        calibration_images: Training images for batch-norm statistics and read-out full scale.
        sharpness_images: Training images for the Hessian, at most.
        validation_images: Last training images that are kept out of the training: for the
            validation curve, the temperature of the outputs and the choice of settings.
    """

    epochs: int
    batch_size: int
    n_devices: int
    train_images: int | None = None
    test_images: int | None = None
    calibration_images: int = 10_000
    sharpness_images: int = 10_000
    validation_images: int = 0
