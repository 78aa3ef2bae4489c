from __future__ import annotations

import json
from collections import Counter

import pytest
import torch

from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION, MRREnvironment
from pnnbench.workloads.grid import test_devices as seeds_of_test_devices
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits, MRRWorkload, mrr_layers
from pnnbench.workloads.networks import DigitsNet

TIERS = [(MRRDigits, t) for t in MRRDigits.tiers] + [(MRRMNIST, t) for t in MRRMNIST.tiers]

FROZEN_COUNTS = {
    *(("device", level) for level in (0.75, 1.0, 1.5)),
    *(("temperature_fine", level) for level in (-0.25, -0.1, 0.1, 0.25)),
    *(("crosstalk", level) for level in (0.02, 0.04, 0.08)),
}
CALIBRATED_COUNTS = {
    *(("device", level) for level in (1.5, 2.0, 3.0)),
    *(("temperature_fine", level) for level in (-0.5, 0.5)),
    *(("crosstalk", level) for level in (0.08, 0.16)),
}


@pytest.mark.parametrize(("cls", "tier"), TIERS)
def test_the_grid_varies_devices_and_temperature(cls: type[MRRWorkload], tier: str) -> None:
    n = cls.tier(tier).n_devices
    cells = cls(0).perturbation_grid(tier)
    levels = Counter((c.axis, c.level) for c in cells)
    assert levels == {
        **{("device", s): n for s in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.19)},
        **{("temperature_fine", d): n for d in (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5)},
        **{("temperature_wide", d): n for d in (-2.0, 1.0)},
        **{("crosstalk", k): n for k in (0.02, 0.04, 0.08, 0.16)},
    }
    assert len({(c.axis, c.level, c.device_seed) for c in cells}) == len(cells)
    assert {c.device_seed for c in cells} == set(seeds_of_test_devices(n))
    for cell in cells:
        assert isinstance(cell.environment, MRREnvironment)
        offset = cell.environment.temperature_degc - 22.0
        assert cell.counts == ((cell.axis, cell.level) in FROZEN_COUNTS)
        assert cell.counts_when("frozen") == cell.counts
        assert cell.counts_when("offset-calibrated") == (
            (cell.axis, cell.level) in CALIBRATED_COUNTS
        )
        if cell.axis == "device":
            assert (cell.severity, offset) == (cell.level, 0.0)
        elif cell.axis == "crosstalk":
            assert (cell.severity, offset) == (0.5, 0.0)
            assert cell.environment.crosstalk == cell.level
        else:
            assert (cell.severity, cell.unit) == (0.5, "degC")
            assert offset == pytest.approx(cell.level)


@pytest.mark.parametrize(
    ("cls", "tier", "n"),
    [(MRRDigits, "quick", 20), (MRRMNIST, "standard", 20), (MRRMNIST, "paper", 100)],
)
def test_ranked_tiers_have_enough_devices(cls: type[MRRWorkload], tier: str, n: int) -> None:
    assert cls.tier(tier).n_devices == n
    assert cls.tier(tier).train_images is None
    assert cls.tier(tier).test_images is None


def test_temperature_goes_both_ways_from_20_to_23() -> None:
    cells = [c for c in MRRDigits(0).perturbation_grid("quick") if c.axis != "device"]
    temperatures = [c.environment.as_dict()["temperature_degc"] for c in cells]
    assert (min(temperatures), max(temperatures)) == (20.0, 23.0)


@pytest.mark.parametrize(("cls", "tier"), TIERS)
def test_the_description_is_plain_and_complete(cls: type[MRRWorkload], tier: str) -> None:
    workload = cls(0)
    text = json.dumps(workload.describe(tier), allow_nan=False)
    found = json.loads(text)
    assert found["n_controls"] == sum(p.numel() for p in workload.controls().values())
    assert found["n_digital"] == sum(p.numel() for p in workload.digital_parameters().values())
    assert list(found["layers"]) == list(workload.layers())
    assert found["layers"]["conv1"]["calibration"]["drift_nm_per_degc"] == 0.06
    assert len(found["grid"]) == 19
    assert len(found["test_devices"]) == cls.tier(tier).n_devices
    assert (found["offset_calibration_images"], found["headline"]) == (256, "offset-calibrated")
    assert found["tier"]["epochs"] == cls.tier(tier).epochs
    assert json.dumps(cls(1).describe(tier), allow_nan=False) == text  # not of the parameters


def test_layers_can_have_another_calibration() -> None:
    torch.manual_seed(0)
    net = DigitsNet(*mrr_layers(PUBLISHED_CALIBRATION))
    assert net.conv1.calibration is PUBLISHED_CALIBRATION
    assert net.fc2.describe()["calibration"]["max_current"] == "inf"


def test_what_is_measured_is_accuracy() -> None:
    workload = MRRDigits(0)
    metric = workload.metric()
    logits = torch.eye(10)[[1, 2, 3, 4]]
    metric.update(logits[:3], torch.tensor([1, 2, 0]))
    metric.update(logits[3:], torch.tensor([4]))
    assert float(metric.compute()) == 0.75
    assert (workload.metric_name, workload.higher_is_better, workload.chance) == (
        "accuracy",
        True,
        0.1,
    )
    assert workload.metric() is not metric


def test_the_loss_is_the_mean_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    logits = torch.cat([logits, torch.full((2, 8), -1e4)], dim=1)  # eight classes that are out
    expected = (torch.log(torch.tensor(2.0)) + torch.log(1.0 + torch.exp(torch.tensor(2.0)))) / 2
    found = MRRDigits(0).loss(logits, (logits, torch.tensor([0, 1])))
    torch.testing.assert_close(found, expected)


def test_an_untrained_network_computes_with_the_weights_it_was_given() -> None:
    for layer in MRRDigits(0).layers().values():
        bound = layer.ideal_weight()[0].numel() ** -0.5
        largest = layer.ideal_weight().abs().max().item()
        assert 0.8 * bound < largest <= bound * 1.0001
