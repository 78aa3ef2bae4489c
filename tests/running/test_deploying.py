from __future__ import annotations

import pytest
import torch

from pnnbench.data import DataModule
from pnnbench.evaluation.harness import measure_grid
from pnnbench.methods.bp import BP
from pnnbench.platforms.base import Condition, operate
from pnnbench.platforms.mrr import MRREnvironment
from pnnbench.running.deploying import measure_deployments
from pnnbench.running.training import fit
from pnnbench.workloads.calibration import calibrate
from pnnbench.workloads.grid import Cell
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

DATA = DataModule("digits", batch_size=32, limit_train=400, limit_test=100)


@pytest.fixture(scope="module")
def trained() -> MRRDigits:
    workload = MRRDigits(0)
    fit(workload, BP(), DATA, epochs=3)
    workload.calibrate(DATA.train_tensors()[0])
    return workload


def cells() -> list[Cell]:
    nominal, warm = MRREnvironment(), MRREnvironment(22.25)
    return [
        Cell("device", 1.0, "", 1.0, 1_000_000, nominal),
        Cell("device", 1.0, "", 1.0, 1_000_001, nominal),
        Cell("temperature_fine", 0.25, "degC", 0.0, None, warm),
    ]


def test_what_a_common_shift_costs_is_won_back(trained: MRRDigits) -> None:
    for layer in trained.layers().values():
        object.__setattr__(layer.calibration, "readout_noise", 0.0)
    frozen = [r.value for r in measure_grid(trained, *DATA.test_tensors(), cells())]
    (step,), gaps = measure_deployments(trained, DATA, cells())
    assert not gaps
    assert step["name"] == "offset-calibrated"
    assert step["images"] == 256
    assert step["queries"] == 2 * 256  # two batch norms, one after the other
    assert step["values"][2] > frozen[2] + 0.2
    # The harness against the network that is calibrated as a whole on the same device.
    images, labels = DATA.test_tensors()
    for value, cell in zip(step["values"], cells(), strict=True):
        other = MRRDigits(0)
        other.network.load_state_dict(trained.network.state_dict())
        for layer in other.layers().values():
            object.__setattr__(layer.calibration, "readout_noise", 0.0)
        device = other.draw_device(cell.severity, cell.device_seed)
        with torch.no_grad(), operate(other.network, [Condition(device, cell.environment)]):
            calibrate(other.network, DATA.train_tensors()[0][:256], 256)
            right = (other(images).argmax(1) == labels).double().mean()
        assert value == pytest.approx(float(right), abs=0.0101)  # an image that is nearly a tie


def test_values_do_not_depend_on_what_is_measured_together(trained: MRRDigits) -> None:
    calibration = DATA.train_tensors()[0][:64]
    runs = [
        measure_grid(
            trained,
            *DATA.test_tensors(),
            cells(),
            calibration=calibration,
            batch_size=batch_size,
            cells_per_batch=together,
        )
        for batch_size, together in ((50, 10), (17, 1))
    ]
    values = [[reading.value for reading in run] for run in runs]
    assert values[0] == pytest.approx(values[1], abs=0.0101)
    assert {reading.queries for reading in runs[0]} == {128}


def test_a_platform_without_the_step_has_none() -> None:
    assert measure_deployments(MZIDigits(0), DATA, []) == ([], [])
