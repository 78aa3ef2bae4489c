"""The shape of a search record: what stands in it, and what of it must agree.

Every text is one line, since boards show it; numbers and names are as in records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pnnbench.errors import UserError
from pnnbench.records import checks
from pnnbench.records.bounds import check_column
from pnnbench.records.checks import Check, fail, list_of, open_shape, shape
from pnnbench.records.schema import HEX16, METRIC, SHA256, STATUSES
from pnnbench.records.store import canonical

#: Version of the layout.
FORMAT = 1
#: Rounds of trials, in their order.
ROUNDS = ("first", "beyond", "final")
#: Where a trial has what it reaches on test images and devices, which no choice reads.
TEST = "test_never_chosen_by"
#: Rule of a choice -> where the validation part of a trial has what it is chosen by.
VALUES: dict[Literal["robust score", "own device"], str] = {
    "robust score": "score",
    "own device": "own_device",
}

_digest = checks.pattern(SHA256, "64 hexadecimal digits")
_rule = checks.one_of(*VALUES)


def _format(where: str, value: Any) -> None:
    if type(value) is not int or value != FORMAT:
        raise fail(where, value, f"{FORMAT}, the version this program reads")


def mapping_of(inner: Check) -> Check:
    """Makes the check for an object of which every key is one line, each entry of one kind."""
    entries = open_shape({}, inner)

    def check(where: str, value: Any) -> None:
        checks.mapping(where, value)
        for key in value:
            checks.line(f"a key of {where}", key)
        entries(where, value)

    return check


_POINT = mapping_of(checks.number)
_SPACE = mapping_of(
    shape(
        {"low": checks.number, "high": checks.number, "scale": checks.one_of("log", "linear")},
        {"least": checks.number, "most": checks.number},
    )
)
_ENDS = mapping_of(checks.one_of("low", "high"))
_SCORED: dict[str, Check] = {"score": checks.number, "clean": checks.number_or_gap}
_SCORED_OPTIONAL: dict[str, Check] = {
    "axes": mapping_of(checks.number),
    "images": checks.count,
    "devices": checks.count,
}
_TRIAL = shape(
    {
        "point": checks.count,
        "seed": checks.count,
        "round": checks.one_of(*ROUNDS),
        "params": _POINT,
        "hash": checks.pattern(HEX16, "16 hexadecimal digits"),
        "status": checks.one_of(*STATUSES),
        "seconds": checks.not_negative,
        "validation": shape({**_SCORED, "own_device": checks.number_or_gap}, _SCORED_OPTIONAL),
        TEST: shape(_SCORED, _SCORED_OPTIONAL),
        "value": checks.number,
    },
    {"error": shape({"type": checks.text, "message": checks.unit})},
)
_CHOICE: dict[str, Check] = {
    "point": checks.count,
    "params": _POINT,
    "rule": _rule,
    "value": checks.number,
}
_ROW = shape(
    {
        "definition": shape(
            {
                "method": checks.line,
                "fixed": checks.mapping,
                "epochs_factor": checks.positive,
                "space": _SPACE,
                "rule": _rule,
                "revision": checks.count,
                "content": _digest,
            },
            {"precision": checks.line},
        ),
        "points": list_of(_POINT, empty=False),
        "points_sha256": _digest,
        "trials": list_of(_TRIAL),
    },
    {
        "tried_before": checks.positive_count,
        "beyond": shape(
            {"winner": checks.count, "ends": _ENDS, "points": list_of(_POINT)},
            {"space": _SPACE, "points_sha256": _digest},
        ),
        "chosen": shape(
            {
                **_CHOICE,
                "means": mapping_of(checks.number),
                "seeds": checks.positive_count,
                "edge": _ENDS,
            },
            {"by_the_other_rule": shape(_CHOICE)},
        ),
        "failed": checks.line,
    },
)
_SEARCH = shape(
    {
        "format": _format,
        "suite": checks.line,
        "protocol": checks.line,
        "workload": checks.line,
        "tier": checks.line,
        "metric": METRIC,
        "budget": shape(
            dict.fromkeys(
                ("trials", "finalists", "more_seeds", "beyond", "devices", "test_images"),
                checks.count,
            )
        ),
        "deviates": checks.boolean,
        "like": mapping_of(checks.line),
        "not_tuned": list_of(checks.line),
        "rows": mapping_of(_ROW),
        "made_by": list_of(
            shape(
                {
                    "versions": mapping_of(checks.line),
                    "git": shape({}, {"commit": checks.line, "modified": checks.boolean}),
                }
            )
        ),
    }
)


def validate_search(content: Any) -> None:
    """Checks a search record of plain JSON values, without its checksum.

    Args:
        content: What stands in the file.

    Raises:
        UserError: On a missing or unknown key, a wrong type, points that are not those that were
            written before the first trial, a trial or a choice that is not of its point, a trial
            whose value is not what its rule says, or a figure that its metric cannot have.
    """
    _SEARCH("search", content)
    metric = content["metric"]["name"]
    check_column(metric, "search.metric.chance", [content["metric"].get("chance")])
    for label, row in content["rows"].items():
        where = f"search.rows.{label}"
        points = _points(where, row)
        named = [
            *points,
            row.get("beyond", {}).get("ends", {}),
            row.get("chosen", {}).get("edge", {}),
        ]
        strange = {name for names in named for name in names} - row["definition"]["space"].keys()
        if strange:
            allowed = ", ".join(row["definition"]["space"])
            raise fail(f"{where}: what is not searched", sorted(strange), allowed)
        for place, entry in _of_points(where, row):
            if entry["point"] >= len(points) or entry["params"] != points[entry["point"]]:
                raise fail(place, entry["params"], f"point {entry['point']} of {len(points)}")
            check_column(metric, f"{place}.value", [entry["value"]])
        for name, values in row.get("chosen", {}).get("means", {}).items():
            check_column(metric, f"{where}.chosen.means.{name}", [values])
        measured = VALUES[row["definition"]["rule"]]
        for i, trial in enumerate(row["trials"]):
            here = f"{where}.trials[{i}]"
            if trial["value"] != trial["validation"][measured]:
                allowed = f"{trial['validation'][measured]!r}, its validation.{measured}"
                raise fail(f"{here}.value", trial["value"], allowed)
            for part in ("validation", TEST):
                _check_scores(metric, f"{here}.{part}", trial[part])


def settings_tried(row: Mapping[str, Any]) -> int:
    """Settings that were ever tried for a row: the points of its trials, and of earlier searches.

    Args:
        row: A row of a search record.
    """
    return len({trial["point"] for trial in row["trials"]}) + int(row.get("tried_before", 0))


def _points(where: str, row: Mapping[str, Any]) -> Sequence[Mapping[str, float]]:
    """All points of a row, those beyond its first range last; each part has its hash."""
    beyond = row.get("beyond", {"points": []})
    for place, part in ((where, row), (f"{where}.beyond", beyond)):
        if part["points"] or "points_sha256" in part:
            digest = hashlib.sha256(canonical(part["points"])).hexdigest()
            if digest != part.get("points_sha256"):
                raise UserError(f"record: {place}: the points are not those of their hash")
    return [*row["points"], *beyond["points"]]


def _of_points(where: str, row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What says that it is of a point: trials, and what was chosen by either rule."""
    yield from ((f"{where}.trials[{i}]", trial) for i, trial in enumerate(row["trials"]))
    if "chosen" in row:
        yield f"{where}.chosen", row["chosen"]
        if "by_the_other_rule" in row["chosen"]:
            yield f"{where}.chosen.by_the_other_rule", row["chosen"]["by_the_other_rule"]


def _check_scores(metric: str, where: str, scored: Mapping[str, Any]) -> None:
    for name in ("score", "clean", "own_device"):
        check_column(metric, f"{where}.{name}", [scored.get(name)])
    for axis, value in scored.get("axes", {}).items():
        check_column(metric, f"{where}.axes.{axis}", [value])
