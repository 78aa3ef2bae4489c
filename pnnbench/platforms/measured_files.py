"""Reads files of measured devices, CSV and npz, without knowing of any platform."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pnnbench.errors import UserError, unknown_name

#: What a device is for. No device has two roles.
Role = Literal["train", "validation", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Stands for every layer that has the errors: one bank that serves them all.
ALL_LAYERS = "*"
#: Columns that say what a row is of. All others are what was measured.
DEVICE, ROLE, LAYER = "device", "role", "layer"
ROW, COLUMN, ELEMENT = "row", "column", "element"
PLACES = (DEVICE, ROLE, LAYER, ROW, COLUMN, ELEMENT)
#: What stands in the column ``device`` of a line of units.
UNITS = "units"
#: Arrays of an npz file that are no measurements.
DEVICES, ROLES_ARRAY = "devices", "roles"

#: Device and layer -> column -> place of the element -> value.
Table = dict[tuple[str, str], dict[str, dict[tuple[int, ...], float]]]


@dataclasses.dataclass(frozen=True)
class MeasuredDevice:
    """What was measured of one device.

    Attributes:
        name: Its name.
        role: What it is for.
        columns: Layer, or `ALL_LAYERS`, -> column -> values of its elements: flat, rows x columns
            of a bank, or the shape of the error.
    """

    name: str
    role: Role
    columns: Mapping[str, Mapping[str, Tensor]]


#: Devices, and the units of columns.
Found = tuple[list[MeasuredDevice], dict[str, str]]


def read_file(path: Path, content: bytes) -> Found:
    """Reads measured devices.

    Args:
        path: The file, for its ending and for messages.
        content: What stands in it.

    Returns:
        The devices, with an empty role where the file gives none, and the units that it says.

    Raises:
        UserError: On the first thing wrong with it.
    """
    readers = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise UserError(f"{path.name} is no file of measured devices", allowed=".csv or .npz")
    devices, units = readers[path.suffix](path.name, content)
    if not devices:
        raise UserError(f"{path.name}: there is no device in it", allowed="at least one")
    _refuse_other_sizes(path.name, devices)
    return devices, units


def _refuse_other_sizes(name: str, devices: Sequence[MeasuredDevice]) -> None:
    """Refuses devices that are no copies of one design: a missing line would make another bank."""
    first: dict[tuple[str, str], tuple[str, list[int]]] = {}
    for device in devices:
        for layer, columns in device.columns.items():
            for column, values in columns.items():
                shape = list(values.shape)
                other, known = first.setdefault((layer, column), (device.name, shape))
                if shape != known:
                    here, there = (" x ".join(map(str, size)) for size in (shape, known))
                    raise UserError(
                        f"{name}: device {device.name!r} has {here} elements in column "
                        f"{column!r} of layer {layer!r}, and device {other!r} has {there}",
                        allowed="as many of each device: they are copies of one design",
                    )


def _read_csv(name: str, content: bytes) -> Found:
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not UTF-8 text: {error.reason}") from None
    kept = [(i, x) for i, x in enumerate(lines, 1) if x.strip() and not x.startswith("#")]
    if not kept:
        raise UserError(f"{name}: is empty", allowed="a line of column names, then one an element")
    numbered = [(i, _cells(f"{name}, line {i}", line)) for i, line in kept]
    head = numbered[0][1]
    measured = _columns(name, head)
    units: dict[str, str] = {}
    table: Table = {}
    roles: dict[str, str] = {}
    lines_of: dict[tuple[str, str], list[int]] = {}
    for number, cells in numbered[1:]:
        where = f"{name}, line {number}"
        if len(cells) != len(head):
            raise UserError(f"{where} has {len(cells)} cells", allowed=f"{len(head)}, as the head")
        row = dict(zip(head, cells, strict=True))
        device = row[DEVICE]
        if device.casefold() == UNITS:
            units |= {column: row[column] for column in measured if row[column]}
            continue
        if not device:
            raise UserError(f"{where} names no device")
        role = row.get(ROLE, "")
        if ROLE in head and role not in ROLES:
            raise unknown_name("role", role, ROLES, where=where)
        if roles.setdefault(device, role) != role:
            raise UserError(
                f"{where}: device {device!r} is {role!r}, and above {roles[device]!r}",
                allowed="one role for each device",
            )
        key = device, row.get(LAYER) or ALL_LAYERS
        above = lines_of.setdefault(key, [])
        _add(where, row, measured, table.setdefault(key, {}), len(above))
        above.append(number)
    columns: dict[str, dict[str, dict[str, Tensor]]] = {device: {} for device in roles}
    for (device, layer), found in table.items():
        unnumbered = [] if {ROW, ELEMENT} & {*head} else lines_of[device, layer]
        columns[device][layer] = {
            column: _tensor(
                f"{name}: device {device!r}, layer {layer!r}, column {column!r}", cells, unnumbered
            )
            for column, cells in found.items()
        }
    return [_device(device, roles[device], columns[device]) for device in roles], units


def _cells(where: str, line: str) -> list[str]:
    """The cells of a line, without the blanks around them."""
    try:
        (cells,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise UserError(
            f"{where} is no line of CSV: {error}",
            allowed="cells between commas; one in quotes begins and ends in its line",
        ) from None
    return [cell.strip() for cell in cells]


def _device(name: str, role: str, columns: Mapping[str, Mapping[str, Tensor]]) -> MeasuredDevice:
    given: Any = role  # one of ROLES, or none yet
    return MeasuredDevice(name, given, columns)


def _columns(name: str, head: list[str]) -> list[str]:
    """The columns that hold measurements."""
    for column in head:
        if not column or head.count(column) > 1:
            raise UserError(
                f"{name}: the column {column!r} comes twice or has no name",
                allowed="different names",
            )
    if DEVICE not in head:
        raise UserError(f"{name}: the column {DEVICE!r} is missing", next_step="name the devices")
    if (ROW in head) != (COLUMN in head) or (ROW in head and ELEMENT in head):
        raise UserError(
            f"{name}: elements are numbered by {', '.join(c for c in head if c in PLACES[3:])}",
            allowed=f"{ROW!r} and {COLUMN!r}, or {ELEMENT!r}",
        )
    measured = [column for column in head if column not in PLACES]
    if not measured:
        raise UserError(f"{name}: no column holds a measurement", allowed="such as detuning_hwhm")
    return measured


def _add(
    where: str,
    row: Mapping[str, str],
    measured: list[str],
    found: dict[str, dict[tuple[int, ...], float]],
    above: int,
) -> None:
    """Adds what a row says of an element; one without a number is the next of those above."""
    names = [place for place in PLACES[3:] if place in row]
    here = tuple(_whole(f"{where}, column {name!r}", row[name]) for name in names) or (above,)
    for column in measured:
        if not row[column]:
            continue  # not measured there
        value = _number(row[column])
        if not math.isfinite(value):
            raise UserError(
                f"{where}, column {column!r}: {row[column]!r} is no finite number",
                allowed="a number; nothing where nothing was measured",
            )
        cells = found.setdefault(column, {})
        if here in cells:
            raise UserError(f"{where}: the element {_at(here)} comes twice")
        cells[here] = value


def _number(text: str) -> float:
    """The number that a cell holds; NaN where it holds none."""
    try:
        # What Python reads as a number is more than what stands in tables.
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _whole(where: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise UserError(f"{where} is {text!r}", allowed="a whole number from 0 on")
    return int(text)


def _at(place: tuple[int, ...]) -> str:
    return (
        ", ".join(f"{n} {i}" for n, i in zip((ROW, COLUMN), place, strict=False))
        if (len(place) == 2)
        else str(place[0])
    )


def _tensor(
    where: str, cells: Mapping[tuple[int, ...], float], lines: Sequence[int] = ()
) -> Tensor:
    """Values by place: flat, or rows x columns; every place from 0 on has one.

    Args:
        where: What they are of, for messages.
        cells: Place -> value.
        lines: Where elements have no numbers, the line of each.
    """
    shape = [1 + max(axis) for axis in zip(*cells, strict=True)]
    missing = (place for place in np.ndindex(*shape) if place not in cells)
    first = next(missing) if math.prod(shape) != len(cells) else None
    if first is not None:
        line = f", in line {lines[first[0]]}" if lines else ""
        raise UserError(
            f"{where}: {len(cells)} of {math.prod(shape)} elements are there; the first that is "
            f"missing is {_at(first)}{line}",
            allowed="all of them, or none",
        )
    values = torch.empty(shape, dtype=torch.float64)
    for place, value in cells.items():
        values[place] = value
    return values


def _read_npz(name: str, content: bytes) -> Found:
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise ValueError("not a zip archive, as several arrays in one file are")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{name}: is no npz file of plain arrays: {error}") from None
    names = arrays.pop(DEVICES, None)
    if names is None or names.ndim != 1 or names.dtype.kind != "U":
        raise UserError(
            f"{name}: the array {DEVICES!r} is missing or holds no texts",
            allowed="the names of the devices, one each",
        )
    given = set(arrays)
    roles = arrays.pop(ROLES_ARRAY, np.full(len(names), ""))
    if roles.shape != names.shape or (ROLES_ARRAY in given and not set(roles.tolist()) <= {*ROLES}):
        raise UserError(
            f"{name}: {ROLES_ARRAY} is {roles.tolist()!r}",
            allowed=f"one of {', '.join(ROLES)} for each device",
        )
    if not arrays:
        raise UserError(f"{name}: no array holds a measurement", allowed="such as detuning_hwhm")
    columns: list[dict[str, dict[str, Tensor]]] = [{} for _ in names]
    for key, values in arrays.items():
        if values.dtype.kind not in "fiu" or values.ndim == 0 or len(values) != len(names):
            raise UserError(
                f"{name}: the array {key!r} has shape {values.shape} and holds {values.dtype}",
                allowed=f"numbers, devices x elements, of {len(names)} devices",
            )
        if not np.isfinite(values).all():
            raise UserError(f"{name}: the array {key!r} holds values that are not finite")
        layer, _, column = key.rpartition("/")
        for mine, row in zip(columns, values, strict=True):
            value = torch.from_numpy(np.ascontiguousarray(row, dtype=np.float64))
            mine.setdefault(layer or ALL_LAYERS, {})[column] = value
    each = zip(names.tolist(), roles.tolist(), columns, strict=True)
    return [_device(device, role, mine) for device, role, mine in each], {}
