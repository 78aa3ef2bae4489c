"""Training a seed of a submission again."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from pnnbench.errors import UserError
from pnnbench.lookup import only
from pnnbench.records.doctor import examine
from pnnbench.records.folders import find_records
from pnnbench.records.store import read_record
from pnnbench.records.verifications import badges_of, read_verification, write_verification
from pnnbench.running.finished import job_folder
from pnnbench.running.jobs import run_suite
from pnnbench.running.suites import load_suite
from pnnbench.submitting.bundle import PARAMETERS
from pnnbench.submitting.received import Received
from pnnbench.submitting.retrained import compare, prediction_interval, verdict
from pnnbench.submitting.retraining import NAME, retrain

from .conftest import SUITE
from .packed import exchange, fail, forge, reseal, rewrite, write_submission, zipped


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, in which seeds are trained once and then found."""
    return tmp_path_factory.mktemp("again")


@pytest.fixture
def copy(submission: Path, tmp_path: Path) -> Path:
    """A copy of the submission, to be changed."""
    return shutil.copytree(submission, tmp_path / "copy")


def test_the_bits_come_out_again(submission: Path, trained: Path, tmp_path: Path) -> None:
    found = retrain(zipped(submission, tmp_path / "row.zip"), 2, trained)
    assert (found.how, found.badge, found.other_machine) == ("same bits", "retrained", ())
    assert (found.same_tensors, found.largest) == (found.tensors, 0.0)
    assert found.score == found.claimed
    assert json.loads(json.dumps(found.as_dict()))["badge"] == "retrained"
    assert (found.folder / NAME).is_file()
    # No board counts the run, and nothing is wrong with the folder.
    assert find_records(trained) == []
    assert examine(trained)[0] == []
    path = tmp_path / "badge.json"
    write_verification(path, found.verification())
    records = [read_record(p) for p in sorted(submission.glob("seed-*/record.json"))]
    told = read_verification(path)
    assert told["badges"] == ["claimed", "retrained"]
    assert badges_of(records, [told]) == ("claimed",)  # the figures of all seeds are claimed yet
    recomputed = {**told, "badges": ["claimed", "recomputed"]}
    assert badges_of(records, [told, recomputed]) == ("claimed", "recomputed", "retrained")


def test_a_row_of_a_mixed_precision_is_received_and_trained_again(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "mixed.yaml").write_text(
        yaml.safe_dump(SUITE | {"precision": "bf16-mixed", "seeds": [1]})
    )
    suite = load_suite(tmp_path / "mixed.yaml")
    run_suite(suite, tmp_path / "runs", say=lambda line: None)
    folder = tmp_path / "submission"
    write_submission(folder, [job_folder(tmp_path / "runs", job) for job in suite.jobs])
    with only("own"):
        (seed,) = Received(folder).seeds
    assert seed.job.spec()["hash"] == seed.record["job"]["hash"]
    assert retrain(folder, 1, trained).how == "same bits"
    forge(folder, lambda record: record["job"].update(precision="half"), 1)
    with only("own"), pytest.raises(UserError, match="unknown precision 'half'"):
        Received(folder)


def test_other_tensors_are_seen_and_the_score_decides(copy: Path, trained: Path) -> None:
    """What a submitter on another machine hands in: tensors that are near, and a score to match."""
    tensors = load_file(copy / "seed-2" / "parameters.safetensors")
    name = next(n for n, t in tensors.items() if n.endswith("current"))
    tensors[name] = tensors[name] + 0.25
    exchange(copy, save(tensors), seed=2)
    said: list[str] = []
    found = retrain(copy, 2, trained, say=said.append)
    assert any("finished already" in line for line in said)  # it is not trained twice
    assert found.how == "within the spread of seeds"
    assert found.same_tensors == found.tensors - 1
    assert found.largest == pytest.approx(0.25, abs=1e-6)

    def perfect(record: dict[str, Any]) -> None:
        for cell in record["cells"]:
            cell["value"] = 0.99
        for step in record.get("deployments", ()):
            step["values"] = [0.99] * len(step["values"])

    for seed in (1, 2):
        forge(copy, perfect, seed)
    forged = retrain(copy, 2, trained)
    assert (forged.how, forged.badge) == ("outside the spread of seeds", None)
    assert forged.claimed == pytest.approx(0.99)
    assert forged.verification()["badges"] == ["claimed"]


def test_the_right_tensors_bear_no_other_figures(copy: Path, trained: Path) -> None:
    def perfect(record: dict[str, Any]) -> None:
        for step in [record, *record.get("deployments", ())]:
            values = step.get("values", ())
            step.update({"values": [1.0] * len(values)} if values else {})
        for cell in record["cells"]:
            cell["value"] = 1.0

    forge(copy, perfect, 2)
    found = retrain(copy, 2, trained)
    assert (found.how, found.badge) == ("same bits, other figures", None)
    assert found.verification()["confirmed"] is False


def test_which_seed_is_not_said_beforehand_but_one_that_was_begun_goes_on(
    submission: Path, trained: Path
) -> None:
    retrain(submission, 2, trained)
    assert retrain(submission, None, trained).seed == 2


def test_tensors_that_are_gone_are_trained_again(copy: Path, trained: Path) -> None:
    found = retrain(copy, 2, trained)
    (found.folder / PARAMETERS).unlink()
    assert retrain(copy, 2, trained).how == "same bits"


def test_a_seed_that_was_stopped_is_not_received(copy: Path, trained: Path) -> None:
    """It counts as guessing nowhere, and could hide one that came out badly."""
    (copy / "seed-1" / PARAMETERS).unlink()
    forge(copy, lambda record: fail(record, "killed"), 1)
    with pytest.raises(UserError, match=r"seed-1/record\.json was stopped before its end"):
        retrain(copy, 2, trained)


def test_one_seed_has_no_spread(copy: Path, trained: Path) -> None:
    shutil.rmtree(copy / "seed-1")
    rewrite(copy, lambda content: content.update(seeds=[2]))
    reseal(copy)
    assert retrain(copy, 2, trained).how == "same bits"
    tensors = load_file(copy / "seed-2" / "parameters.safetensors")
    tensors["norm1.weight"] = tensors["norm1.weight"] * 1.5
    exchange(copy, save(tensors), seed=2)
    found = retrain(copy, None, trained)
    assert (found.seed, found.how, found.badge, found.interval) == (2, "no spread", None, None)


def test_what_cannot_be_trained_again_is_refused(copy: Path, trained: Path) -> None:
    with pytest.raises(UserError, match="no finished seed 7"):
        retrain(copy, 7, trained)

    def method(name: str) -> None:
        rewrite(copy, lambda content: content["row"].update(method=name))
        for seed in (1, 2):
            forge(copy, lambda record: record["job"]["method"].update(name=name), seed)

    def other(key: str, value: Any) -> None:
        for seed in (1, 2):
            forge(copy, lambda record: record["job"].update({key: value}), seed)

    method("tilted")
    with pytest.raises(UserError, match="'tilted' of the submission is not installed"):
        retrain(copy, 2, trained)
    method("tilted.method.Tilted")
    with pytest.raises(UserError, match=r"the code of tilted\.method\.Tilted"):
        retrain(copy, 2, trained)
    with pytest.raises(UserError, match="there is no module 'tilted'"):
        retrain(copy, 2, trained, trust=True)
    method("nat")
    with pytest.raises(UserError, match="its settings or its configuration are others"):
        retrain(copy, 2, trained)
    method("bp")
    other("content", "0" * 64)
    other("hash", "0" * 16)
    with pytest.raises(UserError, match="what the submission ran is not what runs here"):
        retrain(copy, 2, trained)
    other("epochs_factor", 1e9)
    with pytest.raises(UserError, match="epochs_factor of the submission"):
        retrain(copy, 2, trained)
    other("revision", 1)
    with pytest.raises(UserError, match="is of revision 1"):
        retrain(copy, 2, trained)


def test_tensors_that_are_not_the_networks_are_refused(copy: Path, tmp_path: Path) -> None:
    exchange(copy, save({"other": torch.zeros(3)}), seed=2)
    with pytest.raises(UserError, match=r"'conv1\.bias' is missing"):
        retrain(copy, 2, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_comparing_tensors() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3])}
    assert compare(one, dict(one)) == (2, 2, 0.0)
    assert compare(one, {**one, "a": torch.tensor([1.0, 2.5])}) == (1, 2, 0.5)
    assert compare(one, {"a": one["a"]}) == (1, 2, math.inf)
    assert compare(one, {**one, "b": torch.tensor([3.0])}) == (1, 2, math.inf)
    assert compare(one, {**one, "a": torch.tensor([1.0, math.nan])}) == (1, 2, math.inf)


def test_the_interval_holds_in_as_many_cases_as_it_says() -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(4000, 5, generator=draw, dtype=torch.float64)
    inside = 0
    for *seeds, more in scores.tolist():
        interval = prediction_interval(seeds)
        assert interval is not None
        inside += interval[0] <= more <= interval[1]
    assert abs(inside / 4000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


@given(st.lists(st.floats(0.0, 1.0), max_size=6), st.floats(0.0, 1.0), st.booleans())
def test_a_verdict_follows_from_bits_first(scores: list[float], score: float, same: bool) -> None:
    interval = prediction_interval(scores)
    assert (interval is None) == (len(scores) < 2)
    told = verdict(same, score, score, interval)
    assert (told == "same bits") == same
    if not same:
        assert (told == "no spread") == (interval is None)
    other = verdict(same, None, score, interval)
    assert other == ("same bits, other figures" if same else "no spread")
    assert verdict(True, None, None, interval) == "same bits"
    assert verdict(True, 1.01 * score + 1e-9, score, interval) == "same bits, other figures"
