"""Submissions of somebody who means harm: each is refused in a sentence, with nothing written."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from pnnbench.errors import UserError
from pnnbench.lookup import only
from pnnbench.submitting.received import Received

from ..search_factory import make_row, make_search
from .packed import exchange, forge, reseal, rewrite, write_manifest, zipped

#: Takes a copy of a good submission and spoils it; may return another path to verify.
Spoil = Callable[[Path], Path | None]
RECORD, PARAMETERS = "seed-1/record.json", "seed-1/parameters.safetensors"
CASES: dict[str, list[tuple[str, Spoil]]] = {}


def case(kind: str, name: str) -> Callable[[Spoil], Spoil]:
    """Adds a case to the list."""

    def add(spoil: Spoil) -> Spoil:
        CASES.setdefault(kind, []).append((name, spoil))
        return spoil

    return add


def _set(content: Any, path: str, value: object) -> None:
    *parts, last = path.split(".")
    for part in parts:
        content = content[int(part) if part.isdigit() else part]
    if value is ...:
        del content[last]
    else:
        content[int(last) if last.isdigit() else last] = value


# The description: wrong types, missing, unknown, out of range.
FIELDS: list[tuple[str, object]] = [
    ("format", 2), ("format", True), ("format", "1"), ("pnnbench", ...), ("pnnbench", {}),
    ("protocol", "pnnbench-9"), ("protocol", "published"), ("protocol", None),
    ("suite", "../../outside"), ("suite", "/etc"), ("suite", "a/b"), ("suite", ""),
    ("suite", "x" * 101), ("workload", "os.system"), ("workload", "mine.Evil"),
    ("workload", "mzi-digits"), ("workload", 7), ("tier", "huge"), ("tier", ["smoke"]),
    ("row", []), ("row.method", "a b"), ("row.method", "../bp"), ("row.label", ""),
    ("row.label", "x" * 101), ("row.label", "BP\nrank 1"), ("row.label", "BP\u202egnp"),
    ("row.label", "\x1b[2J"), ("row.label", "BP\u200b"), ("row.label", "other"),
    ("row.label", "\u0412\u0420"), ("row.label", "BP\u00a0"), ("row.label", " BP"),
    ("row.params", []), ("row.params", {"lr": 1e9}), ("row.params", {"evil": 1}),
    ("card", None), ("card.name", 3), ("card.authors", []), ("card.authors", "A. Author"),
    ("card.authors", ["A\u2066uthor"]), ("card.authors", ["x"] * 101),
    ("card.paper", "javascript:alert(1)"), ("card.paper", "https://a b"), ("card.code", 1),
    ("card.code", "https://example.org/" + "x" * 600), ("card.licence", "<script>"),
    ("card.licence", ""), ("card.access", "everything"), ("card.description", "x" * 2_001),
    ("card.description", "\x00"), ("card.more", 1), ("check.passed", 2), ("check.failed", -1),
    ("check.checks", [{"name": "class", "passed": 1, "message": "ok"}]), ("check", ...),
    ("settings_tried", 0), ("settings_tried", -5), ("settings_tried", 1.5),
    ("settings_tried", True), ("settings_tried", 10**12), ("seeds", []), ("seeds", [1]),
    ("seeds", [2, 1]), ("seeds", [1, 1]), ("seeds", [1, 2, 3]), ("seeds", [1, "2"]),
    ("seeds", [-1, 1]), ("files", []), ("files", {}), ("extra", 1),
    ("files.submission", {"sha256": "0" * 64, "bytes": 1}),
]  # fmt: skip
for _path, _value in FIELDS:

    def _field(folder: Path, path: str = _path, value: object = _value) -> None:
        rewrite(folder, lambda content: _set(content, path, value))

    case("description", f"{_path} is {str(_value)[:30]!r}")(_field)


# JSON that is none, or says more than one thing.
def _text(name: str, change: Callable[[str], str]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        changed = change(path.read_text(encoding="utf-8"))
        path.write_bytes(changed.encode("utf-8", "surrogatepass"))
        if name != "submission.json":
            reseal(folder)

    return spoil


TEXTS: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "no JSON": lambda text: "import os",
    "cut off": lambda text: text[: len(text) // 2],
    "a list": lambda text: f"[{text}]",
    "a number": lambda text: "1",
    "null": lambda text: "null",
    "nested in 100,000 lists": lambda text: "[" * 100_000 + "]" * 100_000,
    "nested in 33 objects": lambda text: '{"a":' * 33 + "1" + "}" * 33,
    "a repeated key": lambda text: text.replace("{", '{"protocol":"pnnbench-2",', 1),
    "NaN": lambda text: text.replace("{", '{"x":NaN,', 1),
    "minus infinity": lambda text: text.replace("{", '{"x":-Infinity,', 1),
    "1e400": lambda text: text.replace("{", '{"x":1e400,', 1),
    "an integer of 5,000 digits": lambda text: text.replace("{", '{"x":' + "9" * 5_000 + ",", 1),
    "an integer of 65 bits": lambda text: text.replace("{", '{"x":-18446744073709551616,', 1),
    "a lone surrogate": lambda text: text.replace("{", '{"x":"\\ud800",', 1),
    "not UTF-8": lambda text: text.replace("{", '{"x":"\ud800",', 1),
    "a direction override": lambda text: text.replace("{", '{"\u202e":1,', 1),
    "an escape sequence": lambda text: text.replace("{", '{"x":"\\u001b]0;owned\\u0007",', 1),
    "a million escaped quotes": lambda text: '{"' + '\\"' * 400_000,
    "a key twice among many": lambda text: (
        "{" + "".join(f'"{i}":0,' for i in range(80_000)) + '"7":0}'
    ),
    "a million brackets": lambda text: "[" + "[]," * 300_000 + "[]]",
    "a text that ends in a backslash": lambda text: '{"a":"\\',
    "a byte order mark": lambda text: "\ufeff" + text,
    "five million spaces": lambda text: " " * 5_000_000 + text,
    "two documents": lambda text: text + text,
}
for _name, _change in TEXTS.items():
    for _file in ("submission.json", RECORD):
        case("JSON", f"{_file}: {_name}")(_text(_file, _change))


# The record: of another job, with gaps, with wrong types below what the schema names.
RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "of another seed": lambda r: r["job"].update(seed=7),
    "of another workload": lambda r: r["job"].update(workload="mzi-digits"),
    "of another tier": lambda r: r["job"].update(tier="quick"),
    "of another suite": lambda r: r["job"].update(suite="quickstart"),
    "of another protocol": lambda r: r.update(protocol="published"),
    "of another method": lambda r: r["job"]["method"].update(name="sat"),
    "of another row": lambda r: r["job"]["method"].update(label="SAT"),
    "with other settings": lambda r: r["job"]["method"].update(params={"lr": 9.0}),
    "with another file": lambda r: r["parameters"].update(file="other.safetensors"),
    "with another digest": lambda r: r["parameters"].update(sha256="0" * 64),
    "with devices that are not there": lambda r: r.update(
        devices={"file": "devices.csv", "sha256": "0" * 64}
    ),
    "with axes that are no list": lambda r: r["config"].update(axes={"a": 1}),
    "with axes of numbers": lambda r: r["config"].update(axes=[1]),
    "with an unknown axis": lambda r: r["config"].update(axes=["escape"]),
    "with an axis twice": lambda r: r["config"].update(axes=["control-bits"] * 2),
    "with an axis of meshes": lambda r: r["config"].update(axes=["insertion-loss"]),
    "with a data set of its own": lambda r: r["job"].update(
        data={"name": "mine", "set": "mine.Evil"}
    ),
    "with a data set in a folder": lambda r: r["job"].update(
        data={"name": "etc", "set": "image-folder:/etc"}
    ),
    "with a data set in a data set": lambda r: r["job"].update(
        data={"name": "x", "set": "latents:mine.Evil,3"}
    ),
    "with vectors without end": lambda r: r["job"].update(
        data={"name": "x", "set": "latents:digits,99999999999999"}
    ),
}
for _name, _forge in RECORDS.items():

    def _record(folder: Path, change: Callable[[dict[str, Any]], object] = _forge) -> None:
        forge(folder, change)

    case("record", _name)(_record)


# Settings that the method does not take, in description and record alike.
SETTINGS: dict[str, Any] = {
    "a list": [0.1], "an object": {"a": 0.1}, "a text": "0.1", "nothing": None, "true": True,
    "below its range": -1.0, "a unit of nothing": "1e999 mA", "a long text": "1" * 5_000,
}  # fmt: skip
for _name, _value in SETTINGS.items():

    def _settings(folder: Path, value: object = _value) -> None:
        for seed in (1, 2):
            forge(folder, lambda r: r["job"]["method"]["params"].update(lr=value), seed)
        rewrite(folder, lambda content: content["row"]["params"].update(lr=value))

    case("settings", _name)(_settings)


def _stored(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Changes a record below its schema, with the checksum that fits."""

    def spoil(folder: Path) -> None:
        from pnnbench.records.store import _checksum

        path = folder / RECORD
        stored = json.loads(path.read_text(encoding="utf-8"))
        change(stored)
        stored["checksum"] = _checksum(stored)
        path.write_text(json.dumps(stored), encoding="utf-8")
        reseal(folder)

    return spoil


STORED: dict[str, Callable[[dict[str, Any]], object]] = {
    "schema 99": lambda r: r.update(schema=99),
    "schema in a list": lambda r: r.update(schema=[3]),
    "schema 2, in columns": lambda r: r.update(schema=2),
    "no job": lambda r: r.pop("job"),
    "job is a list": lambda r: r.update(job=[]),
    "no cells": lambda r: r.pop("groups"),
    "groups is an object": lambda r: r.update(groups={}),
    "a group is a number": lambda r: r.update(groups=[1]),
    "devices in an object": lambda r: r["groups"][0].update(devices={}),
    "columns of different lengths": lambda r: r["groups"][0].update(values=[0.5]),
    "an accuracy of 2": lambda r: r.update(clean=2),
    "an accuracy in a text": lambda r: r.update(clean="1.0"),
    "cells beside groups": lambda r: r.update(cells=[]),
    "a failure": lambda r: r.update(status="diverged"),
    "an unknown status": lambda r: r.update(status="excellent"),
    "an unknown key": lambda r: r.update(rank=1),
    "provenance is a text": lambda r: r.update(provenance="mine"),
    "config is null": lambda r: r.update(config=None),
    "sharpness is a list": lambda r: r.update(sharpness=[1]),
    "test devices in objects": lambda r: r["job"]["seeds"].update(test_devices=[{}]),
    "the training device among the tests": lambda r: r["job"]["seeds"].update(
        train_device=r["job"]["seeds"]["test_devices"][0]
    ),
    "a file outside": lambda r: r["parameters"].update(file="../parameters.safetensors"),
    "a negative epochs factor": lambda r: r["job"].update(epochs_factor=-1),
    "an environment of 2,000 axes": lambda r: r["groups"][0].update(
        environment={f"e{i}": 0.0 for i in range(2_000)}
    ),
    "a unit of a million letters": lambda r: r["groups"][0].update(unit="x" * 1_000_000),
    "a key of a million letters": lambda r: r.update({"x" * 1_000_000: 1}),
    "a cell on two million devices": lambda r: r["job"]["seeds"].update(
        test_devices=[1_000_000] * 200_000
    ),
    "a headline that is none": lambda r: r.update(headline="best"),
    "environments of texts": lambda r: r["groups"][0].update(environment={"a": "b"}),
}
for _name, _change_stored in STORED.items():
    case("record's shape", _name)(_stored(_change_stored))


# Files that are not there, not named, or no files.
@case("files", "a file is missing")
def _missing(folder: Path) -> None:
    (folder / PARAMETERS).unlink()


@case("files", "a folder is missing")
def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder / "seed-2")


@case("files", "a file changed after it was packed")
def _changed(folder: Path) -> None:
    content = bytearray((folder / PARAMETERS).read_bytes())
    content[-1] ^= 1
    (folder / PARAMETERS).write_bytes(bytes(content))


for _extra in ("evil.py", "seed-1/sitecustomize.py", "seed-1/outcomes.safetensors", ".hidden",
               "seed-1/checkpoint.ckpt", "seed-00/record.json", "Seed-0/record.json",
               "seed-1/deeper/record.json", "seed-1/RECORD.JSON", "seed-7/record.json",
               "search.JSON", "submission.json~", "seed-1/record.json\u202e"):  # fmt: skip

    def _added(folder: Path, extra: str = _extra) -> None:
        path = folder / extra
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("print('owned')")

    case("files", f"one more: {_extra!a}")(_added)


@case("files", "one more, named")
def _named(folder: Path) -> None:
    (folder / "seed-1" / "devices.csv").write_text("device,role,detuning_hwhm\na,test,0\n")
    reseal(folder)


@case("files", "two seeds with the same tensors")
def _copies(folder: Path) -> None:
    exchange(folder, (folder / PARAMETERS).read_bytes(), seed=2)


@case("files", "two seeds with the same tensors, in other bytes")
def _spaced(folder: Path) -> None:
    content = (folder / PARAMETERS).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    exchange(folder, _framed(content[8 : 8 + length] + b" " * 8, content[8 + length :]), seed=2)


@case("files", "two seeds with almost the same tensors")
def _almost(folder: Path) -> None:
    tensors = load_file(folder / PARAMETERS)
    near = {k: t * (1 - 1e-4) if t.is_floating_point() else t for k, t in tensors.items()}
    exchange(folder, save(near), seed=2)


@case("files", "not there")
def _nowhere(folder: Path) -> Path:
    return folder / "nowhere"


@case("files", "an empty folder")
def _empty(folder: Path) -> Path:
    (folder.parent / "empty").mkdir()
    return folder.parent / "empty"


@case("files", "5,000 files")
def _many(folder: Path) -> None:
    (folder / "seed-3").mkdir()
    for i in range(5_000):
        (folder / "seed-3" / str(i)).touch()


for _target in (RECORD, PARAMETERS, "submission.json"):

    def _link(folder: Path, target: str = _target) -> None:
        kept = folder.parent / "kept"
        shutil.move(folder / target, kept)
        (folder / target).symlink_to(kept)

    case("links and devices", f"{_target} is a link")(_link)

    def _pipe(folder: Path, target: str = _target) -> None:
        (folder / target).unlink()
        os.mkfifo(folder / target)

    case("links and devices", f"{_target} is a pipe")(_pipe)


@case("links and devices", "a folder is a link")
def _folder_link(folder: Path) -> None:
    shutil.move(folder / "seed-1", folder.parent / "moved")
    (folder / "seed-1").symlink_to(folder.parent / "moved")


@case("links and devices", "a link to a file that never ends")
def _endless(folder: Path) -> None:
    (folder / PARAMETERS).unlink()
    (folder / PARAMETERS).symlink_to("/dev/zero")


@case("links and devices", "a link to itself")
def _circle(folder: Path) -> None:
    (folder / RECORD).unlink()
    (folder / RECORD).symlink_to(folder / RECORD)


@case("links and devices", "a file where a folder was")
def _file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder / "seed-1")
    (folder / "seed-1").write_text("{}")


@case("links and devices", "a folder where a file was")
def _folder_for_file(folder: Path) -> None:
    (folder / RECORD).unlink()
    (folder / RECORD).mkdir()


@case("links and devices", "a pipe is the submission")
def _whole_pipe(folder: Path) -> Path:
    os.mkfifo(folder.parent / "pipe")
    return folder.parent / "pipe"


def _sparse(name: str, size: int) -> Spoil:
    def spoil(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(size)

    return spoil


for _name, _size in {
    "submission.json": 2_000_000, RECORD: 5_000_000, PARAMETERS: 300_000_000,
    "seed-2/parameters.safetensors": 10**13,
}.items():  # fmt: skip
    case("size", f"{_name} of {_size} bytes")(_sparse(_name, _size))


@case("size", "tensors with a tail")
def _tail(folder: Path) -> None:
    exchange(folder, (folder / PARAMETERS).read_bytes() + b"\0" * 5_000_000)


# Tensors.
def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / PARAMETERS)
        change(tensors)
        exchange(folder, save(tensors))

    return spoil


def _first(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, t in tensors.items() if t.is_floating_point() and t.dim() > 1)


def _fill(tensors: dict[str, torch.Tensor], value: float) -> None:
    tensors[_first(tensors)].view(-1)[0] = value


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "none": lambda t: t.clear(),
    "one is missing": lambda t: t.pop(_first(t)),
    "one too many": lambda t: t.update(evil=torch.zeros(1)),
    "an empty name": lambda t: t.update({"": torch.zeros(1)}),
    "NaN": lambda t: _fill(t, float("nan")),
    "infinity": lambda t: _fill(t, float("inf")),
    "out of what can be set": lambda t: _fill(t, 1e9),
    "double": lambda t: t.update({_first(t): t[_first(t)].double()}),
    "half": lambda t: t.update({_first(t): t[_first(t)].half()}),
    "integers": lambda t: t.update({_first(t): t[_first(t)].int()}),
    "transposed": lambda t: t.update({_first(t): t[_first(t)].movedim(0, -1).contiguous()}),
    "flat": lambda t: t.update({_first(t): t[_first(t)].flatten()}),
    "without elements": lambda t: t.update({_first(t): t[_first(t)][:0]}),
}
for _name, _change_tensors in TENSORS.items():
    case("tensors", _name)(_tensors(_change_tensors))


def _header(change: Callable[[bytes, bytes], bytes]) -> Spoil:
    def spoil(folder: Path) -> None:
        content = (folder / PARAMETERS).read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        exchange(folder, change(content[8 : 8 + length], content[8 + length :]))

    return spoil


def _framed(header: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def _edited(header: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    entries = json.loads(header)
    change(entries)
    return json.dumps(entries).encode()


def _overlap(entries: dict[str, Any]) -> None:
    names = list(entries)
    size = entries[names[1]]["data_offsets"]
    entries[names[0]]["data_offsets"] = size


HEADERS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "empty file": lambda h, b: b"",
    "seven bytes": lambda h, b: b"\0" * 7,
    "header longer than the file": lambda h, b: struct.pack("<Q", 2**62) + h + b,
    "header of 2^64 bytes": lambda h, b: b"\xff" * 8 + h + b,
    "header of no bytes": lambda h, b: struct.pack("<Q", 0) + b,
    "header is a list": lambda h, b: _framed(b"[]", b),
    "header is no JSON": lambda h, b: _framed(b"{" * len(h), b),
    "header is a pickle": lambda h, b: _framed(b"\x80\x04\x95cos\nsystem\n", b),
    "a name twice": lambda h, b: _framed(b'{"a":{},' + b'"a":{},' + h[1:], b),
    "overlapping tensors": lambda h, b: _framed(_edited(h, _overlap), b),
    "negative places": lambda h, b: _framed(
        _edited(h, lambda e: next(iter(e.values())).update(data_offsets=[-4, 0])), b
    ),
    "a place beyond the end": lambda h, b: _framed(
        _edited(h, lambda e: next(iter(e.values())).update(data_offsets=[0, 2**40])), b
    ),
    "a shape of 2^62": lambda h, b: _framed(
        _edited(h, lambda e: next(iter(e.values())).update(shape=[2**62])), b
    ),
    "a shape of texts": lambda h, b: _framed(
        _edited(h, lambda e: next(iter(e.values())).update(shape=["1"])), b
    ),
    "an unknown type": lambda h, b: _framed(
        _edited(h, lambda e: next(iter(e.values())).update(dtype="PICKLE")), b
    ),
    "an entry is a number": lambda h, b: _framed(_edited(h, lambda e: e.update(evil=1)), b),
    "metadata": lambda h, b: _framed(
        _edited(h, lambda e: e.update(__metadata__={"format": "pt"})), b
    ),
    "a body that is cut off": lambda h, b: _framed(h, b[:-4]),
    "a header of spaces": lambda h, b: _framed(h + b" " * 2_000_000, b),
}
for _name, _change_header in HEADERS.items():
    case("headers of tensors", _name)(_header(_change_header))


# Zips.
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


# The tuning record.
def _search(change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> Spoil:
    def spoil(folder: Path) -> None:
        from pnnbench.records.searches import write_sealed

        content = make_search("tiny", rows={}, like={})
        change(content)
        path = folder / "search.json"
        write_sealed(path, content)
        if not seal:
            path.write_text(path.read_text().replace("smoke", "quick"))
        reseal(folder)

    return spoil


def _row(content: dict[str, Any], tried: int, **changes: Any) -> None:
    content["rows"]["BP"] = make_row(tried) | changes


for _name, _change_search in {
    "of another version": lambda c: c.update(format=9),
    "without rows": lambda c: c.update(rows=[]),
    "of another row": lambda c: None,
    "of another workload": lambda c: (_row(c, 1), c.update(workload="mzi-digits")),
    "with more settings than are said": lambda c: _row(c, 5),
    "with more settings tried before than are said": lambda c: _row(c, 1, tried_before=1000),
    "with other points": lambda c: _row(c, 1, points_sha256="0" * 64),
    "without trials": lambda c: (_row(c, 1), c["rows"]["BP"].pop("trials")),
    "with one key for another": lambda c: (_row(c, 1), c.pop("like"), c.update(x=1)),
}.items():
    case("tuning record", _name)(_search(_change_search))
case("tuning record", "changed")(_search(lambda c: _row(c, 1), seal=False))

EVERY = [
    pytest.param(spoil, id=f"{kind}: {name}")
    for kind, cases in CASES.items()
    for name, spoil in cases
]


def test_settings_of_earlier_searches_were_tried_too(spoiled: Path) -> None:
    _search(lambda c: _row(c, 1, tried_before=1000))(spoiled)
    found = refusal(spoiled)
    assert found.what == "settings_tried is 1"
    assert found.allowed.startswith("at least 1001, the points of search.json and the 1000 of")


def test_a_search_at_a_shorter_tier_is_one_of_the_row(spoiled: Path) -> None:
    _search(lambda c: (_row(c, 5), c.update(tier="search")))(spoiled)
    assert refusal(spoiled).allowed.startswith("at least 5, the points of search.json")


def _called(folder: Path, label: str) -> None:
    for seed in (1, 2):
        forge(folder, lambda r: r["job"]["method"].update(label=label), seed)
    rewrite(folder, lambda content: content["row"].update(label=label))


def test_the_name_of_another_method_is_no_label(spoiled: Path) -> None:
    _called(spoiled, "SAT")
    assert "the name of the method sat" in refusal(spoiled).what


def test_what_changes_while_it_is_read_is_refused(spoiled: Path) -> None:
    """Good tensors are there to be measured, others while the digests were taken."""
    with only("own"):
        received = Received(spoiled)
        tensors = load_file(spoiled / PARAMETERS)
        other = {k: t * 0.5 if t.is_floating_point() else t for k, t in tensors.items()}
        (spoiled / PARAMETERS).write_bytes(save(other))
        with pytest.raises(UserError, match="has changed since it was first read"):
            received.trained(received.seeds[0])
        (spoiled / PARAMETERS).unlink()
        os.mkfifo(spoiled / PARAMETERS)
        with pytest.raises(UserError, match="no plain file"):
            received.trained(received.seeds[0])
    manifest = spoiled / "submission.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"A. Author", b"B. Author"))
    with pytest.raises(UserError, match="has changed since"):
        received.bundle.sha256("submission.json")


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and when it was changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.fixture
def spoiled(submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy to be spoiled; the present folder is beside it."""
    folder = tmp_path / "received" / "submission"
    shutil.copytree(submission, folder)
    monkeypatch.chdir(folder.parent)
    modules = set(sys.modules)
    yield folder
    assert not {name for name in set(sys.modules) - modules if name.startswith(("mine", "evil"))}


def refusal(path: Path) -> UserError:
    with only("own"), pytest.raises(UserError) as caught:
        Received(path)
    return caught.value


@pytest.mark.parametrize("spoil", EVERY)
def test_what_is_hostile_is_refused_in_a_sentence(spoil: Spoil, spoiled: Path) -> None:
    path = spoil(spoiled) or spoiled
    before = everything(spoiled.parent)
    said = refusal(path)
    assert everything(spoiled.parent) == before
    assert 10 < len(said.what) < 400
    assert "\n" not in said.what
    assert said.what.isprintable()


def test_the_list_is_long_and_of_many_kinds() -> None:
    assert sum(map(len, CASES.values())) >= 200
    assert {kind: len(cases) for kind, cases in CASES.items() if len(cases) < 5} == {}


def test_a_good_one_is_taken_as_a_folder_and_as_a_zip(spoiled: Path) -> None:
    with only("own"):
        for path in (spoiled, zipped(spoiled, spoiled.parent / "good.zip")):
            assert [seed.number for seed in Received(path).seeds] == [1, 2]
    os.link(spoiled / RECORD, spoiled.parent / "hard")
    write_manifest(spoiled, json.loads((spoiled / "submission.json").read_text()))
    with only("own"):
        assert len(Received(spoiled).seeds) == 2
