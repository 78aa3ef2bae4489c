"""Whether suites are long enough: the committed reports are what their records give."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

from pnnbench.errors import UserError
from pnnbench.records.folders import read_records

from .record_factory import make_suite

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = ROOT / "benchmarks" / "lengths"
SHOWN = sorted(path.parent.name for path in LENGTHS.glob("*/README.md"))
NUMBER = re.compile(r"[-+]?\d+\.\d+")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "benchmarks" / "lengths.py"))


@pytest.mark.parametrize("suite", SHOWN)
def test_reports_are_what_their_records_give(script, suite: str) -> None:
    committed = (LENGTHS / suite / "README.md").read_text(encoding="utf-8")
    made = script["page"](read_records(LENGTHS / suite / "records"), suite)
    assert NUMBER.sub("#", made) == NUMBER.sub("#", committed)
    pairs = zip(NUMBER.findall(made), NUMBER.findall(committed), strict=True)
    assert all(float(a) == pytest.approx(float(b), abs=0.11) for a, b in pairs)


def test_rows_at_once_the_epochs_are_jobs_of_the_board() -> None:
    found = {}
    for path in LENGTHS.glob("*.yaml"):
        suite = yaml.safe_load((ROOT / "benchmarks" / path.name).read_text(encoding="utf-8"))
        searched = {m["label"]: m for m in suite["methods"] if "tuned" in m}
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["methods"]
        once = {m["label"].removesuffix(", x1"): m for m in rows if m["label"].endswith(", x1")}
        found[path.stem] = [
            label
            for label, row in once.items()
            if label in searched
            and row["params"] == {**searched[label].get("params", {}), **searched[label]["tuned"]}
        ]
        assert len(rows) == 3 * len(once)
    assert len(found["freespace_mnist"]) == 5
    assert len(found["mrr_mnist"]) == 4


def test_a_row_without_its_other_lengths_is_refused(script) -> None:
    with pytest.raises(UserError, match="no finished row BP"):
        script["page"](make_suite(["BP"], seeds=(0, 1)), "somewhere")
