"""Tensors of other networks, and files of tensors that are none."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from ..packed import exchange
from .cases import PARAMETERS, Spoil, case


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


def framed(header: bytes, body: bytes) -> bytes:
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
    "header is a list": lambda h, b: framed(b"[]", b),
    "header is no JSON": lambda h, b: framed(b"{" * len(h), b),
    "header is a pickle": lambda h, b: framed(b"\x80\x04\x95cos\nsystem\n", b),
    "a name twice": lambda h, b: framed(b'{"a":{},' + b'"a":{},' + h[1:], b),
    "overlapping tensors": lambda h, b: framed(_edited(h, _overlap), b),
    "negative places": lambda h, b: framed(
        _edited(h, lambda e: next(iter(e.values())).update(data_offsets=[-4, 0])), b
    ),
    "a place beyond the end": lambda h, b: framed(
        _edited(h, lambda e: next(iter(e.values())).update(data_offsets=[0, 2**40])), b
    ),
    "a shape of 2^62": lambda h, b: framed(
        _edited(h, lambda e: next(iter(e.values())).update(shape=[2**62])), b
    ),
    "a shape of texts": lambda h, b: framed(
        _edited(h, lambda e: next(iter(e.values())).update(shape=["1"])), b
    ),
    "an unknown type": lambda h, b: framed(
        _edited(h, lambda e: next(iter(e.values())).update(dtype="PICKLE")), b
    ),
    "an entry is a number": lambda h, b: framed(_edited(h, lambda e: e.update(evil=1)), b),
    "metadata": lambda h, b: framed(
        _edited(h, lambda e: e.update(__metadata__={"format": "pt"})), b
    ),
    "a body that is cut off": lambda h, b: framed(h, b[:-4]),
    "a header of spaces": lambda h, b: framed(h + b" " * 2_000_000, b),
}
for _name, _change_header in HEADERS.items():
    case("headers of tensors", _name)(_header(_change_header))
