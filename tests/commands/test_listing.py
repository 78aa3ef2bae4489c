"""``pnnbench list`` tells everything, in the width that there is."""

from __future__ import annotations

import json

import pytest

from pnnbench.commands.names import LISTED
from pnnbench.registry import registered


@pytest.fixture(scope="module")
def listed(tiny):
    """Everything, as JSON."""
    import contextlib
    import io

    from pnnbench.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["list", "--format", "json", "--runs", str(tiny.folder / "runs")]) == 0
    return json.loads(out.getvalue())


def named(entries):
    return {entry["name"]: entry for entry in entries}


def test_without_an_argument_everything_is_listed(listed):
    assert list(listed) == list(LISTED)
    assert set(named(listed["methods"])) == set(registered("methods"))
    assert set(named(listed["workloads"])) == set(registered("workloads"))
    assert set(named(listed["platforms"])) == set(registered("platforms"))
    assert {"digits", "mnist"} <= set(named(listed["data"]))
    assert {"quickstart", "mrr_mnist"} <= set(named(listed["suites"]))
    assert set(named(listed["runs"])) == {"tiny/bp/0", "tiny/bp/1", "tiny/nat/0", "tiny/nat/1"}


def test_a_method_says_access_source_and_what_it_trains(listed):
    methods = named(listed["methods"])
    for method in methods.values():
        assert method["summary"].endswith(".")
        assert method["access"] in ("in_silico", "in_situ", "in_situ_internal")
        assert method["source"]
        assert method["workloads"]
    assert methods["dat-internal"]["access"] == "in_situ_internal"
    assert methods["bp"]["all_workloads"]
    assert "mrr-digits" not in methods["dat"]["workloads"]
    assert "freespace-digits" not in methods["pruning"]["workloads"]


def test_workloads_and_platforms_say_their_units(listed):
    units = {name: workload["unit"] for name, workload in named(listed["workloads"]).items()}
    assert units["mrr-digits"] == "mA"
    assert units["mzi-digits"] == "rad"
    assert all(units.values())
    assert {p["name"]: p["unit"] for p in listed["platforms"]}["mrr"] == "mA"


def test_one_kind_in_any_spelling(pnnbench, in_tiny):
    said = pnnbench("list", "METHODS").out
    assert said.startswith("bp ")
    assert "source: " in said
    assert "workloads: all" in said
    assert "tiers: smoke, quick" in pnnbench("list", "workloads").out
    assert pnnbench("list", "runs").out.splitlines()[0].split()[:4] == [
        "tiny/bp/0",
        "mrr-digits",
        "smoke",
        "ok",
    ]


def test_where_nothing_is_it_says_so(pnnbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pnnbench("list", "runs").out == "no runs in runs/\n"
    assert json.loads(pnnbench("list", "runs", "--format", "json").out) == {"runs": []}


def test_an_unknown_kind_gets_a_hint(pnnbench):
    assert "did you mean 'methods'?" in pnnbench("list", "methodss", status=2).err


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_lists_fit_the_terminal(columns, on_terminal, in_tiny):
    lines = on_terminal(columns, "list").splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line.strip().startswith("sat-environment") for line in lines)
    assert any("tiny/nat/1" in line for line in lines)
