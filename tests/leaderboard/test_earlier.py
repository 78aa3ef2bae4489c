from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.earlier import order_changes, stages

from ..record_factory import METHODS, make_later_record, make_later_suite, make_suite


def axis_mean(cells: list[dict], counts: dict) -> float:
    """The mean over axes of the mean over their counted cells, cell by cell."""
    axes: dict[str, list[float]] = {}
    for cell in cells:
        if counts[cell["axis"], cell["level"]]:
            axes.setdefault(cell["axis"], []).append(cell["value"])
    return float(np.mean([np.mean(values) for values in axes.values()]))


def test_a_share_of_the_steps_has_the_score_of_its_small_part_of_the_cells() -> None:
    record = make_later_record("BP")
    counts = {(c["axis"], c["level"]): c["counts"] for c in record["cells"]}
    quarter, half, whole = stages([record])
    assert [s.share for s in (quarter, half, whole)] == [0.25, 0.5, 1.0]
    for stage, entry in zip((quarter, half), record["earlier"], strict=True):
        assert stage.score.mean == pytest.approx(axis_mean(entry["cells"], counts))
        assert (stage.steps, stage.clean.mean) == (entry["steps"], entry["clean"])
    part = {c["device_seed"] for c in record["earlier"][0]["cells"]}
    same = [c for c in record["cells"] if c["device_seed"] in part]
    assert whole.score.mean == pytest.approx(axis_mean(same, counts))
    assert whole.clean.mean == record["clean"]
    assert whole.score.mean != pytest.approx(axis_mean(record["cells"][:-1], counts))


def test_seeds_that_were_not_measured_earlier_are_left_out_at_the_end_too() -> None:
    mine = [make_later_record("BP", seed) for seed in range(4)]
    assert stages(mine) == stages([mine[0], mine[3]])
    assert stages(mine[1:3]) == ()
    assert {row.earlier for row in ranking.rows(make_suite())} == {()}


def test_the_sentence_counts_the_pairs_that_turn() -> None:
    (table, _) = ranking.build(make_later_suite())
    assert table.small_part == {"cells": 24, "seeds": [0, 3], "shares": [0.25, 0.5]}
    for place, share in enumerate((0.25, 0.5)):
        scores = [[stage.score.mean for stage in row.earlier] for row in table.rows]
        turned = [
            (a[place] < b[place]) != (a[2] < b[2]) for a, b in itertools.combinations(scores, 2)
        ]
        assert table.order_changes[share] == (sum(turned), 10)
    assert table.order_changes[0.5][0] > 0


def test_equal_rows_turn_nowhere_and_one_row_has_no_pair() -> None:
    (mine,) = {row.earlier for row in ranking.build(make_later_suite(["BP"]))[0].rows}
    assert order_changes([mine, mine], 0.5) == (0, 1)
    assert order_changes([mine], 0.5) == (0, 0)
    assert order_changes([mine, ()], 0.5) == (0, 0)


def test_an_earlier_cell_without_a_value_counts_as_guessing() -> None:
    record, guess = make_later_record("BP"), make_later_record("BP")
    record["earlier"][0]["cells"][0]["value"] = None
    guess["earlier"][0]["cells"][0]["value"] = 0.1
    assert stages([record]) == stages([guess])


def test_other_cells_are_refused() -> None:
    record = make_later_record("BP")
    fewer = copy.deepcopy(record)
    fewer["earlier"][1]["cells"].pop()
    strange = copy.deepcopy(record)
    for entry in strange["earlier"]:
        entry["cells"][0]["device_seed"] = 77
    for changed in (fewer, strange):
        with pytest.raises(UserError, match="after a share of its steps are on other cells"):
            ranking.build([changed])
    one_device = make_later_record("NAT")
    for entry in one_device["earlier"]:
        entry["cells"] = [c for c in entry["cells"] if c["device_seed"] == 1000]
    with pytest.raises(UserError, match="cells measured after a share of the steps"):
        ranking.build([record, one_device])


def test_all_rows_have_their_stages() -> None:
    (table, _) = ranking.build(make_later_suite())
    assert all(len(row.as_dict()["earlier"]) == 3 for row in table.rows)
    assert len(table.rows) == len(METHODS)
