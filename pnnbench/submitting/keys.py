"""A maintainer's secret, from which held-out devices are drawn: 32 random bytes in a file."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from pnnbench.errors import UserError

_KEY = re.compile(r"[0-9a-f]{64}\n?\Z")


def new_key(path: Path) -> None:
    """Writes a new secret, which only its owner can read.

    Args:
        path: The file, which must not be there.

    Raises:
        UserError: If it is there already, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        there = path.parent.is_dir()
        raise UserError(
            f"{path}: cannot be made ({error.strerror})",
            next_step="name a file that is not there" if there else f"make {path.parent}, a folder",
        ) from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")


def read_key(path: Path) -> bytes:
    """Reads a secret.

    Args:
        path: The file that `new_key` wrote.

    Returns:
        32 bytes.

    Raises:
        UserError: If it is no such file, or others can read it.
    """
    step = f"pnnbench new-key {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            content = file.read(100) if stat.S_ISREG(found.st_mode) else b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", next_step=step) from None
    another = "make one under another name: pnnbench new-key FILE"
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise UserError(
            f"{path}: others can read it, so it is no secret",
            allowed="a file of mode 0600",
            next_step=another,
        )
    text = content.decode("ascii", errors="replace")
    if not _KEY.match(text):
        raise UserError(f"{path} is no key", allowed="64 hexadecimal digits", next_step=another)
    return bytes.fromhex(text.strip())
