from __future__ import annotations

import pytest

from pnnbench.errors import UserError
from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.deployments import deployment_names, deployment_of

from ..record_factory import RECALIBRATED, make_later_record, make_later_suite, make_suite


@pytest.mark.parametrize("headline", ["frozen", RECALIBRATED])
def test_each_deployment_is_a_table_of_all_rows_the_headline_first(headline: str) -> None:
    tables = ranking.build(make_later_suite(headline=headline))
    names = [table.key["deployment"] for table in tables]
    assert names == [headline, *({"frozen", RECALIBRATED} - {headline})]
    assert [table.headline for table in tables] == [True, False]
    first, second = tables
    assert {row.method for row in first.rows} == {row.method for row in second.rows}
    same = {k: v for k, v in first.key.items() if k != "deployment"}
    assert same == {k: v for k, v in second.key.items() if k != "deployment"}
    for table in tables:
        for row in table.rows:
            assert row.complete
            assert row.rank_low is not None
            assert row.robust.spans == ("seeds", "devices")
            assert row.difference.mean is not None or row.method == "BP"
        assert table.correlations["lambda_max"]["n_jobs"] == 20


def test_a_step_on_the_device_changes_the_score_and_not_what_was_trained() -> None:
    frozen, lifted = ranking.build(make_later_suite())
    after = {row.method: row for row in lifted.rows}
    for row in frozen.rows:
        other = after[row.method]
        assert other.robust.mean == pytest.approx((1.0 + row.robust.mean) / 2)
        assert other.worst_decile.mean <= other.robust.mean
        assert (row.clean, row.cost, row.lambda_max) == (other.clean, other.cost, other.lambda_max)
        assert row.calibration == {}
        assert other.calibration == {"images": 256, "queries": 512}
        assert other.time_ratio == row.time_ratio
        # Measured of the network as trained alone.
        assert row.earlier
        assert not other.earlier


def test_a_record_without_the_deployment_is_missing_there() -> None:
    records = make_later_suite(["BP", "NAT"], (0, 1))
    for record in records:
        label, seed = record["job"]["method"]["label"], record["job"]["seed"]
        if (label, seed) in (("NAT", 0), ("NAT", 1), ("BP", 1)):
            del record["deployments"]
    frozen, lifted = ranking.build(records)
    assert all(row.complete for row in frozen.rows)
    rows = {row.method: row for row in lifted.rows}
    assert (rows["BP"].seeds, rows["BP"].missing) == ((0,), (1,))
    assert (rows["NAT"].seeds, rows["NAT"].missing) == ((), (0, 1))
    assert {row.rank_low for row in lifted.rows} == {None}
    assert rows["NAT"].robust.mean is None


def test_a_headline_that_nobody_measured_still_comes_first() -> None:
    record = make_later_record(headline=RECALIBRATED)
    del record["deployments"]
    first, second = ranking.build([record])
    assert (first.key["deployment"], first.rows[0].complete) == (RECALIBRATED, False)
    assert (second.key["deployment"], second.rows[0].complete) == ("frozen", True)


def test_rows_of_one_table_have_one_headline() -> None:
    two = [make_later_record("BP"), make_later_record("NAT", headline=RECALIBRATED)]
    with pytest.raises(UserError, match="differ in their headline deployment"):
        ranking.build(two)


def test_older_records_are_deployed_as_trained() -> None:
    (table,) = ranking.build(make_suite(["BP"]))
    assert (table.key["deployment"], table.headline) == ("frozen", True)
    assert deployment_names(make_suite(["BP"])) == ("frozen",)
    assert deployment_of(make_suite(["BP"])[0], RECALIBRATED) == {}


def test_a_deployment_may_count_other_cells() -> None:
    records = make_later_suite(["BP", "NAT"], (0, 1))
    _, before = ranking.build(records)
    for record in records:
        for step in record["deployments"]:
            step["counts"] = [cell["axis"] == "device" for cell in record["cells"]]
    frozen, after = ranking.build(records)
    assert {line.axis for line in after.groups if line.counted} == {"device"}
    assert {line.axis for line in frozen.groups if line.counted} > {"device"}
    assert [row.robust.mean for row in after.rows] != [row.robust.mean for row in before.rows]
