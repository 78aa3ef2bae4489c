"""The shape of a record in memory: which keys it has and what each must hold.

From version 2 a record may have gaps: a figure that could not be measured is null or left out, and
the record says why. Version 1 is whole. Version 3 stores its cells in columns, see
`pnnbench.records.columns`. All three are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records import checks
from pnnbench.records.bounds import check_bounds
from pnnbench.records.cell_checks import cells, figures, places_of, some_cells
from pnnbench.records.checks import Check, fail, list_of, open_shape, shape

SCHEMA = 3
#: Versions that this program reads; it writes the last.
READABLE = (1, 2, 3)
GAP_TYPES = ("not-finite", "error", "left-out")
STATUSES = ("ok", "diverged", "error", "timeout", "killed")
TIERS = ("smoke", "quick", "standard", "paper")
#: What a record calls the network as trained, beside the names of its deployments.
FROZEN = "frozen"
HEX16 = re.compile(r"^[0-9a-f]{16}$")
SHA256 = re.compile(r"^[0-9a-f]{64}$")


def _schema(where: str, value: Any) -> None:
    if type(value) is not int or value not in READABLE:
        versions = ", ".join(map(str, READABLE))
        raise fail(where, value, f"{versions}, the versions this program reads")


def _flag(where: str, value: Any) -> None:
    if not checks.is_number(value) or value not in (0, 1):
        raise fail(where, value, "1 or 0")


def _share(where: str, value: Any) -> None:
    if not checks.is_number(value) or not 0 < value < 1:
        raise fail(where, value, "a number in (0, 1)")


def _file_name(where: str, value: Any) -> None:
    checks.text(where, value)
    if "/" in value or "\\" in value or value.startswith("."):
        raise fail(where, value, "the name of a file beside the record")


_FILE = shape(
    {"file": _file_name, "sha256": checks.pattern(SHA256, "64 hexadecimal digits")},
)
# Figures of sharpness have any name and are numbers, but for these.
_SHARPNESS = open_shape(
    {
        # Where the figures hold: the device, null for the ideal one, and the severity of its
        # errors.
        "point": shape({"device_seed": checks.seed_or_none, "severity": checks.not_negative}),
        "gradient_norm": checks.not_negative,
        "is_minimum": _flag,
        "at_guessing": _flag,
        "top": list_of(checks.number),
        "device_increases": list_of(checks.number_or_gap),
    },
    checks.number,
)
# Further figures have any name too; a method has figures of its own.
_EXTRA = open_shape({"method": open_shape({}, checks.number)}, checks.number)
_PLACE_OF_WORK: dict[str, Check] = {"gpu": checks.text, "training_precision": checks.text}
# What is told of the making of a record: these have a meaning that others rely on.
_PROVENANCE = open_shape(
    {
        "sources": open_shape({}, open_shape({"n_files": checks.count}, checks.unit)),
        "method": open_shape({"access": checks.text, "knows": list_of(checks.text)}),
        "versions": open_shape({}, checks.text),
        "git": open_shape({"commit": checks.unit, "modified": checks.boolean}),
        "machine": open_shape({"cores": checks.count}, checks.unit),
        "arithmetic": open_shape(
            {
                **_PLACE_OF_WORK,
                "environment": open_shape({}, checks.unit),
                "evaluation": open_shape({"plain_because": list_of(checks.text)}, checks.number),
            }
        ),
        "threads": checks.count,
        "parts": list_of(open_shape(_PLACE_OF_WORK)),
        "changed_between_parts": list_of(checks.text),
        "started": checks.text,
        "finished": checks.text,
    }
)


_CURVES = shape(
    {"epoch": list_of(checks.count), "train_loss": list_of(checks.number)},
    {
        "validation_loss": list_of(checks.number_or_gap),
        "validation_metric": list_of(checks.number_or_gap),
    },
)


def _curves(where: str, value: Any) -> None:
    _CURVES(where, value)
    lengths = {key: len(items) for key, items in value.items()}
    if len(set(lengths.values())) > 1:
        raise fail(f"{where} lengths", lengths, "lists of one length")
    if any(later <= sooner for sooner, later in pairwise(value["epoch"])):
        raise fail(f"{where}.epoch", value["epoch"], "epochs in ascending order")


_GAP = shape(
    {"part": checks.text, "type": checks.one_of(*GAP_TYPES), "message": checks.unit},
)
_JOB = shape(
    {
        "hash": checks.pattern(HEX16, "16 hexadecimal digits"),
        "suite": checks.text,
        "tier": checks.one_of(*TIERS),
        "workload": checks.text,
        "method": shape({"name": checks.text, "label": checks.text, "params": checks.mapping}),
        "epochs_factor": checks.positive,
        "seed": checks.count,
        "seeds": shape(
            {
                "init": checks.count,
                "data": checks.count,
                "train_device": checks.seed_or_none,
                "method": checks.count,
                "test_devices": list_of(checks.count),
            }
        ),
    },
    # Digest of what else decides the result: protocol revision, configuration, data.
    {
        "content": checks.pattern(SHA256, "64 hexadecimal digits"),
        "revision": checks.count,
        # Precision of the training, where it is not single.
        "precision": checks.text,
        # A data set that is not the workload's own: its name, and the text that finds it.
        "data": shape({"name": checks.text, "set": checks.text}),
    },
)
METRIC = shape({"name": checks.text, "higher_is_better": checks.boolean}, {"chance": checks.number})
_ALWAYS: dict[str, Check] = {
    "schema": _schema,
    "protocol": checks.text,
    "status": checks.one_of(*STATUSES),
    "job": _JOB,
    "provenance": _PROVENANCE,
}
_FINGERPRINT = re.compile(r"^sha256:[0-9a-f]{8,64}$")
_MEASURED: dict[str, Check] = {
    "config": checks.mapping,
    "data": shape(
        {
            "name": checks.text,
            "fingerprint": checks.pattern(_FINGERPRINT, "sha256:<hex digits>"),
            "n_train": checks.count,
            "n_test": checks.count,
        }
    ),
    "metric": METRIC,
    "clean": checks.number_or_gap,
    "cells": some_cells,
    "sharpness": _SHARPNESS,
    "cost": shape(
        {
            "gradient_evaluations": checks.count,
            "hardware_queries": checks.count,
            "train_seconds": checks.not_negative,
        },
        {
            "forward_evaluations": checks.count,  # passes without a gradient
            "evaluate_seconds": checks.not_negative,
            "sharpness_seconds": checks.not_negative,
            "train_cpu_seconds": checks.not_negative,
            "evaluate_cpu_seconds": checks.not_negative,
            "sharpness_cpu_seconds": checks.not_negative,
            "peak_memory_bytes": checks.count,
            "peak_gpu_memory_bytes": checks.count,
        },
    ),
    "parameters": _FILE,
}
_OPTIONAL: dict[str, Check] = {
    "curves": _curves,
    "extra": _EXTRA,
    "gaps": list_of(_GAP),
}
_FINISHED_ONLY: dict[str, Check] = {
    # Images whose outputs are not finite on the ideal device.
    "not_finite": checks.count,
    # Figures beside the metric on the ideal device, by name.
    "also": figures,
    # The device that in-situ methods train on at the job's seed, measured for every method.
    "training_device": shape(
        {
            "seed": checks.count,
            "severity": checks.positive,
            "unit": checks.unit,
            "value": checks.number,
        },
        {"not_finite": checks.count, "also": figures},
    ),
    # Right or wrong of each image, see pnnbench.records.outcomes.
    "outcomes": _FILE,
    # The file of measured devices.
    "devices": _FILE,
    # The grid again after a step that a user takes on each device, and which score is the robust.
    "deployments": list_of(
        shape(
            {
                "name": checks.text,
                "images": checks.count,  # unlabelled, per device
                "queries": checks.count,  # inputs that a device measures in each environment
                "values": list_of(checks.number_or_gap),  # in the order of the cells
            },
            {
                "counts": list_of(checks.boolean),  # of each cell, if not as in the cells
                "also": list_of(figures),  # of each cell, figures beside the metric
            },
        )
    ),
    "headline": checks.text,
    # The same run after a share of its steps, on few cells.
    "earlier": list_of(
        shape(
            {
                "share": _share,
                "steps": checks.count,
                "clean": checks.number_or_gap,
                "cells": cells,
            },
            {"not_finite": checks.count, "also": figures},
        )
    ),
}
_CHECKSUM: dict[str, Check] = {
    "checksum": checks.pattern(
        re.compile(r"^sha256:[0-9a-f]{64}$"), "sha256:<64 hexadecimal digits>"
    )
}
_FINISHED = shape({**_ALWAYS, **_MEASURED}, {**_OPTIONAL, **_FINISHED_ONLY, **_CHECKSUM})
_FAILED = shape(
    {**_ALWAYS, "error": shape({"type": checks.text, "message": checks.unit})},
    # A job that failed half-way keeps what it had, but never a grid.
    {
        **{k: c for k, c in _MEASURED.items() if k not in ("cells", "clean", "sharpness")},
        **_OPTIONAL,
        **_CHECKSUM,
    },
)


def validate(record: dict[str, Any]) -> None:
    """Checks a record of plain JSON values, as it is in memory, against the schema.

    Args:
        record: The record, with or without its checksum.

    Raises:
        UserError: On a missing or unknown key, a wrong type, an unfinished "ok" record, a figure
            that is missing without a gap that says why, a gap where there is a figure, a grid
            cell given twice, a test device that the job does not name, a test device that is the
            training device, a measured training device that is not the job's, a deployment that
            has not one value per cell, a headline that is none of them, an earlier cell that is
            not of the grid, or a figure that its metric cannot have.
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
    measured_on = [cell["device_seed"] for cell in record["cells"]]
    strange = {device for device in measured_on if device is not None} - devices
    for i, device in enumerate(measured_on):
        if device in strange:
            raise fail(f"cells[{i}].device_seed", device, "one of job.seeds.test_devices")
    places = places_of("cells", record["cells"])
    if "training_device" in record:
        measured = record["training_device"]
        own = seeds["train_device"]
        if measured["seed"] in devices or (own is not None and measured["seed"] != own):
            allowed = "a device that is not among the test devices" if own is None else f"{own}"
            raise fail("training_device.seed", measured["seed"], f"the training device, {allowed}")
    _check_deployments(record)
    _check_earlier(record.get("earlier", []), places)
    check_bounds(record)


def _check_deployments(record: dict[str, Any]) -> None:
    names = [FROZEN]
    for i, deployment in enumerate(record.get("deployments", [])):
        where = f"deployments[{i}]"
        if deployment["name"] in names:
            raise fail(f"{where}.name", deployment["name"], f"a name other than {', '.join(names)}")
        names.append(deployment["name"])
        values = deployment["values"]
        for key in ("values", "counts", "also"):
            length = len(deployment.get(key, values))
            if length != len(record["cells"]):
                raise fail(f"{where}.{key} length", length, f"{len(record['cells'])}, the cells")
    if record.get("headline", FROZEN) not in names:
        raise fail("headline", record["headline"], ", ".join(names))


def _check_earlier(earlier: Sequence[dict[str, Any]], places: set[tuple[Any, ...]]) -> None:
    for sooner, later in pairwise(earlier):
        if not sooner["share"] < later["share"] or not sooner["steps"] <= later["steps"]:
            raise fail("earlier", [e["share"] for e in earlier], "shares in ascending order")
    for i, moment in enumerate(earlier):
        strange = places_of(f"earlier[{i}].cells", moment["cells"]) - places
        if strange:
            raise fail(f"earlier[{i}].cells", min(strange, key=repr), "cells of the grid")


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
    whole = {"clean", "outcomes"} & record.keys()
    idle = {gap for gap in gaps - missing if gap in whole or gap.startswith("cells[")}
    if idle:
        raise fail("gaps", sorted(idle), "parts that are missing")
    if "clean" in missing and all(cell["value"] is None for cell in record["cells"]):
        raise UserError("record: neither clean nor a cell has a value, so the job failed")
