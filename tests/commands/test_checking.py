"""``pnnbench check``, ``submit``, ``verify``, ``doctor``, ``data`` and ``reproduce``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pnnbench.commands.checking import merged

WRONG = '''
from pnnbench.methods.base import TrainingMethod


class Wrong(TrainingMethod):
    """A loss without a gradient.

    Args:
        lr: Step, in the unit of the controls.
    """

    def __init__(self, lr: float = 0.1):
        super().__init__(lr=lr)

    def loss(self, workload, batch):
        return workload.loss(workload(batch[0]), batch).detach()
'''


def test_the_last_of_repeated_parameters_counts():
    assert merged([{"a": 1, "b": 2}, {"a": 3}]) == {"a": 3, "b": 2}
    assert merged(None) == {}


def test_check_passes_and_fails(pnnbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("wrongly.py").write_text(WRONG)
    said = pnnbench("check", "wrongly.Wrong", status=1).out
    assert "FAIL  loss: " in said
    found = json.loads(pnnbench("check", "wrongly.Wrong", "--format", "json", status=1).out)
    assert found["failed"] == sum(not check["passed"] for check in found["checks"]) > 0
    assert f"{found['failed']} failed" in said


def test_check_tells_a_wrong_workload(pnnbench):
    said = pnnbench("check", "sat", "--workload", "nat", status=2).err
    assert "'nat' is a method, no workload" in said


def test_submit_and_verify(pnnbench, in_tiny, tmp_path):
    made = pnnbench("submit", "tiny/bp/0", "--out", tmp_path).out.split()[-1]
    assert "confirmed" in pnnbench("verify", made).out
    found = json.loads(pnnbench("verify", made, "--format", "json").out)
    assert found["within"]
    again = json.loads(pnnbench("submit", "tiny/bp/0", "--out", tmp_path, "--format", "json").out)
    assert Path(again["submission"]).is_dir()


def test_a_folder_in_place_of_a_submission_is_told(pnnbench, tmp_path):
    said = pnnbench("verify", tmp_path, status=2).err
    assert "no submission: there is no record.json in it" in said


def test_doctor_counts_in_words(pnnbench, in_tiny, tmp_path):
    assert pnnbench("doctor").out == "0 findings\n"
    shutil.copytree("runs/tiny", tmp_path / "tiny")
    run = next(p.parent for p in sorted((tmp_path / "tiny").glob("*/record.json")))
    (run / "record.json").write_text("{")
    said = pnnbench("doctor", tmp_path, status=1).out
    assert said.startswith(f"corrupt    {run / 'record.json'}")
    assert said.endswith("\n1 finding\n")
    found = json.loads(pnnbench("doctor", tmp_path, "--format", "json", status=1).out)
    assert [finding["kind"] for finding in found] == ["corrupt"]


def test_data_in_any_spelling(pnnbench):
    found = json.loads(pnnbench("data", "DIGITS", "--format", "json").out)
    assert found["name"] == "digits"
    assert found["train_images"] + found["test_images"] == 1797
    assert found["fingerprint"] in pnnbench("data", "digits").out
    assert "did you mean 'mnist'?" in pnnbench("data", "mnsit", status=2).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mrr"], "--checkpoints is missing"),
        (["mr", "--checkpoints", "x"], "did you mean 'mrr'?"),
        (["sat", "--checkpoints", "x"], "'sat' is a method, no published protocol"),
        (["mrr", "--checkpoints", "nowhere"], "nowhere"),
    ],
)
def test_reproduce_tells_what_it_needs(words, said, pnnbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in pnnbench("reproduce", *words, status=2).err
