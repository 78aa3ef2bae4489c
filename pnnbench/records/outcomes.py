"""Right or wrong of each image in each cell: ``outcomes.safetensors`` beside a record.

One bit an image. With them a board can be resampled over its images, split by class and compared
image by image, which a mean over the images cannot. The file holds one tensor, `TENSOR`, uint8 of
shape (cells + 1, ceil(images / 8)), packed as `numpy.packbits` does: the first row is the ideal
device without noise, then the cells in their order. A cell that could not be measured has no image
right.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pnnbench.errors import UserError
from pnnbench.records.store import beside, write_whole

FILE = "outcomes.safetensors"
#: Name of the tensor in the file.
TENSOR = "outcomes"


def write_outcomes(folder: Path, right: NDArray[np.bool_]) -> dict[str, str]:
    """Writes the outcomes of a job in one step.

    Args:
        folder: The job's folder.
        right: Which images are right, shape (cells + 1, images), clean first.

    Returns:
        What the record has under ``"outcomes"``: file name and SHA-256.

    Raises:
        UserError: If the array has another number of dimensions.
        DiskFullError: If there is no room.
    """
    if right.ndim != 2:
        raise UserError(f"outcomes of shape {right.shape}", allowed="(cells + 1, images)")
    data = save({TENSOR: np.packbits(right.astype(bool), axis=1)})
    write_whole(folder / FILE, data)
    return {"file": FILE, "sha256": hashlib.sha256(data).hexdigest()}


def read_outcomes(path: Path, record: dict[str, Any]) -> NDArray[np.bool_]:
    """Reads the outcomes of a job.

    Args:
        path: The record, a run's or a published one.
        record: The record at that path.

    Returns:
        Which images are right, shape (cells + 1, images), clean first.

    Raises:
        UserError: If the record names no outcomes, or the file is missing, is not the one of the
            record, or does not fit its cells and images.
    """
    if "outcomes" not in record:
        raise UserError(
            f"{path}: the record has no outcomes",
            next_step="run the job again with this version of pnnbench, on a task with classes",
        )
    file = beside(path, record, "outcomes")
    again = f"pnnbench doctor {path.parent}"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error})", next_step=again) from None
    if hashlib.sha256(data).hexdigest() != record["outcomes"]["sha256"]:
        raise UserError(f"{file}: is not the file of the record", next_step=again)
    images = record["data"]["n_test"]
    shape = (len(record["cells"]) + 1, (images + 7) // 8)
    try:
        bits = load(data)[TENSOR]
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{file}: holds no outcomes ({error})", next_step=again) from None
    if bits.shape != shape or bits.dtype != np.uint8:
        raise UserError(
            f"{file}: holds {bits.dtype} of shape {bits.shape}", allowed=f"uint8 of shape {shape}"
        )
    return np.unpackbits(bits, axis=1, count=images).astype(bool)
