"""Published parameters as plain npz files: found, read without unpickling, checked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnnbench.errors import UserError

# Whatever zipfile, zlib and numpy raise on files that are damaged, encrypted or of another kind.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def find_checkpoints(folder: Path) -> list[Path]:
    """Lists the npz files of a folder by name.

    Args:
        folder: The folder, or a single npz file.

    Returns:
        At least one path.

    Raises:
        UserError: If nothing is there.
    """
    if folder.is_file() and folder.suffix == ".npz":
        return [folder]
    if not folder.is_dir():
        raise UserError(
            f"no folder {folder}", next_step="give the folder of the npz files: --checkpoints DIR"
        )
    paths = sorted(p for p in folder.iterdir() if p.suffix == ".npz" and p.is_file())
    if not paths:
        raise UserError(
            f"no npz file in {folder}",
            next_step="give the folder that holds the checkpoints as npz files",
        )
    return paths


def read_checkpoint(
    path: Path, shapes: Mapping[str, tuple[int, ...]], optional: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Reads an npz file of named numbers.

    Args:
        path: The file.
        shapes: Name -> shape of every array that may be in it.
        optional: Names that may be absent.

    Returns:
        Name -> array of finite numbers, as stored.

    Raises:
        UserError: If the file is not a readable npz, or a name, shape, type or value is wrong.
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("a single array, not a set of named arrays")
        with file:
            names = set(file.files)
            missing = sorted(set(shapes) - set(optional) - names)
            unknown = sorted(names - set(shapes))
            if missing or unknown:
                problems = [f"no {', '.join(missing)}"] if missing else []
                problems += [f"unknown {', '.join(unknown)}"] if unknown else []
                raise UserError(f"{path}: {'; '.join(problems)}", allowed=", ".join(shapes))
            for name in file.files:
                arrays[name] = file[name]
    except _UNREADABLE as error:
        raise UserError(
            f"{path} is not a readable npz file: {error}",
            allowed="arrays of plain numbers, written by numpy.savez",
        ) from error
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            raise UserError(
                f"{path}: {name} has shape {array.shape}", allowed=str(tuple(shapes[name]))
            )
        if array.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name} holds {array.dtype}", allowed="real numbers")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds values that are not finite")
    return arrays


def read_model(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """Reads the parameters of a network with batch norm; see `read_checkpoint`.

    Args:
        path: The file.
        shapes: Name -> shape of every array. The batch counts of batch norm may be absent.

    Returns:
        Name -> array of finite numbers, as stored; variances are not negative.

    Raises:
        UserError: If the file does not hold such parameters.
    """
    optional = [name for name in shapes if name.endswith(".num_batches_tracked")]
    arrays = read_checkpoint(path, shapes, optional)
    for name, array in arrays.items():
        if name.endswith(".running_var") and (array < 0).any():
            raise UserError(f"{path}: {name} has negative variances", allowed=">= 0")
    return arrays
