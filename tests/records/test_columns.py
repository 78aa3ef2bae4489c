"""Cells in columns: what is written comes back, and what is no column is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from pnnbench.errors import UserError
from pnnbench.records import store as rec
from pnnbench.records.columns import ALL, layout, pack, unpack

from ..record_factory import make_failure, make_record

DEVICES = [1_000_000, 1_000_001, 1_000_002]
_LEAVES = (
    hs.none() | hs.booleans() | hs.integers() | hs.floats(allow_nan=False, allow_infinity=False)
)


@hs.composite
def cells(draw: hs.DrawFn) -> list[dict[str, Any]]:
    """Cells in any order: whole axes, single devices, the ideal device, with gaps."""
    found = []
    for _ in range(draw(hs.integers(1, 6))):
        place: dict[str, Any] = {
            "axis": draw(hs.sampled_from(["device", "temperature"])),
            "level": draw(hs.sampled_from([0.1, 0.2, 0])),
            "unit": "x",
            "severity": draw(hs.sampled_from([0.0, 0.5])),
            "environment": draw(hs.sampled_from([{}, {"temperature_degc": 22.5}])),
        }
        if draw(hs.booleans()):
            place["counts"] = draw(hs.booleans())
        seeds = hs.lists(hs.sampled_from([None, *DEVICES]), min_size=1, max_size=4)
        for seed in draw(hs.just(DEVICES) | seeds):
            cell = {**place, "device_seed": seed}
            cell["value"] = draw(hs.none() | hs.floats(0, 1))
            if draw(hs.integers(0, 3)) == 0:
                cell["not_finite"] = draw(hs.integers(0, 9))
            names = draw(hs.lists(hs.sampled_from(["psnr_db", "ssim"]), unique=True))
            if names:
                cell["also"] = {name: draw(hs.floats(0, 1)) for name in names}
            found.append(cell)
    return found


@settings(max_examples=200, deadline=None, derandomize=True)
@given(first=cells(), second=cells())
def test_what_is_packed_comes_back_in_order(first: Any, second: Any) -> None:
    record = {
        "schema": 3,
        "job": {"seeds": {"test_devices": DEVICES}},
        "cells": first,
        "earlier": [{"share": 0.5, "cells": second}],
    }
    before = copy.deepcopy(record)
    stored = json.loads(json.dumps(pack(record)))
    assert record == before
    assert "cells" not in stored
    assert unpack(stored) == record
    assert sum(len(g["values"]) for g in stored["groups"]) == len(first)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    value=hs.recursive(
        _LEAVES | hs.text(),
        lambda inner: hs.lists(inner) | hs.dictionaries(hs.text(), inner),
        max_leaves=40,
    ),
    width=hs.sampled_from([1, 20, 100]),
)
def test_the_layout_is_the_same_json(value: Any, width: int) -> None:
    assert json.loads(layout(value, width=width)) == value


def test_an_axis_of_devices_is_one_group() -> None:
    record = make_record()
    stored = pack(record)
    assert len(record["cells"]) == 260
    assert len(stored["groups"]) == 13
    assert {group["devices"] for group in stored["groups"]} == {ALL}
    text = layout(stored)
    assert max(map(len, text.splitlines())) < 500  # for people and for git
    assert len(text) < len(json.dumps(record)) / 3


def test_older_versions_and_failures_stay_as_they_are() -> None:
    for record in ({**make_record(), "schema": 2}, make_failure()):
        assert pack(record) == record
        assert unpack(record) == record


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"groups": {}}, "groups is {}"),
        ({"groups": [3]}, "groups[0] is 3"),
        ({"cells": []}, "cells in columns"),
        ({"values": [0.5]}, "lists of one length"),
        ({"values": 0.5}, "lists of one length"),
        ({"values": [], "devices": []}, "at least 1"),
        ({"devices": "some"}, "lists of one length"),
        ({"not_finite": [1]}, "lists of one length"),
        ({"colour": "red"}, "colour"),
        ({"axis": 3}, "cells[0].axis"),
        ({"environment": []}, "cells[0].environment"),
        ({"job": {}}, "lists of one length"),
    ],
)
def test_columns_that_are_none_are_refused(
    change: dict[str, Any], words: str, tmp_path: Any
) -> None:
    stored = json.loads(json.dumps(pack(make_record())))
    at_top = {"groups", "cells", "job"} & change.keys()
    (stored if at_top else stored["groups"][0]).update(change)
    stored["checksum"] = rec._checksum(stored)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError) as caught:
        rec.read_record(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
