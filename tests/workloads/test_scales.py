"""The scales of the workloads against what they are said to be."""

from __future__ import annotations

import math

import pytest
import torch

from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION, MRRLinear, RingCalibration
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.registry import registered, workload_class
from pnnbench.workloads.amounts import Scale
from pnnbench.workloads.base import Workload
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits, FreeSpaceMNIST
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits, half_width_current
from pnnbench.workloads.mzi import MZI3MNIST, MZIMNIST, MZIDigits
from pnnbench.workloads.networks import LinearFactory, PhysicalNetwork


@pytest.mark.parametrize("name", registered("workloads"))
def test_every_workload_states_scales_in_the_units_of_its_layers(name: str) -> None:
    workload = workload_class(name)(0)
    for layer in workload.layers().values():
        assert workload.control_scale.unit == layer.control_unit
        assert workload.offset_scale.unit == layer.offset_unit
    assert workload.weight_scale.unit == "weight"
    scales = (workload.control_scale, workload.offset_scale, workload.weight_scale)
    assert all(0.0 < scale.value < 10.0 for scale in scales)
    described = workload.describe(next(iter(workload.tiers)))["scales"]
    assert [Scale(**described[k]) for k in ("control", "offset", "weight")] == list(scales)
    assert workload.n_controls == sum(p.numel() for p in workload.controls().values())


@pytest.mark.parametrize("calibration", [RingCalibration(), PUBLISHED_CALIBRATION])
def test_the_current_of_a_ring_detunes_it_by_a_half_width(calibration: RingCalibration) -> None:
    step = 1e-3 * half_width_current(calibration)
    at = calibration.current(torch.zeros((), dtype=torch.float64))
    shift = calibration.detuning(at) - calibration.detuning(at + step)
    assert abs(float(shift)) == pytest.approx(1e-3, rel=1e-3)
    moved = calibration.weight(at + step) - calibration.weight(at)
    u = math.sqrt(calibration.depth / calibration.bias - 1.0)
    slope = 2.0 * calibration.depth * u / (1.0 + u * u) ** 2
    assert abs(float(moved)) == pytest.approx(1e-3 * slope, rel=2e-3)


def test_a_ring_that_rests_on_the_laser_has_a_finite_scale() -> None:
    calibration = RingCalibration(rest_detuning_nm=0.0)
    assert half_width_current(calibration) == pytest.approx(
        0.5 * math.sqrt(calibration.hwhm_nm / calibration.tuning)
    )


def test_scales_are_those_of_the_docstrings() -> None:
    assert MRRDigits().control_scale.value == pytest.approx(0.638, abs=5e-4)
    assert MRRMNIST().control_scale == MRRDigits().control_scale
    assert MRRDigits().offset_scale == Scale(0.67, "HWHM")
    assert MRRDigits().weight_scale.value == pytest.approx(1.114, abs=5e-4)
    assert MZIMNIST().control_scale.value == pytest.approx(math.pi / 8)
    assert MZIDigits().control_scale.value == pytest.approx(math.pi / 4)
    assert MZI3MNIST().control_scale.value == pytest.approx(math.pi / math.sqrt(192))
    assert MZI3MNIST().offset_scale == Scale(0.12, "rad")
    assert DiffractiveDigits().control_scale.value == pytest.approx(math.pi / math.sqrt(2))
    assert FreeSpaceMNIST().control_scale.value == pytest.approx(1 / 28)
    assert FreeSpaceDigits().weight_scale == Scale(0.125, "weight")


@pytest.mark.parametrize("cls", [MZIDigits, DiffractiveDigits])
def test_changes_of_the_scale_turn_a_field_by_about_half_a_wave(cls: type[Workload]) -> None:
    """A tenth of the scale, an optimiser's step, changes the transfer by a tenth of pi or less."""
    workload = cls(0)
    (layer,) = workload.layers().values()
    before = layer.ideal_weight().detach()
    torch.manual_seed(0)
    with torch.no_grad():
        for p in workload.controls().values():
            p.add_(0.1 * workload.control_scale.value * torch.randn(p.shape))
    change = layer.ideal_weight().detach() - before
    relative = float(change.abs().square().sum().sqrt() / before.abs().square().sum().sqrt())
    assert 0.1 < relative < 0.1 * math.pi


class TwoUnits(MRRDigits):
    """Rings and a mesh in one network."""

    control_scale = Workload.control_scale

    def build_network(self) -> PhysicalNetwork:
        class Both(PhysicalNetwork):
            def __init__(self) -> None:
                super().__init__()
                linear: LinearFactory = MRRLinear
                self.rings = linear(64, 16)
                self.mesh = MZIMesh(16)

            def physical(self, h: torch.Tensor) -> torch.Tensor:
                return self.mesh(self.rings(h.flatten(1)))[:, :10]

        return Both()


def test_where_layers_differ_in_their_unit_there_is_none() -> None:
    assert TwoUnits().control_scale == Scale(1.0, "")
