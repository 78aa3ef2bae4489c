"""What a row is told by that has learned nothing, or from the test images, or chose its luck.

An untrained network is measured as well as any other: its row is true, and at guessing. One that
was trained on the test images is better on them than on validation images, which no honest method
has seen either. Seeds that are left out, and training devices that are not those of the seeds, may
have been chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Standard errors by which shares of images must differ.
_ERRORS = 3.0
#: Difference between two samples of images that is nothing to speak of.
_SAMPLES = 0.02


def learned(
    values: Sequence[float | None],
    chance: float | None,
    higher_is_better: bool,
    images: int | None,
) -> bool | None:
    """Whether a row is better than guessing on the ideal device.

    Args:
        values: The clean metric of each seed.
        chance: What guessing reaches.
        higher_is_better: Direction of the metric.
        images: Test images, where the metric is a share of them; None for another one.

    Returns:
        True or false; None where guessing has no value.
    """
    if chance is None:
        return None
    known = [value for value in values if value is not None]
    if not known:
        return False
    mean = math.fsum(known) / len(known)
    error = math.sqrt(chance * (1.0 - chance) / images) if images else 0.0
    ahead = mean - chance if higher_is_better else chance - mean
    return ahead > _ERRORS * error


def peeked(
    test: Sequence[float | None], validation: Sequence[float | None], images: tuple[int, int]
) -> Mapping[str, Any] | None:
    """Compares the clean accuracy on test images with that on validation images.

    Args:
        test: Of each seed, on test images.
        validation: Of each seed, on validation images.
        images: Numbers of test and validation images.

    Returns:
        ``test`` and ``validation`` (means), ``allowed`` (three standard errors of the difference,
        and 0.02 for samples that are never quite alike) and ``peeked``: better on the test images
        than that; None where there is nothing to compare.
    """
    pairs = [
        (a, b) for a, b in zip(test, validation, strict=True) if a is not None and b is not None
    ]
    if not pairs or not all(images):
        return None
    known = math.fsum(a for a, _ in pairs) / len(pairs)
    fresh = math.fsum(b for _, b in pairs) / len(pairs)
    # The images are the same for all seeds, so that more seeds make the error no smaller.
    share = (known * images[0] + fresh * images[1]) / sum(images)
    error = math.sqrt(max(share * (1.0 - share), 0.25 / sum(images)) * sum(1 / n for n in images))
    allowed = _ERRORS * error + _SAMPLES
    return {
        "test": known,
        "validation": fresh,
        "allowed": allowed,
        "peeked": known - fresh > allowed,
    }


def left_out(seeds: Sequence[int]) -> int:
    """How many seeds are left out: those of a row are 0, 1, 2, ... and nobody chooses among them.

    Args:
        seeds: The seeds of a row, failed ones among them.

    Returns:
        Seeds from 0 up to the largest that are not there.
    """
    return max(seeds) + 1 - len(set(seeds))


def other_devices(records: Mapping[int, Mapping[str, Any]]) -> list[dict[str, int]]:
    """Seeds whose training device is not their own, which all rows share that train in situ.

    A suite may name its training devices, so that no fault is meant: but whoever names them may
    have chosen those on which a method does well.

    Args:
        records: Seed -> its record, of a failure too.

    Returns:
        For each such seed ``seed`` and ``device``, the number of its training device.
    """
    devices = {seed: record["job"]["seeds"]["train_device"] for seed, record in records.items()}
    return [
        {"seed": seed, "device": device}
        for seed, device in sorted(devices.items())
        if device is not None and device != seed
    ]
