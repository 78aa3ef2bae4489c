"""Weights of feature extractors: found, and checked by their hash before they are read."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
from pathlib import Path

from pnnbench.errors import UserError


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def packaged(module: str, file: str) -> Path | None:
    """Where an installed package keeps a file.

    Args:
        module: Name of the package; it is not imported.
        file: Path of the file inside it.

    Returns:
        The path, whether the file is there or not; None if the package is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / file


@dataclasses.dataclass(frozen=True)
class Weights:
    """One file of weights that an extractor is made of.

    Attributes:
        file: Name of the file.
        sha256: Digest that it must have, or the beginning of it.
        variable: Environment variable that names the file or its folder.
        package: Installed package that holds it, and where inside; None for no package.
        advice: What to do where it is missing.
    """

    file: str
    sha256: str
    variable: str
    advice: str
    package: tuple[str, str] | None = None

    @property
    def short(self) -> str:
        """The first eight digits of the digest, for names."""
        return self.sha256[:8]

    def path(self) -> Path:
        """Finds the file and checks it.

        Returns:
            Its path.

        Raises:
            UserError: If it is missing or is another file.
        """
        named = os.environ.get(self.variable, "")
        if named:
            path = Path(named).expanduser()
            path = path / self.file if path.is_dir() else path
            looked = f"{path} ({self.variable})"
        else:
            found = None if self.package is None else packaged(*self.package)
            looked = f"the package {self.package[0]}" if self.package else f"${self.variable}"
            path = found or Path(self.file)
            if found is None:
                raise self._missing(looked)
        if not path.is_file():
            raise self._missing(looked)
        digest = file_digest(path)
        if not digest.startswith(self.sha256):
            raise UserError(
                f"{path} is not {self.file}: its SHA-256 is {digest}",
                allowed=self.sha256 + ("" if len(self.sha256) == 64 else "..."),
                next_step=self.advice,
            )
        return path

    def _missing(self, looked: str) -> UserError:
        return UserError(
            f"the weights {self.file} are not there; looked in {looked}", next_step=self.advice
        )
