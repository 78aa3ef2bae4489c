"""Figures beside the metric: the same cells and weights as the metric, and no order."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard.beside import columns
from pnnbench.leaderboard.grid import read_grid
from pnnbench.leaderboard.ranking import build
from pnnbench.records.store import seal

from ..record_factory import (
    IMAGE_DEVICES,
    IMAGE_SUITES,
    make_image_record,
    make_image_suite,
    make_suite,
)

PSNR, SSIM = IMAGE_SUITES["cifar10_reconstruct"][2]


@pytest.fixture(scope="module")
def table():
    return build(make_image_suite(["BP", "SAT"], suite="cifar10_reconstruct"))[0]


def resealed(record: dict) -> dict:
    record = copy.deepcopy(record)
    record.pop("checksum", None)
    return seal(record)


def test_a_row_has_the_mean_over_the_conditions_that_count(table) -> None:
    records = [make_image_record("SAT", s, suite="cifar10_reconstruct") for s in range(3)]
    row = next(row for row in table.rows if row.method == "SAT")
    assert list(row.also) == [PSNR, SSIM]
    for name in (PSNR, SSIM):
        clean = [record["also"][name] for record in records]
        assert row.also[name].clean.mean == pytest.approx(np.mean(clean))
        means = []
        for axis in ("device", "temperature_fine"):
            cells = [c for r in records for c in r["cells"] if c["axis"] == axis and c["counts"]]
            means.append(np.mean([cell["also"][name] for cell in cells]))
        assert row.also[name].robust.mean == pytest.approx(np.mean(means))
        assert row.also[name].robust.spans == ("seeds", "devices")
        assert row.also[name].seeds == (0, 1, 2)


def test_conditions_have_intervals_of_their_own(table) -> None:
    records = [make_image_record("BP", s, suite="cifar10_reconstruct") for s in range(3)]
    for group in table.groups:
        assert list(group.also) == [PSNR, SSIM]
        place = (group.axis, group.level)
        mine = [c for r in records for c in r["cells"] if (c["axis"], c["level"]) == place]
        assert len(mine) == 3 * len(IMAGE_DEVICES)
        expected = np.mean([cell["also"][SSIM] for cell in mine])
        assert group.also[SSIM]["BP"].mean == pytest.approx(expected)


def test_the_figure_of_the_metric_itself_is_the_robust_score() -> None:
    records = [make_image_record("SAT", s, sealed=False) for s in range(3)]
    for record in records:
        for part in (record, *record["cells"]):
            part["also"]["again"] = part["value"] if "value" in part else part["clean"]
    row = build([seal(record) for record in records])[0].rows[0]
    assert row.also["again"].robust == row.robust
    assert row.also["again"].clean == row.clean


def test_no_figure_beside_moves_a_rank() -> None:
    records = make_image_suite()
    bare = copy.deepcopy(records)
    for record in bare:
        record.pop("also")
        for cell in record["cells"]:
            cell.pop("also")
    with_them, without = build(records)[0], build([resealed(r) for r in bare])[0]
    for row, other in zip(with_them.rows, without.rows, strict=True):
        assert (row.method, row.rank_low, row.rank_high) == (
            other.method,
            other.rank_low,
            other.rank_high,
        )
        assert row.robust == other.robust
        assert row.also
        assert not other.also
    assert with_them.also == IMAGE_SUITES["cifar10_generate"][2]
    assert without.also == ()


def test_json_names_each_figure_whole_and_older_boards_stay_as_they_are(table) -> None:
    plain = table.as_dict()
    assert plain["figures"]["mse"] == {"kind": "mse", "higher_is_better": False}
    assert set(plain["groups"][0]["also"]) == {PSNR, SSIM}
    row = table.rows[0].as_dict()
    assert row["also"][PSNR]["robust"]["mean"] == table.rows[0].also[PSNR].robust.mean
    made = build(make_image_suite(["SAT"]))[0].as_dict()["figures"]
    recall = made["recall-efficientnet-lite0-320-64px-57934424-n2000"]
    assert (recall["extractor"], recall["features"]) == ("efficientnet-lite0", 320)
    assert (recall["weights"], recall["images"]) == ("57934424", 2000)
    older = build(make_suite(["SAT"]))[0]
    assert "figures" not in older.as_dict()
    assert "also" not in older.rows[0].as_dict()
    assert "also" not in older.groups[0].as_dict()


def test_a_seed_that_lacks_a_cell_is_left_out_and_counted() -> None:
    records = make_image_suite(["SAT"], suite="cifar10_reconstruct")
    broken = copy.deepcopy(records)
    cell = next(c for c in broken[1]["cells"] if c["counts"])
    del cell["also"][PSNR]
    row = build([resealed(r) for r in broken])[0].rows[0]
    whole = build([records[0], records[2]])[0].rows[0]
    assert row.also[PSNR].seeds == (0, 2)
    assert row.also[PSNR].robust == whole.also[PSNR].robust
    assert row.also[SSIM].seeds == (0, 1, 2)
    assert row.complete


def test_extractors_have_columns_of_their_own() -> None:
    mine, theirs = make_image_record("SAT"), make_image_record("BP", sealed=False)
    old = "kid-efficientnet-lite0-320-64px-57934424"
    new = "kid-inception-v3-2048-299px-6726825d"
    for part in (theirs, *theirs["cells"]):
        part["also"][new] = part["also"].pop(old)
    rows = {row.method: row for row in build([mine, seal(theirs)])[0].rows}
    assert new not in rows["SAT"].also
    assert old not in rows["BP"].also


def test_a_deployment_has_figures_of_its_own() -> None:
    record = make_image_record("SAT", suite="cifar10_reconstruct", sealed=False)
    values = [cell["value"] for cell in record["cells"]]
    also = [{PSNR: 30.0} for _ in values]
    step = {"name": "offset-calibrated", "images": 256, "queries": 512, "values": values}
    record["deployments"] = [{**step, "also": also}]
    table = next(t for t in build([seal(record)]) if t.key["deployment"] == step["name"])
    assert table.rows[0].also[PSNR].robust.mean == pytest.approx(30.0)
    # On the ideal device nothing is calibrated.
    assert table.rows[0].also[PSNR].clean.mean == record["also"][PSNR]
    also.pop()
    with pytest.raises(UserError, match="figures of 83 cells beside the metric of 84"):
        columns(record, read_grid(record, step["name"]), step["name"])
