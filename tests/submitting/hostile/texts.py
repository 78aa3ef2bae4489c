"""Descriptions and records that are none, or say what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..packed import fail, forge, reseal, rewrite
from .cases import PARAMETERS, RECORD, Spoil, case


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
}
for _name, _forge in RECORDS.items():

    def _record(folder: Path, change: Callable[[dict[str, Any]], object] = _forge) -> None:
        forge(folder, change)

    case("record", _name)(_record)


# A row of which every record says what cannot be.
EVERY_RECORD: dict[str, Callable[[dict[str, Any]], object]] = {
    "with axes that are no list": lambda r: r["config"].update(axes={"a": 1}),
    "with axes of numbers": lambda r: r["config"].update(axes=[1]),
    "with an unknown axis": lambda r: r["config"].update(axes=["escape"]),
    "with an axis twice": lambda r: r["config"].update(axes=["control-bits"] * 2),
    "with an axis of meshes": lambda r: r["config"].update(axes=["insertion-loss"]),
    "with an unknown precision": lambda r: r["job"].update(precision="8-bit"),
}
#: Data sets that are brought: of somebody's own, of a path, without end, or the workload's own.
BROUGHT = {
    "of its own": "mine.Evil",
    "in a folder": "image-folder:/etc",
    "in a folder without a name": "image-folder",
    "in a data set": "latents:mine.Evil,3",
    "in a folder in a data set": "latents:image-folder:/etc,3",
    "in a data set in a data set": "latents:latents:digits,3,3",
    "with vectors without end": "latents:digits,99999999999999",
    "with vectors of nothing": "latents:digits,0",
    "with vectors of no number": "latents:digits,\u0663",
    "with an argument": "digits:/etc",
    "with an empty argument": "mnist:",
    "that is the workload's own": "digits",
}
for _name, _set_name in BROUGHT.items():
    EVERY_RECORD[f"with a data set {_name}"] = lambda r, told=_set_name: r["job"].update(
        data={"name": "x", "set": told}
    )
for _name, _forge in EVERY_RECORD.items():

    def _records(folder: Path, change: Callable[[dict[str, Any]], object] = _forge) -> None:
        for seed in (1, 2):
            forge(folder, change, seed)

    case("records", _name)(_records)


# A seed that is of another thing than the others, so that it would stand elsewhere.
OTHER_SEED: dict[str, Callable[[dict[str, Any]], object]] = {
    "the own data set, as one that is brought": lambda r: r["job"].update(
        data={"name": "digits", "set": "digits"}
    ),
    "another data set": lambda r: r["job"].update(data={"name": "mnist", "set": "mnist"}),
    "another length": lambda r: r["job"].update(epochs_factor=2.0),
    "another precision": lambda r: r["job"].update(precision="bf16-mixed"),
    "another content": lambda r: r["job"].update(content="0" * 64),
    "another revision": lambda r: r["job"].update(revision=2),
    "an axis more": lambda r: r["config"].update(axes=["control-bits"]),
    "other test devices": lambda r: r["job"]["seeds"]["test_devices"].append(1_000_099),
    "data of another name": lambda r: r["data"].update(name="kmnist"),
    "other data": lambda r: r["data"].update(fingerprint="sha256:00000000"),
    "another metric": lambda r: r["metric"].update(name="mse"),
}
for _name, _forge in OTHER_SEED.items():
    for _failed in (False, True):

        def _mixed(
            folder: Path,
            change: Callable[[dict[str, Any]], object] = _forge,
            failed: bool = _failed,
        ) -> None:
            if failed:
                forge(folder, fail)
                (folder / PARAMETERS).unlink()
                reseal(folder)
            forge(folder, change)

        case("one seed", f"{_name}{', of a failure' * _failed}")(_mixed)


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
