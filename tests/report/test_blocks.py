from __future__ import annotations

import pytest

from pnnbench.leaderboard import ranking
from pnnbench.report import blocks, comparing
from pnnbench.report import formatting as fmt

from ..record_factory import RECALIBRATED, make_later_suite, make_mesh_suite, make_suite


@pytest.fixture(scope="module")
def table() -> ranking.Table:
    return ranking.build(make_mesh_suite())[0]


def test_scores_come_first_and_device_and_cost_beside_them(table) -> None:
    scores, against, beside = blocks.lay_out(table)
    assert scores.columns[:4] == ["rank", "method", "knows", "clean %"]
    assert beside.columns == [
        "method",
        "training device %",
        "fresh devices %",
        "transfer",
        "gradients",
        "forward",
        "queries",
        "time / BP",
    ]
    assert "same severity (0.15 rad)" in beside.title
    row = next(row for row in table.rows if row.method == "SAT in situ")
    assert against.columns == ["method", "difference %", "beats BP %"]
    assert next(line for line in against.lines if line[0] == "SAT in situ") == [
        "SAT in situ",
        fmt.plus_minus(row.difference, share=True, sign=True),
        comparing.beats(row.superiority),
    ]
    assert next(line for line in against.lines if line[0] == "BP")[1:] == ["baseline", "–"]
    line = next(line for line in beside.lines if line[0] == "SAT in situ")
    assert line == [
        "SAT in situ",
        fmt.plus_minus(row.training_device, share=True),
        fmt.plus_minus(row.fresh_devices, share=True),
        fmt.plus_minus(row.transfer, share=True, sign=True),
        "11.2 k",
        "5.62 k",
        "674 k",
        fmt.eigenvalue(row.time_ratio),
    ]
    assert next(line for line in beside.lines if line[0] == "BP")[-1] == "1"


def test_older_records_have_scores_and_what_training_took() -> None:
    scores, _, beside = blocks.lay_out(ranking.build(make_suite())[0])
    assert scores.columns[-1] == "λmax"
    assert not scores.wide
    assert {line[2] for line in scores.lines} == {"–"}  # they do not say what they know
    assert beside.columns == ["method", "gradients", "queries"]


def test_a_later_board_shows_deployment_light_power_and_earlier_scores() -> None:
    calibrated, frozen = ranking.build(make_later_suite(headline=RECALIBRATED))
    scores, _, beside = blocks.lay_out(calibrated)
    known = {line[1]: line[2] for line in scores.lines}
    assert known["SAT"] == "tested law"
    assert (known["NAT"], known["BP"], known["Pruning"]) == ("Gaussian", "nothing", "one device")
    assert beside.columns[-3:] == ["queries/device", "light %", "power W"]
    assert {(line[-3], line[-1]) for line in beside.lines} == {("512", "21 ±0")}
    row = frozen.rows[0]
    _, _, beside, earlier = blocks.lay_out(frozen)
    assert "queries/device" not in beside.columns
    assert earlier.columns == ["method", "a quarter %", "half %", "all %"]
    assert earlier.title.endswith("on 24 cells that count, seeds 0, 3")
    figures = [fmt.plus_minus(stage.score, share=True) for stage in row.earlier]
    assert next(line for line in earlier.lines if line[0] == row.method)[1:] == figures


def test_hardware_queries_alone_show_the_cost() -> None:
    records = make_mesh_suite(["BP", "PAT"])
    for record in records:
        del record["training_device"], record["checksum"]
        del record["cost"]["forward_evaluations"]
    (_, _, beside) = blocks.lay_out(ranking.build(records)[0])
    assert beside.title == "Training cost"
    assert beside.columns == ["method", "gradients", "queries", "time / BP"]


def test_the_published_protocol_has_figures_and_grid_and_no_scores() -> None:
    table = ranking.build(make_mesh_suite(["SAT", "BP"], protocol="published"))[0]
    own, grid = blocks.lay_out(table)
    assert not {"rank", "robust %", "worst tenth %"} & {*own.columns, *grid.columns}
    assert own.columns[:3] == ["method", "knows", "clean %"]
    assert {"λmax", "gradients", "queries", "time / BP"} < set(own.columns)
    assert [line[0] for line in own.lines] == ["BP", "SAT"]
    levels = [f"{s} rad" for s in ("0.03", "0.06", "0.09", "0.12", "0.15", "0.2")]
    assert grid.columns == ["method", *levels]
    for i, group in enumerate(table.groups):
        assert grid.lines[1][i + 1] == fmt.plus_minus(group.methods["SAT"], share=True)


def test_several_axes_are_named_in_the_grid() -> None:
    table = ranking.build(make_suite(["BP"], protocol="published"))[0]
    columns = blocks.lay_out(table)[1].columns
    assert columns[1] == "device 0.1 × measured spread"
    assert columns[5] == "temperature-fine −0.25 °C"
