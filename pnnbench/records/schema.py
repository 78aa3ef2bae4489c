"""The shape of a record: which keys it has and what each must hold.

Version 2 may have gaps: a figure that could not be measured is null or left out, and the record
says why. Version 1 is whole; it is still read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from pnnbench.errors import UserError

SCHEMA = 2
#: Versions that this program reads; it writes the last.
READABLE = (1, 2)
GAP_TYPES = ("not-finite", "error", "left-out")
STATUSES = ("ok", "diverged", "error", "timeout", "killed")
TIERS = ("smoke", "quick", "standard", "paper")
HEX16 = re.compile(r"^[0-9a-f]{16}$")
SHA256 = re.compile(r"^[0-9a-f]{64}$")

Check = Callable[[str, Any], None]


def fail(where: str, value: Any, allowed: str) -> UserError:
    """Builds the error for one field of a record.

    Args:
        where: Dotted path of the field inside the record.
        value: What stands there.
        allowed: What may stand there.

    Returns:
        The error, with the value cut to a readable length.
    """
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return UserError(f"record: {where} is {shown}", allowed=allowed)


def plain(value: Any, where: str = "record") -> Any:
    """Turns a value into plain JSON types and refuses what JSON cannot hold.

    Tuples become lists and zero-dimensional numpy or torch scalars become numbers.

    Args:
        value: Any nesting of dicts with string keys, lists, tuples, numbers, strings and None.
        where: Dotted path of the value, for the message.

    Returns:
        The same value in dict, list, str, int, float, bool and None only.

    Raises:
        UserError: On NaN, infinity, a key that is no string, or a type JSON does not have.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise fail(where, value, "a finite number")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise fail(f"{where} key", key, "a string")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return plain(value.item(), where)
    if isinstance(value, (str, int, float)):  # subclasses: numpy.float64, enum strings
        return plain(_builtin(value), where)
    raise fail(where, value, "a JSON value: object, array, string, number, true, false or null")


def _builtin(value: str | int | float) -> str | int | float:
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else float(value)


def _is_number(value: Any) -> bool:
    kind = type(value)
    return kind is float or kind is int


def _text(where: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise fail(where, value, "a non-empty string")


def _unit(where: str, value: Any) -> None:
    if not isinstance(value, str):
        raise fail(where, value, "a string, empty for a pure number")


def _number(where: str, value: Any) -> None:
    if not _is_number(value) or not math.isfinite(value):
        raise fail(where, value, "a finite number")


def _number_or_gap(where: str, value: Any) -> None:
    if value is not None and (not _is_number(value) or not math.isfinite(value)):
        raise fail(where, value, "a finite number, or null where the record names a gap")


def _not_negative(where: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value < math.inf:
        raise fail(where, value, "a finite number >= 0")


def _positive(where: str, value: Any) -> None:
    if not _is_number(value) or not 0 < value < math.inf:
        raise fail(where, value, "a finite number > 0")


def _count(where: str, value: Any) -> None:
    if type(value) is not int or value < 0:
        raise fail(where, value, "an integer >= 0")


def _seed_or_none(where: str, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 0):
        raise fail(where, value, "an integer >= 0, or null for the ideal device")


def _boolean(where: str, value: Any) -> None:
    if type(value) is not bool:
        raise fail(where, value, "true or false")


def _object(where: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise fail(where, value, "an object")


def _one_of(*names: str) -> Check:
    def check(where: str, value: Any) -> None:
        if value not in names:
            raise fail(where, value, ", ".join(names))

    return check


def _pattern(pattern: re.Pattern[str], words: str) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, str) or not pattern.match(value):
            raise fail(where, value, words)

    return check


def _shape(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    everything = {**required, **(optional or {})}
    names = frozenset(required)

    def check(where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise fail(where, value, "an object")
        missing = names - value.keys()
        if missing:
            raise UserError(f"record: {where} lacks {', '.join(sorted(missing))}")
        for key, item in value.items():
            inner = everything.get(key)
            if inner is None:
                raise UserError(
                    f"record: {where} has the unknown key {key!r}",
                    allowed=", ".join(everything),
                )
            inner(f"{where}.{key}", item)

    return check


def _list_of(inner: Check, *, empty: bool = True) -> Check:
    def check(where: str, value: Any) -> None:
        if not isinstance(value, list) or not (value or empty):
            raise fail(where, value, "a list" if empty else "a list with at least one entry")
        for i, item in enumerate(value):
            inner(f"{where}[{i}]", item)

    return check


def _schema(where: str, value: Any) -> None:
    if type(value) is not int or value not in READABLE:
        versions = ", ".join(map(str, READABLE))
        raise fail(where, value, f"{versions}, the versions this program reads")


def _environment(where: str, value: Any) -> None:
    _object(where, value)
    for key, item in value.items():
        _number(f"{where}.{key}", item)


def _sharpness(where: str, value: Any) -> None:
    _object(where, value)
    if "lambda_max" in value:
        _number(f"{where}.lambda_max", value["lambda_max"])


def _curves(where: str, value: Any) -> None:
    _object(where, value)
    for key, items in value.items():
        _list_of(_number)(f"{where}.{key}", items)
    if len({len(items) for items in value.values()}) > 1:
        lengths = {key: len(items) for key, items in value.items()}
        raise fail(f"{where} lengths", lengths, "lists of one length")


def _file_name(where: str, value: Any) -> None:
    _text(where, value)
    if "/" in value or "\\" in value or value.startswith("."):
        raise fail(where, value, "the name of a file beside the record")


_CELL = _shape(
    {
        "axis": _text,
        "level": _number,
        "unit": _unit,
        "severity": _not_negative,
        "environment": _environment,
        "device_seed": _seed_or_none,
        "value": _number_or_gap,
    },
    {
        "not_finite": _count,  # images whose outputs are not finite
        "counts": _boolean,  # whether the cell carries weight
    },
)
_GAP = _shape({"part": _text, "type": _one_of(*GAP_TYPES), "message": _unit})
_JOB = _shape(
    {
        "hash": _pattern(HEX16, "16 hexadecimal digits"),
        "suite": _text,
        "tier": _one_of(*TIERS),
        "workload": _text,
        "method": _shape({"name": _text, "label": _text, "params": _object}),
        "epochs_factor": _positive,
        "seed": _count,
        "seeds": _shape(
            {
                "init": _count,
                "data": _count,
                "train_device": _seed_or_none,
                "method": _count,
                "test_devices": _list_of(_count),
            }
        ),
    },
    # Digest of what else decides the result: protocol revision, configuration, data.
    {
        "content": _pattern(SHA256, "64 hexadecimal digits"),
        "revision": _count,
    },
)
_ALWAYS: dict[str, Check] = {
    "schema": _schema,
    "protocol": _text,
    "status": _one_of(*STATUSES),
    "job": _JOB,
    "provenance": _object,
}
_MEASURED: dict[str, Check] = {
    "config": _object,
    "data": _shape(
        {
            "name": _text,
            "fingerprint": _pattern(re.compile(r"^sha256:[0-9a-f]{8,64}$"), "sha256:<hex digits>"),
            "n_train": _count,
            "n_test": _count,
        }
    ),
    "metric": _shape({"name": _text, "higher_is_better": _boolean}, {"chance": _number}),
    "clean": _number_or_gap,
    "cells": _list_of(_CELL, empty=False),
    "sharpness": _sharpness,
    "cost": _shape(
        {
            "gradient_evaluations": _count,
            "hardware_queries": _count,
            "train_seconds": _not_negative,
        },
        {
            "forward_evaluations": _count,  # passes without a gradient
            "evaluate_seconds": _not_negative,
            "sharpness_seconds": _not_negative,
        },
    ),
    "parameters": _shape({"file": _file_name, "sha256": _pattern(SHA256, "64 hexadecimal digits")}),
}
_OPTIONAL: dict[str, Check] = {"curves": _curves, "extra": _object, "gaps": _list_of(_GAP)}
# Images whose outputs are not finite on the ideal device.
_NOT_FINITE: dict[str, Check] = {"not_finite": _count}
# The device that in-situ methods train on at the job's seed, measured for every method.
_TRAINING_DEVICE: dict[str, Check] = {
    "training_device": _shape(
        {"seed": _count, "severity": _positive, "unit": _unit, "value": _number}, _NOT_FINITE
    )
}
_CHECKSUM: dict[str, Check] = {
    "checksum": _pattern(re.compile(r"^sha256:[0-9a-f]{64}$"), "sha256:<64 hexadecimal digits>")
}
_FINISHED = _shape(
    {**_ALWAYS, **_MEASURED}, {**_OPTIONAL, **_NOT_FINITE, **_TRAINING_DEVICE, **_CHECKSUM}
)
_FAILED = _shape(
    {**_ALWAYS, "error": _shape({"type": _text, "message": _unit})},
    # A job that failed half-way keeps what it had, but never a grid.
    {
        **{k: c for k, c in _MEASURED.items() if k not in ("cells", "clean", "sharpness")},
        **_OPTIONAL,
        **_CHECKSUM,
    },
)


def validate(record: dict[str, Any]) -> None:
    """Checks a record of plain JSON values against the schema.

    Args:
        record: The record, with or without its checksum.

    Raises:
        UserError: On a missing or unknown key, a wrong type, an unfinished "ok" record, a figure
            that is missing without a gap that says why, a gap where there is a figure, a grid
            cell given twice, a test device that the job does not name, a test device that is the
            training device, or a measured training device that is not the job's.
    """
    if not isinstance(record, dict):
        raise fail("the record", record, "an object")
    _schema("record.schema", record.get("schema"))
    _ALWAYS["status"]("record.status", record.get("status"))
    if record["status"] != "ok":
        _FAILED("record", record)
        return
    _FINISHED("record", record)
    _check_gaps(record)
    seeds = record["job"]["seeds"]
    devices = set(seeds["test_devices"])
    if seeds["train_device"] in devices:
        raise fail(
            "job.seeds.train_device",
            seeds["train_device"],
            "a device that is not among the test devices",
        )
    bounded = record["metric"]["name"] == "accuracy"
    seen = set()
    for i, cell in enumerate(record["cells"]):
        if cell["device_seed"] is not None and cell["device_seed"] not in devices:
            raise fail(
                f"cells[{i}].device_seed", cell["device_seed"], "one of job.seeds.test_devices"
            )
        _accuracy(bounded, f"cells[{i}].value", cell["value"])
        key = (
            cell["axis"],
            cell["severity"],
            tuple(sorted(cell["environment"].items())),
            cell["device_seed"],
        )
        if key in seen:
            raise UserError(f"record: cells[{i}] repeats the cell {key}")
        seen.add(key)
    _accuracy(bounded, "clean", record["clean"])
    if "training_device" in record:
        measured = record["training_device"]
        own = seeds["train_device"]
        if measured["seed"] in devices or (own is not None and measured["seed"] != own):
            allowed = "a device that is not among the test devices" if own is None else f"{own}"
            raise fail("training_device.seed", measured["seed"], f"the training device, {allowed}")
        _accuracy(bounded, "training_device.value", measured["value"])


def _accuracy(bounded: bool, where: str, value: float | None) -> None:
    if bounded and value is not None and not 0.0 <= value <= 1.0:
        raise fail(where, value, "an accuracy in [0, 1]")


def _check_gaps(record: dict[str, Any]) -> None:
    """Each missing figure has a gap that says why, and each gap misses its figure."""
    gaps = {gap["part"] for gap in record.get("gaps", [])}
    if record["schema"] == 1 and gaps:
        raise fail("gaps", sorted(gaps), "none in a record of version 1")
    missing = {f"cells[{i}]" for i, c in enumerate(record["cells"]) if c["value"] is None}
    if record["clean"] is None:
        missing.add("clean")
    if "lambda_max" not in record["sharpness"]:
        missing |= gaps & {"sharpness"} or {"sharpness.lambda_max"}
    if missing - gaps:
        raise UserError(
            f"record: {', '.join(sorted(missing - gaps))} is missing, and no gap says why",
            allowed="a finite number, or an entry in gaps",
        )
    idle = {gap for gap in gaps - missing if gap == "clean" or gap.startswith("cells[")}
    if idle:
        raise fail("gaps", sorted(idle), "parts that are missing")
    if "clean" in missing and all(cell["value"] is None for cell in record["cells"]):
        raise UserError("record: neither clean nor a cell has a value, so the job failed")
