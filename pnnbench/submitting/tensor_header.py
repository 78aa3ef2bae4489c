"""Reads the header of safetensors that a stranger wrote, without torch."""

from __future__ import annotations

from typing import Any

from pnnbench.errors import UserError
from pnnbench.submitting.strict import parse_json

#: Bytes of a header, at most.
MOST_HEADER = 1_000_000
#: Bytes that say how long it is.
LENGTH = 8


def read_header(content: bytes, size: int, where: str) -> dict[str, dict[str, Any]]:
    """Reads the header of a file of tensors.

    Args:
        content: The file, or its first `LENGTH` + `MOST_HEADER` bytes.
        size: Bytes of the whole file.
        where: The file, for messages.

    Returns:
        Name of each tensor -> ``dtype`` (a text), ``shape`` and ``data_offsets`` (integers, at
        least 0) and nothing else.

    Raises:
        UserError: If it is no such header.
    """
    length = int.from_bytes(content[:LENGTH], "little")
    if size < LENGTH or not 2 <= length <= min(MOST_HEADER, size - LENGTH):
        raise UserError(f"{where} is no safetensors file: its header does not fit into it")
    header = parse_json(
        content[LENGTH : LENGTH + length], f"the header of {where}", most=MOST_HEADER
    )
    if not isinstance(header, dict):
        raise UserError(f"the header of {where} is no object")
    for name, entry in header.items():
        fits = (
            isinstance(entry, dict)
            and entry.keys() == {"dtype", "shape", "data_offsets"}
            and isinstance(entry["dtype"], str)
            and all(_whole(entry[key]) for key in ("shape", "data_offsets"))
            and len(entry["data_offsets"]) == 2
        )
        if not fits:
            raise UserError(f"the header of {where} says no type, shape and place of {name!r}")
    return header


def _whole(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
