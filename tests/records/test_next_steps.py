from __future__ import annotations

import shlex
from typing import Any

import pytest

from pnnbench.arguments import build, parse
from pnnbench.commands.declared import DECLARED
from pnnbench.records.next_steps import run_again

JOB: dict[str, Any] = {
    "suite": "train",
    "tier": "smoke",
    "workload": "mrr-digits",
    "method": {"name": "sat", "label": "sat", "params": {"lr": 0.1, "rho": 0.25}},
    "epochs_factor": 1.0,
    "seed": 2,
}


@pytest.mark.parametrize(
    "params", [{"lr": 1e-05, "rho": 1e20}, {"lr": "0.3 rad", "rho": {"a b": 1.0}}, {"lr": True}]
)
def test_the_command_of_a_training_gives_all_that_is_not_the_default(
    params: dict[str, Any],
) -> None:
    method = JOB["method"]
    label = " ".join(["sat", *(f"{k}={v}" for k, v in params.items())])
    full = {**method["params"], "optimizer": "adam", **params}
    job = JOB | {
        "method": {**method, "label": label, "params": full},
        "epochs_factor": 2.5,
        "data": {"name": "mine", "set": "image-folder:my pictures"},
        "precision": "bf16-mixed",
    }
    words = shlex.split(run_again(job))
    found = parse(build("pnnbench", "", "1", DECLARED), DECLARED, words[1:])["train"]
    assert [found.workload, found.method, found.tier, found.seed] == [
        "mrr-digits",
        "sat",
        "smoke",
        2,
    ]
    assert (found.data_set, found.epochs_factor) == ("image-folder:my pictures", 2.5)
    assert found.precision == "bf16-mixed"
    assert {k: v for part in found.params for k, v in part.items()} == params


def test_the_command_of_a_job_is_that_of_its_suite_or_a_plain_training() -> None:
    assert run_again(JOB) == "pnnbench train mrr-digits sat --tier smoke --seed 2"
    assert run_again(JOB | {"suite": "quickstart"}) == "pnnbench run quickstart"
    assert run_again(JOB | {"suite": "mine"}) == "pnnbench run mine.yaml"
