"""Writes the settings that a search chose into a suite file; everything else stays to the letter.

Only the text of one mapping a row is replaced or added. What comes out is read again before it is
written: it must be the same suite but for these settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pnnbench.errors import UserError
from pnnbench.records.store import write_whole
from pnnbench.registry import registered_name


def write_tuned(path: Path, chosen: Mapping[str, Mapping[str, float]]) -> bool:
    """Writes settings under ``tuned`` of their rows.

    Args:
        path: The suite file.
        chosen: Label -> settings by name.

    Returns:
        Whether the file was changed.

    Raises:
        UserError: If the file is laid out so that this cannot be done safely, or has no such row to
            write into; it is left as it is.
    """
    text = path.read_bytes().decode("utf-8")  # with the ends of lines that it has
    new = with_tuned(text, chosen)
    expected = yaml.safe_load(text)
    written = set()
    for row in (row for row in expected["methods"] if isinstance(row, dict)):
        label = _label(row.get("label"), row.get("method"))
        if label in chosen:
            row["tuned"] = dict(chosen[label])
            written.add(label)
    try:
        same = yaml.safe_load(new) == expected
    except yaml.YAMLError:
        same = False
    if not same or written != set(chosen):
        lines = "; ".join(f"{label}: tuned: {_flow(found)}" for label, found in chosen.items())
        raise UserError(
            f"{path}: the settings cannot be written into it without changing more than them",
            next_step=f"write them by hand: {lines}",
        )
    if new == text:
        return False
    write_whole(path.resolve(), new.encode("utf-8"))  # and not in the place of a link to it
    return True


def with_tuned(text: str, chosen: Mapping[str, Mapping[str, float]]) -> str:
    """The text of a suite file with settings under ``tuned`` of some rows."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    ending = "\r\n" if "\r\n" in text else "\n"
    rows = _values(root).get("methods")
    edits: list[tuple[int, int, str]] = []
    for row in rows.value if isinstance(rows, yaml.SequenceNode) else []:
        keys = _values(row)
        label = _label(*(keys[key].value if key in keys else None for key in ("label", "method")))
        if label not in chosen:
            continue
        flow = _flow(chosen[label])
        if "tuned" in keys:
            old = keys["tuned"]
            edits.append((old.start_mark.index, _end(text, old), flow))
        elif row.flow_style:
            end = row.end_mark.index - 1  # before the brace
            while text[end - 1].isspace():
                end -= 1
            comma = "" if text[end - 1] == "," else ","
            edits.append((end, end, f"{comma} tuned: {flow}"))
        else:  # a line of its own below that of the method
            end = text.find(ending, keys["method"].end_mark.index)
            end = len(text) if end < 0 else end
            indent = " " * row.start_mark.column
            edits.append((end, end, f"{ending}{indent}tuned: {flow}"))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _label(label: str | None, method: str | None) -> str:
    """What a row is called, as in its suite: without a label by the registered name."""
    return registered_name("methods", method or "") if label is None else label


def _end(text: str, node: Any) -> int:
    """Where a node ends: of one over several lines, without the blanks behind it."""
    end: int = node.end_mark.index
    while end > node.start_mark.index and text[end - 1].isspace():
        end -= 1
    return end


def _values(node: Any) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value}


def _flow(settings: Mapping[str, float]) -> str:
    """Settings as a flow mapping; numbers as YAML reads them back, 1.0e-3 and not 1e-3."""
    return "{" + ", ".join(f"{name}: {_number(v)}" for name, v in settings.items()) + "}"


def _number(value: float) -> str:
    text = json.dumps(float(value))
    if "e" in text and "." not in text:
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa}.0e{exponent}"
    return text
