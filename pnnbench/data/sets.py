"""Image sets by name. Importing this module loads neither torchvision nor scikit-learn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pnnbench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from pnnbench.data.arrays import ImageArrays

NAMES = ("digits", "mnist")
"""Names that `load` accepts: ``digits`` ships inside scikit-learn, ``mnist`` needs files."""


def load(name: str, root: str | Path | None = None, download: bool = False) -> ImageArrays:
    """Reads an image set and checks it against the manifest of the package.

    Args:
        name: One of `NAMES`.
        root: Data folder. None means the folder in the environment variable PNNBENCH_DATA, or
            ``~/.cache/pnnbench/data`` when that is not set. Not used by ``digits``.
        download: Whether missing files may be downloaded through torchvision. The environment
            variable PNNBENCH_DOWNLOAD=1 does the same.

    Returns:
        The set, with its fingerprint.

    Raises:
        UserError: If the name is unknown, or files are missing, damaged or cannot be downloaded.
    """
    if name == "digits":
        from pnnbench.data.digits import load_digits

        return load_digits()
    if name == "mnist":
        from pnnbench.data.mnist import load_mnist

        return load_mnist(root, download=download or _download_allowed())
    raise unknown_name("data set", name, NAMES)


def fetch(name: str, root: str | Path | None = None) -> Path | None:
    """Downloads a set through torchvision if it is not there, and checks every file.

    Damaged files are replaced.

    Args:
        name: One of `NAMES`.
        root: Data folder; None as for `load`.

    Returns:
        The data folder, or None for a set that needs no files.

    Raises:
        UserError: If the name is unknown or the download fails.
    """
    if name == "digits":
        return None
    if name == "mnist":
        from pnnbench.data.mnist import fetch_mnist

        return fetch_mnist(root)
    raise unknown_name("data set", name, NAMES)


def _download_allowed() -> bool:
    """Reads PNNBENCH_DOWNLOAD; raises UserError for anything but 0, 1 or nothing."""
    value = os.environ.get("PNNBENCH_DOWNLOAD", "")
    if value not in ("", "0", "1"):
        raise UserError(f"PNNBENCH_DOWNLOAD is {value!r}", allowed="0 or 1")
    return value == "1"
