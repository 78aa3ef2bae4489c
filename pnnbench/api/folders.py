"""Folders and files in which results go."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pnnbench.errors import UserError


def writable(flag: str, folder: Path) -> Path:
    """Makes a folder and checks that files can be written in it.

    Args:
        flag: Where it was named, such as ``"--runs"``.
        folder: The folder.

    Returns:
        The folder.

    Raises:
        UserError: If it is a file, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{flag} is {folder}: {error.strerror or error}",
            allowed="a folder in which files can be written",
        ) from None
    return folder


def new_file(flag: str, given: str | None) -> Path | None:
    """Checks that a file can be written where nothing stands yet.

    Args:
        flag: Where it was named, such as ``"--out"``.
        given: The file; None for none.

    Returns:
        The file.

    Raises:
        UserError: If something is there already, or nothing can be written there.
    """
    if given is None:
        return None
    path = Path(given)
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{flag} is {path}, which is there already",
            allowed="a new file: nothing is overwritten",
        )
    writable(flag, path.absolute().parent)
    return path
