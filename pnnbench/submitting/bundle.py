"""The files of a submission: a folder, or a zip of one, read where it lies and never unpacked.

Names are those that a submission may have and no others, so that none leads out of it. Links and
special files are refused, and nothing is read that is larger than its kind may be.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pnnbench.errors import UserError

MANIFEST = "submission.json"
SEARCH = "search.json"
RECORD = "record.json"
PARAMETERS = "parameters.safetensors"
#: Kind of file -> bytes at most.
LIMITS = {
    MANIFEST: 1_000_000,
    SEARCH: 8_000_000,
    RECORD: 4_000_000,
    PARAMETERS: 256_000_000,
    "devices.csv": 4_000_000,
    "devices.npz": 4_000_000,
}
#: Bytes of all files together, at most.
MOST_BYTES = 1_000_000_000
#: Files, at most.
MOST_FILES = 1_000
#: Bytes of the list of contents of a zip, at most.
_MOST_CONTENTS = 500_000
_IN_SEED = (RECORD, PARAMETERS, "devices.csv", "devices.npz")
_SEED = re.compile(r"seed-(0|[1-9][0-9]{0,4})")
_END = 22  # bytes of the record that ends a zip
_PIECE = 1 << 20


def check_file_name(name: str) -> str:
    """Checks the name of a file of a submission.

    Args:
        name: Path inside the submission, with ``/``.

    Returns:
        The kind of file, a key of `LIMITS`.

    Raises:
        UserError: If a submission has no such file.
    """
    folder, slash, file = name.rpartition("/")
    if not slash and file in (MANIFEST, SEARCH):
        return file
    if slash and _SEED.fullmatch(folder) and file in _IN_SEED:
        return file
    shown = ascii(name)
    raise UserError(
        f"a submission has no file {shown if len(shown) <= 80 else shown[:77] + '...'}",
        allowed=f"{MANIFEST}, {SEARCH}, and in each seed-N/ {', '.join(_IN_SEED)}",
    )


class Bundle:
    """The files of a submission.

    Args:
        path: The folder, or the zip.

    Attributes:
        path: The same.
        sizes: Name of each file -> its bytes.

    Raises:
        UserError: If it is neither, or a file in it is none that a submission has, is a link or no
            plain file, or is too large.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self.sizes: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        try:
            if self.path.is_dir():
                self._list_folder()
            elif self.path.is_file():
                self._list_zip()
            else:
                raise UserError(
                    f"{self.path}: there is no such submission",
                    allowed="a folder that holds submission.json, or a .zip of one",
                    next_step="pnnbench submit ROW makes one, in submissions/",
                )
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        total = sum(self.sizes.values())
        if total > MOST_BYTES:
            raise UserError(f"{self.path} has {total} bytes", allowed=f"{MOST_BYTES} at most")
        if MANIFEST not in self.sizes:
            raise self._no_submission()

    def _no_submission(self) -> UserError:
        return UserError(
            f"{self.path} is no submission: there is no {MANIFEST} in it",
            next_step="pnnbench submit ROW makes one, in submissions/",
        )

    def _add(self, name: str, size: int) -> None:
        kind = check_file_name(name)
        if size > LIMITS[kind]:
            raise UserError(f"{name} has {size} bytes", allowed=f"{LIMITS[kind]} at most")
        if name in self.sizes:
            raise UserError(f"{self.path.name} has {name} twice")
        self.sizes[name] = size
        if len(self.sizes) > MOST_FILES:
            raise UserError(f"{self.path} has too many files", allowed=f"{MOST_FILES} at most")

    def _list_folder(self) -> None:
        if not os.path.lexists(self.path / MANIFEST):
            raise self._no_submission()
        for entry in _entries(self.path):
            if entry.is_dir(follow_symlinks=False):
                if not _SEED.fullmatch(entry.name):
                    check_file_name(f"{entry.name}/")
                for inner in _entries(Path(entry.path)):
                    self._add(f"{entry.name}/{inner.name}", _plain_size(inner))
            else:
                self._add(entry.name, _plain_size(entry))

    def _list_zip(self) -> None:
        _check_end(self.path)
        try:
            opened = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise _no_zip(self.path, error) from None
        self._zip = opened
        taken = 0
        for info in opened.infolist():
            name = info.orig_filename  # as it stands there; the other name ends at a null
            if info.flag_bits & 0x1:
                raise UserError(f"{self.path.name} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UserError(
                    f"{ascii(name)[:80]} is compressed in another way", allowed="stored, deflated"
                )
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{ascii(name)[:80]} is a link or no plain file")
            if name.endswith("/") and _SEED.fullmatch(name[:-1]) and not info.file_size:
                continue
            self._add(name, info.file_size)
            taken += info.compress_size
        if taken > self.path.stat().st_size:
            raise UserError(f"{self.path.name}: its files share the same bytes")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Context with the content of a file.

        Args:
            name: One of `sizes`.

        Raises:
            UserError: If it cannot be read, or is another file by now.
        """
        try:
            if self._zip is not None:
                with self._zip.open(name) as stream:
                    yield stream  # type: ignore[misc]
                return
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self.path / name, flags)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise UserError(f"{name} is a link or no plain file")
                yield file
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, KeyError) as error:
            raise _no_zip(self.path, error) from None
        except Exception as error:
            if type(error).__module__ == "zlib":
                raise _no_zip(self.path, error) from None
            raise

    def pieces(self, name: str) -> Iterator[bytes]:
        """The content of a file, piece by piece.

        Args:
            name: One of `sizes`.

        Raises:
            UserError: If it cannot be read, has not as many bytes as it was said to have, or is
                not what was first read of it. That is told after the last piece.
        """
        done, digest = 0, hashlib.sha256()
        with self.open(name) as stream:
            while piece := stream.read(_PIECE):
                done += len(piece)
                if done > self.sizes[name]:
                    break
                digest.update(piece)
                yield piece
        if done != self.sizes[name]:
            raise UserError(f"{name} has not the {self.sizes[name]} bytes that it is said to have")
        if self._digests.setdefault(name, digest.hexdigest()) != digest.hexdigest():
            raise UserError(f"{name} has changed since it was first read")

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a file, at most so many; see `pieces`."""
        with self.open(name) as stream:
            return stream.read(count)

    def read(self, name: str) -> bytes:
        """The content of a file; see `pieces`."""
        return b"".join(self.pieces(name))

    def sha256(self, name: str) -> str:
        """SHA-256 of a file, 64 hexadecimal digits; see `pieces`."""
        for _ in self.pieces(name):
            pass
        return self._digests[name]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What stands in a folder, by name."""
    found: list[os.DirEntry[str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            found.append(entry)
            if len(found) > MOST_FILES:
                raise UserError(f"{folder} has too many files", allowed=f"{MOST_FILES} at most")
    return sorted(found, key=lambda entry: entry.name)


def _plain_size(entry: os.DirEntry[str]) -> int:
    found = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no plain file"
        raise UserError(f"{ascii(entry.name)[:80]} is {kind}", allowed="plain files")
    return found.st_size


def _no_zip(path: Path, error: Exception) -> UserError:
    said = str(error) or type(error).__name__
    return UserError(
        f"{path.name} is no zip of a submission: {ascii(said)[1:-1][:120]}",
        allowed="a folder that holds submission.json, or a .zip of one",
    )


def _check_end(path: Path) -> None:
    """Checks what a zip says of its list of contents, before the list is taken into memory."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"{path.name} has {size} bytes", allowed=f"{MOST_BYTES} at most")
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise _no_zip(path, ValueError("it does not begin as one"))
        file.seek(max(0, size - _END - 20))
        last = file.read()
    end = last[-_END:]
    if len(end) < _END or end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise _no_zip(path, ValueError("it does not end as one"))
    if last[:4] == b"PK\x06\x07":
        raise _no_zip(path, ValueError("it is one of 64 bits"))
    count, contents = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if count > MOST_FILES or contents > _MOST_CONTENTS:
        raise UserError(f"{path.name} has too many files", allowed=f"{MOST_FILES} at most")
