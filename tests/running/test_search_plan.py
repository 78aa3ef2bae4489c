"""The key ``search`` of a suite file."""

from __future__ import annotations

import textwrap

import pytest

from pnnbench.api.tuning import prepare
from pnnbench.errors import UserError
from pnnbench.running.search_plan import AS_THE_PROTOCOL, SearchPlan, search_plan
from pnnbench.running.suites import load_suite

SUITE = """
suite: mine
protocol: pnnbench-2
tier: quick
workloads: [mrr-digits]
seeds: [0]
search: {tier: smoke, devices: 3}
methods:
  - {method: bp, label: BP, tune: true}
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, AS_THE_PROTOCOL),
        ({}, AS_THE_PROTOCOL),
        ({"tier": "smoke"}, SearchPlan("smoke")),
        ({"devices": 4}, SearchPlan(None, 4)),
    ],
)
def test_plans(given, expected):
    assert search_plan("here", given) == expected


@pytest.mark.parametrize(
    "given", [3, {"tier": 1}, {"devices": 0}, {"devices": True}, {"devices": "4"}, {"trials": 4}]
)
def test_what_is_no_plan(given):
    with pytest.raises(UserError, match="here"):
        search_plan("here", given)


def test_trials_run_at_the_tier_of_the_search(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(textwrap.dedent(SUITE))
    assert {job.tier for job in load_suite(path).jobs} == {"quick"}
    prepared = prepare(path, tmp_path / "runs")
    assert {job.tier for job in prepared.rows.values()} == {"smoke"}
    assert prepared.search.budget.devices == 3
    prepared.search.open(prepared.rows)
    assert prepared.search.content["tier"] == "smoke"
    assert prepared.search.content["deviates"]
