"""What a careless call gives: one `UserError`, never an exception of what lies below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

import pnnbench
from pnnbench.methods.sat import SAT
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.tiers import Tier


@pytest.fixture(scope="module")
def trained() -> pnnbench.TrainedNetwork:
    """A network after one epoch of its smallest tier."""
    return pnnbench.train("mrr-digits", "bp", tier="smoke")


def told(call: Callable[[], Any]) -> str:
    """What the `UserError` of a call says, checked for its form."""
    with pytest.raises(pnnbench.UserError) as error:
        call()
    text = str(error.value)
    assert len(error.value.what) < 700
    assert "Traceback" not in text
    return text


# A call -> words of its error.
CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: pnnbench.train(3, "sat"), "workload is 3"),
    (lambda: pnnbench.train(None, "sat"), "workload is None"),
    (lambda: pnnbench.train("", "sat"), "workload is ''"),
    (lambda: pnnbench.train(nn.Linear(3, 3), "bp"), "pnnbench.physical(model"),
    (lambda: pnnbench.train(nn.ReLU, "bp"), "workload is the class ReLU"),
    (lambda: pnnbench.train(nn.ReLU, "bp"), "pnnbench.physical(model"),
    (lambda: pnnbench.train("mrr-digits", 3), "method is 3"),
    (lambda: pnnbench.train("mrr-digits", None), "method is None"),
    (lambda: pnnbench.train("mrr-digits", data=3), "the data set is 3"),
    (lambda: pnnbench.train(MRRDigits(), data="digits"), "pnnbench.workload(NAME, data=...)"),
    (lambda: pnnbench.train("mrr-digits", tier=3), "unknown tier '3'"),
    (lambda: pnnbench.method(3), "method is 3"),
    (lambda: pnnbench.method(nn.Linear), "method is the class Linear"),
    (lambda: pnnbench.method(SAT()), "method is a SAT"),
    (lambda: pnnbench.workload(3), "workload is 3"),
    (lambda: pnnbench.workload(None), "workload is None"),
    (lambda: pnnbench.workload(True), "workload is True"),
    (lambda: pnnbench.workload(nn.Linear), "workload is the class Linear"),
    (lambda: pnnbench.workload("mrr-digits", foo=1), "unknown option of MRRDigits 'foo'"),
    (lambda: pnnbench.workload("mrr-digits", foo=1), "allowed: data"),
    (lambda: pnnbench.workload("mrr-digits", dat=1), "did you mean 'data'"),
    (lambda: pnnbench.load(None), "folder is None"),
    (lambda: pnnbench.load(3), "folder is 3"),
    (lambda: pnnbench.load([1, 2]), "folder is a list"),
    (lambda: pnnbench.load(""), "folder is ''"),
    (lambda: pnnbench.load_leaderboard(3), "folder is 3"),
    (lambda: pnnbench.load_leaderboard(None), "folder is None"),
    (lambda: pnnbench.load_network(3), "network is 3"),
    (lambda: pnnbench.load_network(None), "network is None"),
    (lambda: pnnbench.load_network(""), "network is ''"),
    (lambda: pnnbench.load_network(pnnbench.load("quickstart")), "network is a Results"),
    (lambda: pnnbench.load_data(3), "the data set is 3"),
    (lambda: pnnbench.load_data(None), "the data set is None"),
    (lambda: pnnbench.evaluate(3), "network is 3"),
    (lambda: pnnbench.evaluate(MRRDigits), "network is the class MRRDigits"),
    (lambda: pnnbench.evaluate(nn.Linear(3, 3)), "pnnbench.physical(model"),
    (lambda: pnnbench.evaluate("mrr-digits"), "pnnbench.evaluate(pnnbench.train('mrr-digits'))"),
    (lambda: pnnbench.evaluate("MRR_digits"), "not trained yet"),
    (lambda: pnnbench.run(3), "suite is 3"),
    (lambda: pnnbench.run("quickstart", seeds=3), "seeds is 3"),
    (lambda: pnnbench.run("quickstart", seeds="a"), "seeds is 'a'"),
    (lambda: pnnbench.run("quickstart", seeds=["a"]), "seeds[0] is 'a'"),
    (lambda: pnnbench.run("quickstart", seeds=[]), "seeds is empty"),
    (lambda: pnnbench.run("quickstart", only="NAD"), "did you mean 'NAT'"),
    (lambda: pnnbench.run("quickstart", only=3), "only is 3"),
    (lambda: pnnbench.run("quickstart", only=[3]), "only: an entry is 3"),
    (lambda: pnnbench.run("quickstart", add="nad"), "did you mean 'nat'"),
    (lambda: pnnbench.tune(3), "suite is 3"),
    (lambda: pnnbench.tune("quickstart", only=3), "only is 3"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), CALLS, ids=[str(i) for i in range(len(CALLS))])
def test_an_argument_of_a_wrong_kind_is_named(
    call: Callable[[], Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in told(call)


def test_a_table_is_no_suite_and_is_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "flowers.csv"
    path.write_text("length,width,name\n" + "5.1,3.5,iris\n" * 300)
    text = told(lambda: pnnbench.run(path))
    assert "flowers.csv is no suite file: it holds a text" in text
    assert "iris" not in text


def test_a_path_of_devices_is_no_source_of_them() -> None:
    workload = pnnbench.workload("mrr-digits")
    for given in ("rings.csv", Path("rings.csv"), None, 3):
        assert "MeasuredDevices.read('FILE')" in told(
            lambda given=given: setattr(workload, "devices", given)
        )


def test_classes_are_taken_as_well_as_their_names() -> None:
    assert type(pnnbench.method(SAT, rho=0.25)) is SAT
    one, other = pnnbench.workload(MRRDigits, 3), pnnbench.workload("mrr-digits", 3)
    assert all(v.equal(other.state_dict()[k]) for k, v in one.state_dict().items())


def test_a_trained_network_is_trained_on(trained: pnnbench.TrainedNetwork) -> None:
    before = {k: v.clone() for k, v in trained.workload.state_dict().items()}
    again = pnnbench.train(trained, SAT, tier="smoke")
    name = next(iter(before))
    assert not again.workload.state_dict()[name].equal(before[name])
    assert all(v.equal(before[k]) for k, v in trained.workload.state_dict().items())


def test_data_are_handed_to_a_workload_that_is_named() -> None:
    found = pnnbench.train("mrr-digits", data="digits", tier="smoke")
    assert found.workload.brought is not None
    assert found.workload.brought.name == "digits"


class Unbuilt(MRRDigits):
    def build_network(self) -> Any:
        return 1 / 0


class Nothing(MRRDigits):
    def build_network(self) -> Any:
        return None


class NoTiers(MRRDigits):
    tiers: ClassVar[Any] = {}


class Numbers(MRRDigits):
    tiers: ClassVar[Any] = {"smoke": 3}


class Listed(MRRDigits):
    tiers: ClassVar[Any] = [Tier(epochs=1, batch_size=32, n_devices=2)]


class BadGrid(MRRDigits):
    def perturbation_grid(self, tier: str) -> Any:
        raise KeyError("no such cell")


class NoData(MRRDigits):
    data: ClassVar[Any] = None


BUGS: list[tuple[type, str]] = [
    (Unbuilt, "in build_network: return 1 / 0"),
    (Nothing, "build_network of Nothing gives nothing"),
    (Nothing, "test_mistakes.py, line"),
    (NoTiers, "has no tiers"),
    (Numbers, "the tier 'smoke' is an integer"),
    (Listed, "has tiers that are a list"),
    (BadGrid, "in perturbation_grid: raise KeyError"),
    (NoData, "the data set is None"),
]


@pytest.mark.parametrize(("cls", "words"), BUGS)
def test_a_bug_in_a_workload_stops_a_suite_before_it_runs(
    cls: type, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        f"""
suite: own
protocol: pnnbench-2
tier: smoke
workloads: [mrr-digits, {cls.__module__}.{cls.__name__}]
seeds: [0]
methods: [{{method: bp, label: BP}}]
"""
    )
    assert words in told(lambda: pnnbench.run(path, tmp_path / "runs"))
    assert not list((tmp_path / "runs").glob("*/*/record.json"))


@pytest.mark.parametrize("cls", [Unbuilt, Nothing])
def test_a_bug_in_a_workload_reads_the_same_in_python(cls: type) -> None:
    text = told(lambda: pnnbench.train(cls, tier="smoke"))
    assert "test_mistakes.py, line" in text
    assert text == told(lambda: pnnbench.workload(cls))


class BadMetric(MRRDigits):
    def metric(self) -> Any:
        return self.no_such_metric


class Misspelt(MRRDigits):
    def outcomes(self, outputs: Any, targets: Any) -> Any:
        return outputs.argmax(9) == targets


def test_a_metric_that_fails_is_told_with_its_place() -> None:
    text = told(lambda: pnnbench.evaluate(BadMetric(), tier="smoke", devices=1))
    assert "the metric of BadMetric cannot be had" in text
    assert "in metric: return self.no_such_metric" in text
    assert "test_mistakes.py, line" in text


def test_a_part_that_fails_is_a_gap_with_its_place() -> None:
    (record,) = pnnbench.evaluate(Misspelt(), tier="smoke", devices=1).records
    (gap,) = [gap for gap in record["gaps"] if gap["part"] == "outcomes"]
    assert "in outcomes: return outputs.argmax(9) == targets" in gap["message"]
