"""Sets whose original files torchvision downloads: each file is checked by its hash.

torchvision looks only at whether some of its files exist, so damaged pixels would pass unseen;
therefore every file is hashed before it is parsed. Its hash is in ``manifest.json``: SHA-256 where
it is known, else the MD5 that the publishers give.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pnnbench.data.arrays import Arrays
from pnnbench.data.base import DataSet
from pnnbench.data.manifest import file_digest, manifest
from pnnbench.errors import UserError


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


class DownloadedSet(DataSet):
    """A set in the files of its publishers, under the data folder where torchvision lays them.

    A subclass parses them in `parsed`.

    Attributes:
        title: The set's class in ``torchvision.datasets``.
        files_called: What the files are called in messages.
        instead: What else may be there in place of the files, for messages.
    """

    title: ClassVar[str]
    files_called: ClassVar[str] = "the files"
    instead: ClassVar[str] = ""

    @property
    def entry(self) -> Mapping[str, Any]:
        """What the set is known by; see `manifest`."""
        return manifest(self.name)

    @property
    def folder(self) -> str:
        """Where the files are under the data folder."""
        raise NotImplementedError

    def parsed(self, root: Path) -> Arrays:
        """Parses the files, which are the original ones.

        Args:
            root: Data folder that holds the set's.
        """
        raise NotImplementedError

    def missing_files(self, root: Path) -> list[str]:
        """Lists the files that are not in the set's folder under ``root``."""
        return [name for name in self.entry["files"] if not (root / self.folder / name).is_file()]

    def check_files(self, root: Path) -> None:
        """Compares the files with the manifest.

        Args:
            root: Data folder that holds the set's.

        Raises:
            UserError: If a file differs from the original.
        """
        for name, known in self.entry["files"].items():
            path = root / self.folder / name
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
        """Checks and reads the set.

        Args:
            root: Data folder; see `data_root`.
            download: Whether missing files may be downloaded; PNNBENCH_DOWNLOAD=1 says so too.

        Returns:
            The set.

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
                    f"{folder / self.folder} ({named_by})",
                    allowed=f"<root>/{self.folder}/ with {', '.join(names)} ({kept}, "
                    f"where torchvision lays them){self.instead}; <root> is "
                    "PNNBENCH_DATA or ~/.cache/pnnbench/data",
                    next_step=self._download_command(folder),
                )
            self.fetch(folder)
        self.check_files(folder)
        arrays = self.parsed(folder)
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
        root, _ = data_root(root)
        if not self.missing_files(root):
            try:
                self.check_files(root)
            except UserError:
                pass
            else:
                return root

        from torchvision import datasets

        place = root / self.folder
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{self.name}-", dir=root) as name:
                arriving = Path(name)
                getattr(datasets, self.title)(str(arriving), download=True)
                self.check_files(arriving)
                place.mkdir(parents=True, exist_ok=True)
                for file in self.entry["files"]:
                    (arriving / self.folder / file).replace(place / file)
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"{self.title} could not be downloaded to {root}: {str(error).strip()}",
                next_step=f"check the connection, or copy {self.files_called} to {place}",
            ) from error
        return root

    def _download_command(self, root: Path) -> str:
        """Returns the command that downloads the set to this folder."""
        command = f"pnnbench data {self.name} --download"
        if root == data_root()[0]:
            return command
        return f"PNNBENCH_DATA={shlex.quote(str(root))} {command}"
