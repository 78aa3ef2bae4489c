from __future__ import annotations

import torch

from pnnbench.workloads.mrr import MRRDigits


def test_controls_and_digital_parameters_are_all_there_is() -> None:
    workload = MRRDigits(0)
    controls, digital = workload.controls(), workload.digital_parameters()
    everything = dict(workload.named_parameters())
    assert list(controls) == [f"network.{n}.current" for n in ("conv1", "fc1", "fc2")]
    assert {**controls, **digital}.keys() == everything.keys()
    assert not controls.keys() & digital.keys()
    assert all({**controls, **digital}[n] is p for n, p in everything.items())


def test_projecting_puts_the_controls_back() -> None:
    workload = MRRDigits(0)
    with torch.no_grad():
        workload.network.fc1.current[0, :2] = torch.tensor([-1.0, 9.0])
    kept = workload.network.fc1.current[1:].detach().clone()
    workload.project_controls()
    assert workload.network.fc1.current[0, :2].tolist() == [0.0, 5.0]
    assert torch.equal(workload.network.fc1.current[1:], kept)
