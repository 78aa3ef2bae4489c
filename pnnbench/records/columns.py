"""Cells in columns: how records of version 3 hold their grid on disk.

In memory a record has one mapping per cell under ``"cells"``. On disk neighbouring cells that
differ only in the device are one group under ``"groups"``: axis, level, unit, severity,
environment and, where a cell says them, weight, nominal level and source of the device once, then
the devices and what was measured on each. The order of the cells stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.checks import fail

#: First version of the schema whose cells are in columns.
FIRST = 3
#: Stands for the job's test devices, all of them in their order.
ALL = "all"
_PLACE = ("axis", "level", "unit", "severity", "environment")
_OPTIONAL = ("counts", "nominal", "source")
_GROUP = {*_PLACE, *_OPTIONAL, "devices", "values", "not_finite", "also"}


def _in_columns(record: dict[str, Any]) -> bool:
    return type(record.get("schema")) is int and record["schema"] >= FIRST


def _moments(record: dict[str, Any]) -> list[Any]:
    earlier = record.get("earlier")
    return earlier if isinstance(earlier, list) else []


def pack(record: dict[str, Any]) -> dict[str, Any]:
    """Gives a record the form that it has on disk.

    Args:
        record: A record that `validate` has passed; it stays as it is.

    Returns:
        The record with its cells in groups; an older version as it is.
    """
    if not _in_columns(record):
        return record
    devices = record["job"]["seeds"]["test_devices"]

    def packed(part: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in part.items() if key != "cells"}
        return {**rest, "groups": _groups(part["cells"], devices)} if "cells" in part else rest

    found = packed(record)
    if "earlier" in record:
        found["earlier"] = [packed(moment) for moment in _moments(record)]
    return found


def _groups(cells: Sequence[dict[str, Any]], devices: list[int]) -> list[dict[str, Any]]:
    groups: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for cell in cells:
        place = {key: cell[key] for key in (*_PLACE, *_OPTIONAL) if key in cell}
        if not groups or groups[-1][0] != place:
            groups.append((place, []))
        groups[-1][1].append(cell)
    found = []
    for place, members in groups:
        seeds = [cell["device_seed"] for cell in members]
        group = {**place, "devices": ALL if seeds == devices else seeds}
        group["values"] = [cell["value"] for cell in members]
        if any("not_finite" in cell for cell in members):
            group["not_finite"] = [cell.get("not_finite") for cell in members]
        also = dict.fromkeys(name for cell in members for name in cell.get("also", {}))
        if also:
            group["also"] = {
                name: [cell.get("also", {}).get(name) for cell in members] for name in also
            }
        found.append(group)
    return found


def unpack(stored: dict[str, Any]) -> dict[str, Any]:
    """Gives a record that was read the form that it has in memory.

    Args:
        stored: What stands on disk. What is not checked here is left to `validate`.

    Returns:
        The record with one mapping per cell; the cells of a group share their environment.

    Raises:
        UserError: If a group is none, or its columns differ in length.
    """
    if not _in_columns(stored):
        return stored
    try:
        devices = stored["job"]["seeds"]["test_devices"]
    except (KeyError, TypeError):
        devices = None  # validate names what is wrong

    def unpacked(where: str, part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        if "cells" in part:
            raise UserError(
                f"record: {where}cells is there in a record of version {stored['schema']}",
                allowed="cells in columns, under groups",
            )
        rest = {key: value for key, value in part.items() if key != "groups"}
        if "groups" not in part:
            return rest
        return {**rest, "cells": _cells(f"{where}groups", part["groups"], devices)}

    record: dict[str, Any] = unpacked("", stored)
    if _moments(stored):
        moments = enumerate(stored["earlier"])
        record["earlier"] = [unpacked(f"earlier[{i}].", moment) for i, moment in moments]
    return record


def _cells(where: str, groups: Any, test_devices: Any) -> list[dict[str, Any]]:
    if not isinstance(groups, list):
        raise fail(where, groups, "a list")
    cells: list[dict[str, Any]] = []
    for i, group in enumerate(groups):
        here = f"{where}[{i}]"
        if not isinstance(group, dict):
            raise fail(here, group, "an object")
        for key in group.keys() - _GROUP:
            raise UserError(
                f"record: {here} has the unknown key {key!r}", allowed=", ".join(sorted(_GROUP))
            )
        devices: Any = test_devices if group.get("devices") == ALL else group.get("devices")
        values: Any = group.get("values")
        lost, also = group.get("not_finite"), group.get("also", {})
        if not isinstance(also, dict):
            raise fail(f"{here}.also", also, "an object")
        columns = {"devices": devices, "values": values}
        columns |= {"not_finite": lost} if "not_finite" in group else {}
        columns |= {f"also.{name}": column for name, column in also.items()}
        lengths = {len(c) if isinstance(c, list) else None for c in columns.values()}
        if None in lengths or len(lengths) > 1 or 0 in lengths:
            raise fail(
                here,
                {key: type(c).__name__ for key, c in columns.items()},
                "devices and what was measured on them, lists of one length, at least 1",
            )
        place = {key: group[key] for key in (*_PLACE, *_OPTIONAL) if key in group}
        members: list[dict[str, Any]] = [
            {**place, "device_seed": device, "value": value}
            for device, value in zip(devices, values, strict=True)
        ]
        if lost is not None:
            for cell, images in zip(members, lost, strict=True):
                if images is not None:
                    cell["not_finite"] = images
        for name, column in also.items():
            for cell, figure in zip(members, column, strict=True):
                if figure is not None:
                    cell.setdefault("also", {})[name] = figure
        cells += members
    return cells


def layout(value: Any, indent: str = "", width: int = 100) -> str:
    """Lays a JSON value out for people: what fits, or holds nothing nested, is one line.

    Args:
        value: Plain JSON types.
        indent: What the line begins with.
        width: Characters of a line.

    Returns:
        JSON with sorted keys.
    """
    flat = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    nested = isinstance(value, (dict, list)) and any(
        isinstance(item, (dict, list))
        for item in (value.values() if isinstance(value, dict) else value)
    )
    if not nested or len(flat) <= width:
        return flat
    inner = indent + " "
    if isinstance(value, list):
        parts = [layout(item, inner, width) for item in value]
        return "[\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}]"
    parts = [
        f"{json.dumps(key, ensure_ascii=False)}:{layout(value[key], inner, width)}"
        for key in sorted(value)
    ]
    return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
