"""How much of a workload one job runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pnnbench.errors import UserError, kind_word, unknown_name


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


def find_tier(tiers: Any, name: Any, *, where: str) -> Tier:
    """Looks a tier up in what a workload declares.

    Args:
        tiers: Its tiers by name.
        name: Name of the tier that is asked for.
        where: Which workload it is, for messages.

    Returns:
        The tier.

    Raises:
        UserError: If there is no such tier, or the workload declares something else.
    """
    if not isinstance(tiers, Mapping) or not tiers:
        said = "no tiers" if not tiers else f"tiers that are {kind_word(tiers)}"
        raise UserError(
            f"{where} has {said}",
            allowed="a mapping of names, 'smoke' or 'quick' for example, to pnnbench.workloads."
            "tiers.Tier",
            next_step="tiers = {'smoke': Tier(epochs=1, batch_size=32, n_devices=2)} in the class",
        )
    if not isinstance(name, str) or name not in tiers:
        raise unknown_name("tier", str(name), map(str, tiers), where=where)
    found = tiers[name]
    if not isinstance(found, Tier):
        raise UserError(
            f"{where}: the tier {name!r} is {kind_word(found)}",
            allowed="a pnnbench.workloads.tiers.Tier",
            next_step=f"'{name}': Tier(epochs=1, batch_size=32, n_devices=2) in its tiers",
        )
    return found


#: Seconds of a small data set: whether all works.
SMOKE = Tier(
    epochs=1,
    batch_size=32,
    n_devices=2,
    train_images=256,
    test_images=64,
    sharpness_images=64,
    validation_images=50,
)
#: Tiers of the embedded digits, where a pass over them takes seconds.
DIGITS_TIERS: Mapping[str, Tier] = MappingProxyType(
    {
        "smoke": SMOKE,
        "quick": Tier(epochs=20, batch_size=32, n_devices=20, validation_images=140),
    }
)
#: The small tiers of MNIST.
MNIST_TIERS: Mapping[str, Tier] = MappingProxyType(
    {
        "smoke": Tier(
            epochs=1,
            batch_size=64,
            n_devices=2,
            train_images=640,
            test_images=200,
            sharpness_images=100,
            validation_images=100,
        ),
        "quick": Tier(
            epochs=2,
            batch_size=64,
            n_devices=5,
            train_images=10_000,
            test_images=2_000,
            sharpness_images=2_000,
            validation_images=1000,
        ),
    }
)
