from __future__ import annotations

from collections import Counter

import pytest
import torch

from pnnbench.workloads.grid import test_devices as seeds_of_test_devices
from pnnbench.workloads.mzi import IMBALANCE_PER_RAD, MZI3MNIST, MZIMNIST, MZIDigits, MZIWorkload

WORKLOADS = [MZIDigits, MZIMNIST, MZI3MNIST]


@pytest.mark.parametrize("cls", WORKLOADS)
def test_the_grid_has_devices_phases_and_couplers_apart(cls: type[MZIWorkload]) -> None:
    n = cls.tier("smoke").n_devices
    cells = cls(0).perturbation_grid("smoke")
    levels = Counter((c.axis, c.level) for c in cells)
    assert levels == {
        **{("device", s): n for s in cls.severities},
        **{("phase", s): n for s in cls.counted},
        **{("coupler", e): n for e in cls.imbalances},
    }
    assert {c.device_seed for c in cells} == set(seeds_of_test_devices(n))
    laws = {"device": "fabrication", "phase": "phases", "coupler": "couplers"}
    counted = {"device": cls.counted, "phase": (), "coupler": cls.imbalances_counted}
    for cell in cells:
        assert cell.law == laws[cell.axis]
        assert cell.severity == cell.level
        assert cell.counts == (cell.level in counted[cell.axis])
        assert cell.unit == ("imbalance" if cell.axis == "coupler" else "rad")
    assert set(cls.counted) <= set(cls.severities)
    assert set(cls.imbalances_counted) <= set(cls.imbalances)


def test_couplers_of_a_device_are_off_in_the_stated_ratio() -> None:
    workload = MZIMNIST(0)
    device = workload.draw_device(0.2, 3)
    errors = device.errors["mesh"]
    phases = torch.cat([errors["theta"], errors["phi"]]).std()
    imbalances = torch.cat([errors["e_l"], errors["e_r"]]).std()
    assert float(imbalances / phases) == pytest.approx(IMBALANCE_PER_RAD, rel=0.05)


@pytest.mark.parametrize("cls", WORKLOADS)
def test_training_and_sharpness_devices_are_within_the_grid(cls: type[MZIWorkload]) -> None:
    assert min(cls.severities) <= cls.training_severity <= max(cls.severities)
    assert cls(0).offset_scale.value <= max(cls.severities)
