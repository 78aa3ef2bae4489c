"""``pnnbench list``: everything, or one kind."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ..command import Done, command

KINDS = ["methods", "platforms", "workloads", "data", "suites", "runs"]


def test_without_an_argument_there_is_an_overview(ran: tuple[Path, Done]) -> None:
    shown = command("list", cwd=ran[0]).out
    for kind in KINDS:
        assert f"{kind}:" in shown
    found = json.loads(command("list", "--format", "json", cwd=ran[0]).out)
    assert list(found) == KINDS
    for kind in ("methods", "platforms", "workloads"):
        all_of_it = json.loads(command("list", kind, "--format", "json", cwd=ran[0]).out)[kind]
        assert found[kind] == [{k: e[k] for k in ("name", "summary")} for e in all_of_it]
        for entry in found[kind]:
            assert entry["name"] in shown
            assert entry["summary"] in " ".join(shown.split())
    assert {run["name"] for run in found["runs"]} == {
        f"tiny/{label}/{seed}" for label in ("BP", "NAT, small") for seed in (0, 1)
    }
    assert f"pnnbench list KIND ({', '.join(KINDS)})" in shown


def test_one_kind_has_all_that_is_known(tmp_path: Path) -> None:
    found = json.loads(command("list", "methods", "--format", "json", cwd=tmp_path).out)
    methods = {entry["name"]: entry for entry in found["methods"]}
    assert methods["pat"]["access"] == "in_situ"
    assert methods["pat"]["knows"] == "one device"
    assert methods["bp"]["knows"] == "nothing"
    assert "knows: tested law" in command("list", "methods", cwd=tmp_path).out
    assert "Wright" in methods["pat"]["source"]
    assert methods["dat"]["workloads"] == [
        "mzi-digits", "mzi-mnist", "mzi-mnist-large-batch", "mzi3-mnist",
    ]  # fmt: skip
    found = json.loads(command("list", "platforms", "--format", "json", cwd=tmp_path).out)
    assert {entry["name"]: entry["unit"] for entry in found["platforms"]}["mrr"] == "mA"


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_alone(tmp_path: Path, kind: str) -> None:
    assert command("list", kind, cwd=tmp_path).out.strip()


def test_what_cannot_be_loaded_takes_nothing_else_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pnnbench.commands import listing

    known = listing.registered

    def registered(kind: str) -> dict[str, Any]:
        broken = EntryPoint(f"broken-{kind}", "nowhere_at_all:Thing", f"pnnbench.{kind}")
        return {**known(kind), broken.name: broken}

    monkeypatch.setattr(listing, "registered", registered)
    monkeypatch.setattr("pnnbench.lookup.registered", registered)
    for kind in ("methods", "platforms", "workloads", "data"):
        done = command("list", kind, cwd=tmp_path)
        assert all(name in done.out for name in known(kind))
        assert "is left out: " in done.err
        assert f"broken-{kind}" in done.err
