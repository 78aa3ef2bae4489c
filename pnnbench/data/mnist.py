"""MNIST and the sets of its format, from their four original IDX files, each checked by its hash.

torchvision downloads and parses the files. It looks only at whether they exist, so damaged pixels
would pass unseen; therefore every file is hashed before it is parsed. MNIST is known by the SHA-256
of its files and by the fingerprint of what they hold. FashionMNIST and KMNIST are known by the MD5
that their publishers give for the packed files, so that the packed files are the ones that are kept
and read.
"""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pnnbench.data.arrays import Arrays
from pnnbench.data.base import DataSet
from pnnbench.data.manifest import file_digest, manifest
from pnnbench.errors import UserError

#: The files of every set, in the order of `Arrays`; packed ones end in ``.gz``.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


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


def download_allowed() -> bool:
    """Reads PNNBENCH_DOWNLOAD; raises UserError for anything but 0, 1 or nothing."""
    value = os.environ.get("PNNBENCH_DOWNLOAD", "")
    if value not in ("", "0", "1"):
        raise UserError(f"PNNBENCH_DOWNLOAD is {value!r}", allowed="0 or 1")
    return value == "1"


class IDXSet(DataSet):
    """A set in the format of MNIST: 10 balanced classes of 28 x 28 grey images in four IDX files.

    Attributes:
        title: The set's class in ``torchvision.datasets``, and the folder of its files.
    """

    input_shape = (1, 28, 28)
    n_classes = 10
    balanced = True
    mixed = True
    title: ClassVar[str]

    @property
    def entry(self) -> Mapping[str, Any]:
        """What the set is known by; see `manifest`."""
        return manifest(self.name)

    def missing_files(self, root: Path) -> list[str]:
        """Lists the files that are not in the set's folder under ``root``."""
        return [name for name in self.entry["files"] if not (self._raw(root) / name).is_file()]

    def check_files(self, root: Path) -> None:
        """Compares the four files with the manifest.

        Args:
            root: Data folder that holds the set's.

        Raises:
            UserError: If a file differs from the original.
        """
        for name, known in self.entry["files"].items():
            path = self._raw(root) / name
            algorithm = "sha256" if "sha256" in known else "md5"
            found = file_digest(path, algorithm)
            if found != known[algorithm]:
                size = f" ({known['bytes']} bytes)" if "bytes" in known else ""
                raise UserError(
                    f"{path} is not the original {self.title} file: its hash is {found} "
                    f"({path.stat().st_size} bytes)",
                    allowed=f"{known[algorithm]}{size}",
                    next_step=f"replace it with {self._download_command(root)}",
                )

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Reads the set: 60,000 training and 10,000 test images of 28 x 28 pixels.

        Args:
            root: Data folder; see `data_root`.
            download: Whether missing files may be downloaded; PNNBENCH_DOWNLOAD=1 says so too.

        Returns:
            The set with images of shape (N, 1, 28, 28) and 10 classes.

        Raises:
            UserError: If files are missing, damaged or cannot be downloaded.
        """
        folder, named_by = data_root(root)
        download = download_allowed() or download
        if missing := self.missing_files(folder):
            if not download:
                names = list(self.entry["files"])
                kept = "as they are published" if names[0].endswith(".gz") else "unpacked"
                raise UserError(
                    f"{self.title} is not there: {', '.join(missing)} not found in "
                    f"{self._raw(folder)} ({named_by})",
                    allowed=f"<root>/{self.title}/raw/ with {', '.join(names)} ({kept}, where "
                    "torchvision lays them); <root> is PNNBENCH_DATA or ~/.cache/pnnbench/data",
                    next_step=self._download_command(folder),
                )
            self.fetch(folder)
        self.check_files(folder)
        arrays = self._parsed(self._raw(folder))
        expected = self.entry.get("fingerprint", arrays.fingerprint)
        if arrays.fingerprint != expected:
            raise UserError(
                f"{self.title} under {folder} was parsed to {arrays.fingerprint}",
                allowed=expected,
                next_step="install the versions in scripts/constraints.txt and report this",
            )
        return arrays

    def fetch(self, root: str | Path | None = None) -> Path:
        """Downloads the set through torchvision if the original files are not all there.

        The files arrive in a temporary folder, are checked, and are then renamed into place, so
        that an interrupted download leaves nothing behind that looks like data.

        Args:
            root: Data folder; see `data_root`.

        Returns:
            The data folder.

        Raises:
            UserError: If the download fails or brings other files than the originals.
        """
        folder, _ = data_root(root)
        if not self.missing_files(folder):
            try:
                self.check_files(folder)
            except UserError:
                pass
            else:
                return folder

        from torchvision import datasets

        raw = self._raw(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{self.name}-", dir=folder) as name:
                arriving = Path(name)
                getattr(datasets, self.title)(str(arriving), download=True)
                self.check_files(arriving)
                raw.mkdir(parents=True, exist_ok=True)
                for file in self.entry["files"]:
                    (self._raw(arriving) / file).replace(raw / file)
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"{self.title} could not be downloaded to {folder}: {str(error).strip()}",
                next_step=f"check the connection, or copy the four IDX files to {raw}",
            ) from error
        return folder

    def _raw(self, root: Path) -> Path:
        return root / self.title / "raw"

    def _parsed(self, raw: Path) -> Arrays:
        """Parses the four files, unpacked into a temporary folder where they are packed."""
        from torchvision.datasets import mnist as idx

        with tempfile.TemporaryDirectory(prefix="pnnbench-idx-") as name:
            paths = []
            for file in FILES:
                path, packed = raw / file, raw / f"{file}.gz"
                if packed.name in self.entry["files"]:
                    path = Path(name) / file
                    with gzip.open(packed, "rb") as source, path.open("wb") as target:
                        shutil.copyfileobj(source, target)
                paths.append(str(path))
            return Arrays(
                self.name,
                idx.read_image_file(paths[0]).unsqueeze(1),
                idx.read_label_file(paths[1]),
                idx.read_image_file(paths[2]).unsqueeze(1),
                idx.read_label_file(paths[3]),
                n_classes=self.n_classes,
            )

    def _download_command(self, root: Path) -> str:
        """Returns the command that downloads the set to this folder."""
        command = f"pnnbench data {self.name} --download"
        if root == data_root()[0]:
            return command
        return f"PNNBENCH_DATA={shlex.quote(str(root))} {command}"


class MNIST(IDXSet):
    """Handwritten digits.

    Source: LeCun, Cortes and Burges, The MNIST database.
    """

    name = "mnist"
    title = "MNIST"


class FashionMNIST(IDXSet):
    """Pictures of clothes.

    Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747 (2017).
    """

    name = "fashion-mnist"
    title = "FashionMNIST"


class KMNIST(IDXSet):
    """Handwritten Japanese characters.

    Source: Clanuwat et al., arXiv 1812.01718 (2018).
    """

    name = "kmnist"
    title = "KMNIST"
