"""MNIST from the four original IDX files, each checked against our own hashes.

torchvision parses the files. It looks only at whether they exist, so damaged pixels would pass
unseen; therefore every file is hashed before it is parsed.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

from pnnbench.data.arrays import ImageArrays
from pnnbench.data.manifest import file_sha256, manifest
from pnnbench.errors import UserError

LAYOUT = "MNIST/raw"


def data_root(root: str | Path | None = None) -> tuple[Path, str]:
    """Finds the data folder. The first that is named wins, and no other is looked at.

    Args:
        root: The folder, if the caller names one.

    Returns:
        The folder and who named it: ``root``, else the environment variable PNNBENCH_DATA, else
        the default ``~/.cache/pnnbench/data``.
    """
    if root is not None:
        return Path(root).expanduser(), "given as root"
    if named := os.environ.get("PNNBENCH_DATA"):
        return Path(named).expanduser(), "from PNNBENCH_DATA"
    return Path.home() / ".cache" / "pnnbench" / "data", "default, PNNBENCH_DATA is not set"


def missing_files(root: Path) -> list[str]:
    """Lists the IDX files that are not under ``root/MNIST/raw``."""
    return [name for name in manifest("mnist")["files"] if not (root / LAYOUT / name).is_file()]


def check_files(root: Path) -> None:
    """Compares the four IDX files with the manifest.

    Args:
        root: Data folder that holds ``MNIST/raw``.

    Raises:
        UserError: If a file differs from the original.
    """
    for name, entry in manifest("mnist")["files"].items():
        path = root / LAYOUT / name
        found = file_sha256(path)
        if found != entry["sha256"]:
            raise UserError(
                f"{path} is not the original MNIST file: its hash is {found} "
                f"({path.stat().st_size} bytes)",
                allowed=f"{entry['sha256']} ({entry['bytes']} bytes)",
                next_step=f"replace it with {_download_command(root)}",
            )


def load_mnist(root: str | Path | None = None, download: bool = False) -> ImageArrays:
    """Reads MNIST: 60,000 training and 10,000 test images of 28x28 pixels.

    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits.

    Args:
        root: Data folder; see `data_root`.
        download: Whether missing files may be downloaded.

    Returns:
        The set ``"mnist"`` with images of shape (N, 1, 28, 28) and 10 classes.

    Raises:
        UserError: If files are missing, damaged or cannot be downloaded.
    """
    folder, named_by = data_root(root)
    if missing := missing_files(folder):
        if not download:
            raise UserError(
                f"MNIST is not there: {', '.join(missing)} not found in "
                f"{folder / LAYOUT} ({named_by})",
                allowed="<root>/MNIST/raw/ with "
                + ", ".join(manifest("mnist")["files"])
                + " (unpacked, as torchvision lays them out); <root> is PNNBENCH_DATA or "
                "~/.cache/pnnbench/data",
                next_step=_download_command(folder),
            )
        fetch_mnist(folder)
    check_files(folder)

    from torchvision.datasets import mnist as idx

    raw = folder / LAYOUT
    arrays = ImageArrays(
        "mnist",
        idx.read_image_file(str(raw / "train-images-idx3-ubyte")).unsqueeze(1),
        idx.read_label_file(str(raw / "train-labels-idx1-ubyte")),
        idx.read_image_file(str(raw / "t10k-images-idx3-ubyte")).unsqueeze(1),
        idx.read_label_file(str(raw / "t10k-labels-idx1-ubyte")),
        n_classes=10,
    )
    expected = manifest("mnist")["fingerprint"]
    if arrays.fingerprint != expected:
        raise UserError(
            f"MNIST under {folder} was parsed to {arrays.fingerprint}",
            allowed=expected,
            next_step="install the versions in scripts/constraints.txt and report this",
        )
    return arrays


def fetch_mnist(root: str | Path | None = None) -> Path:
    """Downloads MNIST through torchvision if the original files are not all there.

    The files arrive in a temporary folder, are checked, and are then renamed into place, so that
    an interrupted download leaves nothing behind that looks like data.

    Args:
        root: Data folder; see `data_root`.

    Returns:
        The data folder.

    Raises:
        UserError: If the download fails or brings other files than the originals.
    """
    folder, _ = data_root(root)
    if not missing_files(folder):
        try:
            check_files(folder)
        except UserError:
            pass
        else:
            return folder

    from torchvision.datasets import MNIST

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mnist-", dir=folder) as name:
            arriving = Path(name)
            MNIST(str(arriving), download=True)
            check_files(arriving)
            (folder / LAYOUT).mkdir(parents=True, exist_ok=True)
            for file in manifest("mnist")["files"]:
                (arriving / LAYOUT / file).replace(folder / LAYOUT / file)
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"MNIST could not be downloaded to {folder}: {str(error).strip()}",
            next_step=f"check the connection, or copy the four IDX files to {folder / LAYOUT}",
        ) from error
    return folder


def _download_command(root: Path) -> str:
    """Returns the command that downloads MNIST to this folder."""
    command = "pnnbench data mnist --download"
    if root == data_root()[0]:
        return command
    return f"PNNBENCH_DATA={shlex.quote(str(root))} {command}"
