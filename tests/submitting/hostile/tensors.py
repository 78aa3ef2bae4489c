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


# The tensors of another seed, changed so that they are the same network, or almost.
def reordered(tensors: dict[str, torch.Tensor]) -> None:
    """Puts the channels and the neurons of mrr-digits in another order: the same function."""
    channels, neurons = torch.arange(8).flip(0), torch.arange(32).roll(5)
    for name, tensor in tensors.items():
        if tensor.dim() and name.startswith(("conv1.", "norm1.")) and len(tensor) == 8:
            tensors[name] = tensor[channels]
    pixels = tensors["fc1.current"].view(32, 8, -1)
    tensors["fc1.current"] = pixels[:, channels].reshape(32, -1)
    for name, tensor in tensors.items():
        if tensor.dim() and name.startswith(("fc1.", "norm2.")) and len(tensor) == 32:
            tensors[name] = tensor[neurons]
    tensors["fc2.current"] = tensors["fc2.current"][:, neurons]


def _noise(tensors: dict[str, torch.Tensor], sizes: dict[str, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, size in sizes.items():
        noise = torch.randn(tensors[name].shape, generator=generator)
        tensors[name] = tensors[name] + size * tensors[name].std() * noise


def _all_digital(tensors: dict[str, torch.Tensor]) -> None:
    digital = [name for name, t in tensors.items() if t.dim() and not name.endswith("current")]
    _noise(tensors, {n: 1.0 for n in digital if not n.endswith(("mean", "var", "full_scale"))})


COPIES: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "with another bias before a norm": lambda t: _noise(
        t, {"fc1.bias": 1.0, "norm2.weight": 0.03, "norm2.bias": 0.03}
    ),
    "with other digital parameters": _all_digital,
    "with almost the same tensors": lambda t: _noise(
        t, {name: 0.01 for name, tensor in t.items() if tensor.numel() > 1}
    ),
    "with its neurons in another order": reordered,
    "with its neurons in another order, and almost the same norm": lambda t: (
        reordered(t), _noise(t, {"norm2.weight": 0.001})
    ),
    "with its neurons in another order, and a bias that moves nothing": lambda t: (
        reordered(t), _noise(t, {"fc1.bias": 3.0})
    ),
}  # fmt: skip
for _name, _change_copy in COPIES.items():

    def _copied(
        folder: Path, change: Callable[[dict[str, torch.Tensor]], object] = _change_copy
    ) -> None:
        tensors = load_file(folder / "seed-2" / "parameters.safetensors")
        change(tensors)
        exchange(folder, save({name: t.contiguous() for name, t in tensors.items()}))

    case("another seed", _name)(_copied)


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
