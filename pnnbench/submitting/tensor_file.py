"""Reads safetensors that a stranger wrote: exactly the tensors that a network has, and finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.submitting.tensor_header import LENGTH, MOST_HEADER, read_header

_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def most_bytes(expected: Mapping[str, Tensor]) -> int:
    """Size of a file of some tensors, at most.

    Args:
        expected: Name -> tensor of the right shape and type.
    """
    return LENGTH + MOST_HEADER + sum(t.numel() * t.element_size() for t in expected.values())


def read_tensors(content: bytes, expected: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Reads the tensors of a network.

    Args:
        content: The file.
        expected: Name -> tensor of the right shape and type; its values do not matter.
        where: The file, for messages.

    Returns:
        The tensors, finite, under these names.

    Raises:
        UserError: If the header is not one of these tensors, side by side, or a value is not
            finite.
    """
    header = read_header(content, len(content), where)
    for name in sorted(header.keys() ^ expected.keys()):
        known = "is missing" if name in expected else "is none of the network's tensors"
        raise UserError(f"{where}: {ascii(name)[:80]} {known}")
    start = 0
    places = sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0]))
    for name, entry in places:
        wanted = expected[name]
        kind, shape = _KINDS.get(wanted.dtype), list(wanted.shape)
        if entry["dtype"] != kind or entry["shape"] != shape:
            raise UserError(
                f"{where}: {name} is {entry['dtype']} of shape {entry['shape']}",
                allowed=f"{kind} of shape {shape}",
            )
        end = start + wanted.numel() * wanted.element_size()
        if entry["data_offsets"] != [start, end]:
            raise UserError(
                f"{where}: {name} stands at bytes {entry['data_offsets']}",
                allowed=f"{[start, end]}",
            )
        start = end
    length = int.from_bytes(content[:LENGTH], "little")
    if len(content) != LENGTH + length + start:
        raise UserError(
            f"{where} has {len(content)} bytes", allowed=f"{LENGTH + length + start}, its tensors"
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(f"{where} is no safetensors file: {ascii(str(error))[1:120]}") from None
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{where}: {name} holds a value that is not finite")
    return tensors
