"""The file of claims: it fits the suites and workloads, and what is wrong in one is told."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from pnnbench.errors import UserError
from pnnbench.leaderboard.claims import FILE, SHARES, read_claims, read_reproduced
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.verdicts import NOT_MEASURED, VERDICTS, decide
from pnnbench.records.figure_names import parsed
from pnnbench.records.store import job_hash, seal
from pnnbench.registry import workload_class
from pnnbench.running.entries import MethodEntry, method_entries
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell

from ..record_factory import make_record

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = read_claims()


def test_there_are_twenty_claims_and_a_rule_for_each_verdict() -> None:
    assert [claim.number for claim in CLAIMS.claims] == list(range(1, 21))
    assert set(CLAIMS.verdicts) == set(VERDICTS)
    waiting = {claim.number for claim in CLAIMS.claims if claim.waits_for}
    assert waiting == {20}


def test_the_family_has_all_tests_and_the_level_shares_the_error() -> None:
    assert CLAIMS.family == sum(len(claim.tests) for claim in CLAIMS.claims)
    assert CLAIMS.family * (1 - CLAIMS.level) == pytest.approx(1 - CLAIMS.confidence)


#: Boards whose suites ship.
SHIPPED = [board for board in CLAIMS.boards if (ROOT / "benchmarks" / f"{board}.yaml").is_file()]


@lru_cache
def shipped(board: str) -> tuple[dict[str, MethodEntry], Workload, list[Cell]]:
    """Rows of a suite by label, its workload and that one's grid; no data are read."""
    suite = yaml.safe_load((ROOT / "benchmarks" / f"{board}.yaml").read_text(encoding="utf-8"))
    (workload,) = suite["workloads"]
    stated = (suite["suite"], suite["protocol"], suite["tier"])
    assert stated == (board, CLAIMS.protocol, CLAIMS.tier)
    made = workload_class(workload)()
    rows = {entry.label: entry for entry in method_entries(board, suite["methods"])}
    return rows, made, made.perturbation_grid(suite["tier"])


@pytest.mark.parametrize("board", SHIPPED)
def test_rows_and_levels_of_the_claims_are_those_of_the_suites(board: str) -> None:
    jobs, workload, cells = shipped(board)
    labels = jobs.keys()
    for claim in CLAIMS.claims:
        for test in claim.tests:
            if test.board != board:
                continue
            assert set(test.labels) <= labels, claim.number
            for axis in test.axes:
                mine = [cell for cell in cells if cell.axis == axis]
                levels = {cell.level for cell in mine}
                assert set(test.levels) <= levels, (claim.number, axis)
                if test.figure == "change":
                    assert {cell.nominal for cell in mine} <= levels, (claim.number, axis)
                counted = any(cell.counts_when(workload.headline) for cell in mine)
                assert test.levels or counted, (claim.number, axis)


def test_what_the_authors_files_give_is_there_for_every_test_that_names_it() -> None:
    found = read_reproduced()
    for claim in CLAIMS.claims:
        for test in claim.tests:
            if test.reproduced is not None:
                row, against = found.pair(test.reproduced)
                assert row is not None, (claim.number, test.reproduced)
                assert (against is None) == (test.reproduced.against is None)
    for counts in found.counts.values():
        assert 0 < counts["within"] <= counts["compared"]


GOOD = {"board": "b", "row": "A", "against": "B", "figure": "robust", "rule": "higher"}


def written(folder: Path, test: dict, **fields: object) -> Path:
    claim = {"number": 1, "claim": "c", "published": "p", "tests": [test], **fields}
    content = {
        "protocol": "pnnbench-2",
        "tier": "standard",
        "confidence": 0.95,
        "verdicts": {},
        "claims": [{k: v for k, v in claim.items() if v is not None}],
    }
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"figure": "speed"}, "unknown figure"),
        ({"rule": "nicer"}, "unknown rule 'nicer'"),
        ({"against": None}, "nothing to hold the row against"),
        ({"row": None}, "no row"),
        ({"figure": "cells"}, "no axes"),
        ({"rule": "keeps"}, "no margin"),
        ({"rule": "at_most"}, "at_most of no ratio"),
        ({"published": [1.0, 2.0]}, "the opposite of the rule"),
        ({"published": [1.0]}, "two published values"),
        ({"figure": "lambda_max", "published": [1.0, 0.0]}, "two published values"),
        ({"figure": "correlation", "row": None, "rows": list("ABCDE")}, "to correlate with"),
        ({"colour": "red"}, "unknown: colour"),
        ({"beside": True}, "all its tests stand beside"),
        ({"metric": "beauty"}, "unknown metric 'beauty'"),
        ({"figure": "lambda_max", "metric": "mse"}, "a metric of a figure that has its own"),
        ({"scale": "log"}, "unknown scale 'log'"),
        ({"figure": "lambda_max", "scale": "ratio"}, "a scale of a figure that has its own"),
        ({"scale": "ratio"}, "a ratio of shares"),
        ({"figure": "change", "against": None}, "no axes"),
        (
            {"metric": "mse", "scale": "ratio", "rule": "keeps", "margin": 0.5},
            "a factor that is no margin",
        ),
        (
            {"metric": "mse", "scale": "ratio", "rule": "lower", "published": [0.0, 1.0]},
            "two published values",
        ),
    ],
)
def test_a_wrong_test_is_told(tmp_path: Path, change: dict, words: str) -> None:
    assert read_claims(written(tmp_path, GOOD)).family == 1
    wrong = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(UserError, match=re.escape(words)):
        read_claims(written(tmp_path, wrong))


def test_a_claim_has_one_way_to_be_decided(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has tests, waits_for"):
        read_claims(written(tmp_path, GOOD, waits_for="rain"))
    with pytest.raises(UserError, match="has nothing"):
        read_claims(written(tmp_path, GOOD, tests=None))
    with pytest.raises(UserError, match="is not a file of claims"):
        read_claims(tmp_path / "nothing.yaml")


def test_the_file_says_no_verdict() -> None:
    """Verdicts are computed: none is typed beside a claim."""
    text = FILE.read_text(encoding="utf-8").partition("\nclaims:")[2]
    assert not [verdict for verdict in VERDICTS if f": {verdict}" in text]


def test_what_is_no_file_of_reproduced_values_is_told(tmp_path: Path) -> None:
    assert read_reproduced(tmp_path / "none.json").counts == {}
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"platforms": {"mrr": {}}}')
    with pytest.raises(UserError, match=r"not what scripts/reproduced\.py writes"):
        read_reproduced(wrong)


def figures_of(board: str, workload: Workload) -> tuple[str, list[str]]:
    """The metric of a board, and names of the figures beside it that the claims ask for."""
    metric = workload.metric_name
    main = parsed(metric)
    asked = {
        t.metric for c in CLAIMS.claims for t in c.tests if t.board == board and t.figure in SHARES
    }
    others = sorted(asked - {main.kind})
    return metric, [f"{kind}{metric.removeprefix(main.kind)}-n2000" for kind in others]


def board_of(board: str, seeds: int = 3) -> list[dict]:
    """Drawn records of the rows that the claims name, on the grid of the workload."""
    jobs, workload, grid = shipped(board)
    metric, beside = figures_of(board, workload)
    first = sorted({c.device_seed for c in grid if c.device_seed is not None})[:2]
    grid = [cell for cell in grid if cell.device_seed in (None, *first)]
    asked = {
        label for c in CLAIMS.claims for t in c.tests if t.board == board for label in t.labels
    }
    made = []
    for label in sorted(asked & jobs.keys()):
        for seed in range(seeds):
            rng = np.random.default_rng([seed, len(label)])
            record = make_record("BP", seed, suite=board, sealed=False)
            method = {"name": jobs[label].name, "label": label, "params": {}}
            record["job"] |= {"workload": workload.name, "method": method, "revision": 3}
            record["job"]["seeds"]["test_devices"] = first
            record["job"]["hash"] = job_hash(record["job"])
            values = rng.uniform(0.4, 0.6, len(grid)).tolist()
            record["cells"] = [
                {**cell.as_dict(), "value": value, "counts": cell.counts_when("frozen")}
                for cell, value in zip(grid, values, strict=True)
            ]
            record["metric"] = {"name": metric, "higher_is_better": workload.higher_is_better}
            for part in (record, *record["cells"]) if beside else ():
                part["also"] = {name: float(rng.uniform(0.4, 0.6)) for name in beside}
            record["headline"] = workload.headline
            if workload.headline != "frozen":
                counts = [cell.counts_when(workload.headline) for cell in grid]
                step = {"images": 256, "queries": 512, "values": values, "counts": counts}
                if beside:
                    step["also"] = [cell["also"] for cell in record["cells"]]
                record["deployments"] = [{"name": workload.headline, **step}]
            record["training_device"] = {
                "seed": record["job"]["seeds"]["train_device"],
                "severity": workload.training_severity,
                "unit": workload.severity_unit,
                "value": 0.5,
            }
            record["sharpness"]["lambda_max"] = float(rng.uniform(0.5, 2.0))
            made.append(seal(record))
    return made


def test_every_claim_has_a_verdict_once_the_boards_are_there() -> None:
    records = [record for board in SHIPPED for record in board_of(board)]
    for one in decide(CLAIMS, build(records), read_reproduced()):
        if one.claim.waits_for or not {test.board for test in one.claim.tests} <= set(SHIPPED):
            assert one.verdict == NOT_MEASURED
        else:
            assert (one.verdict != NOT_MEASURED, one.reason) == (True, ""), one.claim.number
            assert all(outcome.bounds is not None for outcome in one.outcomes)
