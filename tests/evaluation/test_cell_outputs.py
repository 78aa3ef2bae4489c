"""Outputs of single cells are those of the harness, whatever is asked for, and change nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.cell_outputs import (
    calibration_inputs,
    cell_outputs,
    feature_network,
    originals,
    swept_cells,
)
from pnnbench.evaluation.gaps import LeftOutError
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.platforms.mrr import MRREnvironment
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.grid import (
    FIRST_TEST_DEVICE,
    FROZEN,
    OFFSET_CALIBRATED,
    Cell,
    environment_axis,
)
from pnnbench.workloads.handing import Handing
from pnnbench.workloads.mrr_images import MRRDigitsAutoencoder, MRRDigitsGAN, MRRDigitsResNet
from pnnbench.workloads.mzi import MZIDigits

from .unchanged import same, state

WARM = Cell(
    "temperature_fine", 0.25, "degC", 0.5, FIRST_TEST_DEVICE, MRREnvironment(temperature_degc=22.25)
)


@pytest.fixture(scope="module")
def autoencoder():
    workload = MRRDigitsAutoencoder(3)
    data = DataModule(workload.data, limit_test=120, limit_train=300)
    return workload.eval(), data.train_tensors()[0], data.test_tensors()


@pytest.mark.parametrize("deployment", [FROZEN, OFFSET_CALIBRATED])
def test_their_metric_is_that_of_the_harness(autoencoder, deployment) -> None:
    workload, train, (images, targets) = autoencoder
    calibration = calibration_inputs(workload, train, deployment)
    assert (calibration is None) == (deployment == FROZEN)
    before = state(workload)
    outputs = cell_outputs(workload, images, WARM, calibration)
    same(before, state(workload))
    metric = Handing(workload.metric(), workload.metric_name)
    metric.update(outputs, targets, images)
    (value,) = evaluate_grid(workload, images, targets, [WARM], calibration=calibration)
    assert metric.compute() == pytest.approx(value, rel=1e-5)
    other = OFFSET_CALIBRATED if deployment == FROZEN else FROZEN
    changed = cell_outputs(workload, images, WARM, calibration_inputs(workload, train, other))
    assert not torch.allclose(outputs, changed)


def test_the_first_inputs_give_the_first_outputs(autoencoder) -> None:
    workload, train, (images, _) = autoencoder
    calibration = calibration_inputs(workload, train, OFFSET_CALIBRATED)
    whole = cell_outputs(workload, images, WARM, calibration)
    few = cell_outputs(workload, images[:7], WARM, calibration)
    torch.testing.assert_close(few, whole[:7], rtol=1e-4, atol=1e-5)


def test_devices_and_temperatures_give_other_images(autoencoder) -> None:
    workload, _, (images, _) = autoencoder
    one = cell_outputs(workload, images[:5], WARM)
    for change in (
        {"device_seed": FIRST_TEST_DEVICE + 1},
        {"environment": MRREnvironment()},
        {"severity": 1.0},
    ):
        other = cell_outputs(workload, images[:5], dataclasses.replace(WARM, **change))
        assert float((one - other).abs().max()) > 1e-3, change


def test_a_sweep_has_both_ends_that_count_and_the_middle() -> None:
    cells = swept_cells(MRRDigitsAutoencoder().perturbation_grid("quick"), OFFSET_CALIBRATED)
    assert [cell.level for cell in cells] == [-0.25, 0.0, 0.25]
    assert {(c.axis, c.severity, c.device_seed) for c in cells} == {
        ("temperature_fine", 0.5, FIRST_TEST_DEVICE)
    }
    assert [c.environment.temperature_degc for c in cells] == [21.75, 22.0, 22.25]


def test_ends_that_do_not_count_are_not_shown() -> None:
    points = [(x, MRREnvironment(temperature_degc=22.0 + x)) for x in (-0.5, -0.25, 0.25, 0.5)]
    grid = environment_axis("warm", "degC", points, 0.5, [1, 2])
    narrow = [dataclasses.replace(c, counts=abs(c.level) < 0.3) for c in grid]
    assert [c.level for c in swept_cells(narrow, FROZEN)] == [-0.25, 0.0, 0.25]
    one_sided = [c for c in grid if c.level > 0]
    assert [c.level for c in swept_cells(one_sided, FROZEN)] == [0.0, 0.5]
    silent = [dataclasses.replace(c, counts=False) for c in grid]
    assert [c.level for c in swept_cells(silent, FROZEN)] == [-0.5, 0.0, 0.5]
    with pytest.raises(UserError, match="empty"):
        swept_cells([], FROZEN)


def test_without_an_environment_the_worst_device_that_counts_is_shown() -> None:
    grid = MZIDigits().perturbation_grid("smoke")
    (cell,) = swept_cells(grid, FROZEN)
    first = [c for c in grid if c.counts and c.device_seed == cell.device_seed]
    assert cell.severity == max(c.severity for c in first)


def test_originals_are_what_the_metric_takes() -> None:
    for cls, place in ((MRRDigitsAutoencoder, 0), (MRRDigitsGAN, 1)):
        workload = cls()
        test = DataModule(workload.data_set, limit_test=20).test_tensors()
        held = originals(workload, *test)
        assert held is test[place]
        assert held.shape == (20, 1, 8, 8)
    for cls in (MRRDigitsResNet, FreeSpaceDigits):
        workload = cls()
        images, labels = DataModule(workload.data_set, limit_test=20).test_tensors()
        with pytest.raises(LeftOutError, match="no images like those"):
            originals(workload, images, labels)


def test_features_are_those_of_the_metric() -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    workload = MRRDigitsGAN()
    found = feature_network(workload)(images)
    assert found.shape == (4, 32)
    assert torch.equal(found, workload.metric().extractor.features(images))
    with pytest.raises(LeftOutError, match="takes no features"):
        feature_network(MRRDigitsAutoencoder())
