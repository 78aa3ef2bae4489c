"""Zips that lead out, unfold, or say two things."""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ..packed import rewrite, zipped
from .cases import RECORD, Spoil, case


def _packed(*entries: tuple[str | zipfile.ZipInfo, bytes], whole: bool = True) -> Spoil:
    """A zip with more in it."""

    def spoil(folder: Path) -> Path:
        target = folder.parent / "made.zip"
        if whole:
            zipped(folder, target)
        mode = "a" if whole else "w"
        with zipfile.ZipFile(target, mode, zipfile.ZIP_DEFLATED) as file:
            for name, content in entries:
                file.writestr(name, content)
        return target

    return spoil


def _special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


for _name, _entries in {
    "a name that leads out": [("../../evil.py", b"x")],
    "an absolute name": [("/etc/cron.d/evil", b"x")],
    "a name with backslashes": [("seed-1\\record.json", b"x")],
    "a drive": [("C:/evil", b"x")],
    "a file of another kind": [("seed-1/evil.py", b"x")],
    "a name in capitals": [("SEED-0/record.json", b"x")],
    "a link": [(_special("search.json", 0o120777), b"/etc/passwd")],
    "a device": [(_special("search.json", 0o060666), b"")],
    "a file that is a folder": [("search.json/", b"")],
    "a folder below a folder": [("seed-1/deeper/", b"")],
    "a name with a null": [("search.json\x00.py", b"x")],
    "2,000 files": [(f"seed-{i}/record.json", b"{}") for i in range(3, 2_003)],
}.items():
    case("zips", _name)(_packed(*_entries))


@case("zips", "a name twice")
def _twice(folder: Path) -> Path | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _packed((RECORD, b"{}"))(folder)


@case("zips", "a bomb")
def _bomb(folder: Path) -> Path:
    target = folder.parent / "bomb.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(folder / "submission.json", "submission.json")
        with file.open("seed-1/parameters.safetensors", "w", force_zip64=True) as inner:
            piece = bytes(10_000_000)
            for _ in range(30):
                inner.write(piece)
    return target


@case("zips", "a bomb that says it is small")
def _hidden_bomb(folder: Path) -> Path:
    target = zipped(folder, folder.parent / "made.zip")
    content = bytearray(target.read_bytes())
    name = b"seed-2/parameters.safetensors"
    place = content.rindex(name) - 46
    size = struct.unpack_from("<I", content, place + 24)[0]
    struct.pack_into("<I", content, place + 24, size - 100)
    target.write_bytes(bytes(content))
    rewrite(folder, lambda c: c["files"][name.decode()].update(bytes=size - 100))
    return target


@case("zips", "a wrong checksum")
def _crc(folder: Path) -> Path:
    target = zipped(folder, folder.parent / "made.zip")
    content = bytearray(target.read_bytes())
    place = content.index(b"seed-1/record.json") + len(b"seed-1/record.json") + 40
    content[place] ^= 0xFF
    target.write_bytes(bytes(content))
    return target


@case("zips", "files that share their bytes")
def _shared(folder: Path) -> Path:
    target = zipped(folder, folder.parent / "made.zip")
    content = bytearray(target.read_bytes())
    first = content.rindex(b"seed-1/parameters.safetensors") - 46
    second = content.rindex(b"seed-2/parameters.safetensors") - 46
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    target.write_bytes(bytes(content))
    return target


def _bytes(change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(folder: Path) -> Path:
        target = zipped(folder, folder.parent / "made.zip")
        target.write_bytes(change(target.read_bytes()))
        return target

    return spoil


def _flag(content: bytes) -> bytes:
    changed = bytearray(content)
    place = content.index(b"PK\x01\x02")
    changed[place + 8] |= 1
    return bytes(changed)


def _method(content: bytes) -> bytes:
    changed = bytearray(content)
    struct.pack_into("<H", changed, content.index(b"PK\x01\x02") + 10, 12)
    return bytes(changed)


for _name, _change_bytes in {
    "empty": lambda content: b"",
    "text": lambda content: b"hello",
    "cut off": lambda content: content[:-10],
    "no list of contents": lambda content: content[-22:],
    "more before the end": lambda content: content[:-22] + b"x" * 1_000 + content[-22:],
    "a program before it": lambda content: b"#!/bin/sh\nexit\n" + content,
    "a comment": lambda content: content[:-2] + b"\x05\x00hello",
    "a list of 4 GiB": lambda content: content[:-10] + b"\xff\xff\xff\xff" + content[-6:],
    "of 64 bits": lambda content: content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:],
    "encrypted": _flag,
    "compressed by bzip2": _method,
    "a gzip": lambda content: zlib.compress(content),
}.items():
    case("zips", _name)(_bytes(_change_bytes))
