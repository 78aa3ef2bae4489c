from __future__ import annotations

import pytest

from pnnbench.platforms.mrr import MRREnvironment
from pnnbench.workloads.grid import (
    FIRST_TEST_DEVICE,
    Cell,
    device_axis,
    environment_axis,
)
from pnnbench.workloads.grid import (
    test_devices as seeds_of_test_devices,
)
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits, MRRWorkload

NOMINAL = MRREnvironment()


def test_test_devices_are_the_first_so_many() -> None:
    assert seeds_of_test_devices(3) == [FIRST_TEST_DEVICE + i for i in range(3)]
    assert seeds_of_test_devices(100)[:20] == seeds_of_test_devices(20)


@pytest.mark.parametrize("cls", [MRRDigits, MRRMNIST])
def test_no_training_device_is_a_test_device(cls: type[MRRWorkload]) -> None:
    workload = cls(0)
    tested = {c.device_seed for tier in cls.tiers for c in workload.perturbation_grid(tier)}
    assert min(tested) >= FIRST_TEST_DEVICE > 10_000  # training devices are drawn from below
    training = {
        tuple(workload.draw_device(1.0, seed).errors["fc2"]["detuning"].flatten()[:4].tolist())
        for seed in range(20)
    }
    for seed in sorted(tested)[:20]:
        drawn = workload.draw_device(1.0, seed).errors["fc2"]["detuning"]
        assert tuple(drawn.flatten()[:4].tolist()) not in training


def test_the_device_axis_goes_severity_by_severity() -> None:
    cells = device_axis((0.1, 1.0), [7, 8], NOMINAL)
    assert [(c.axis, c.level, c.severity, c.device_seed) for c in cells] == [
        ("device", 0.1, 0.1, 7),
        ("device", 0.1, 0.1, 8),
        ("device", 1.0, 1.0, 7),
        ("device", 1.0, 1.0, 8),
    ]
    assert {c.environment for c in cells} == {NOMINAL}


def test_the_environment_axis_goes_point_by_point() -> None:
    warm = MRREnvironment(23.0)
    cells = environment_axis("temperature", "degC", [(0.0, NOMINAL), (1.0, warm)], 0.1, [7, 8])
    assert cells == [
        Cell("temperature", 0.0, "degC", 0.1, 7, NOMINAL),
        Cell("temperature", 0.0, "degC", 0.1, 8, NOMINAL),
        Cell("temperature", 1.0, "degC", 0.1, 7, warm),
        Cell("temperature", 1.0, "degC", 0.1, 8, warm),
    ]
