"""CIFAR-10 on microrings: the networks, their sizes and their grid."""

from __future__ import annotations

import pytest
import torch

from pnnbench.methods.sat import SAT
from pnnbench.platforms.mrr import MRRWeightBank
from pnnbench.registry import registered, workload_class
from pnnbench.workloads.grid import FROZEN, OFFSET_CALIBRATED
from pnnbench.workloads.mrr_cifar10 import (
    MRRCIFAR10,
    MRRCIFAR10GAN,
    MRRCIFAR10Autoencoder,
    MRRCIFAR10GANNarrow,
    MRRCIFAR10Narrow,
)
from pnnbench.workloads.mrr_images import STEPS_DEGC, MRRDigitsResNet

ALL = (MRRCIFAR10Narrow, MRRCIFAR10Autoencoder, MRRCIFAR10GANNarrow)


@pytest.mark.parametrize("cls", [MRRCIFAR10, MRRCIFAR10GAN, *ALL])
def test_registered_under_their_names(cls):
    assert cls.name in registered("workloads")
    assert workload_class(cls.name) is cls


def test_full_width_is_resnet_18():
    workload = MRRCIFAR10()
    assert workload.n_controls == 11_159_232 + 5_120  # convolutions, last layer
    assert len(workload.layers()) == 21
    assert all(isinstance(layer, MRRWeightBank) for layer in workload.layers().values())


def test_a_quarter_of_the_width_has_a_sixteenth_of_the_rings():
    narrow, full = MRRCIFAR10Narrow(), MRRCIFAR10()
    assert narrow.n_controls == pytest.approx(full.n_controls / 16, rel=0.01)
    assert narrow.layers().keys() == full.layers().keys()


@pytest.mark.parametrize("cls", ALL)
def test_shapes(cls):
    workload = cls().eval()
    inputs = torch.rand(2, *workload.data_set.input_shape)
    outputs = workload(inputs)
    assert outputs.shape == (2, 10) if cls is MRRCIFAR10Narrow else (2, 3, 32, 32)


def test_the_code_is_24_times_smaller():
    network = MRRCIFAR10Autoencoder().eval().network
    code = network.encode(torch.rand(2, 3, 32, 32))
    assert 24 * code[0].numel() == 3 * 32 * 32


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("tier", ["smoke", "search", "standard", "paper"])
def test_published_temperatures_are_measured_and_levels_that_tell_rows_apart_count(cls, tier):
    workload = cls()
    cells = workload.cells(tier)
    warm = {c.level for c in cells if c.axis == "temperature_fine"}
    assert warm > set(STEPS_DEGC)
    assert all(c.device_seed is None for c in cells if c.axis == "temperature_fine")
    for deployment in (FROZEN, OFFSET_CALIBRATED):
        counted = {(c.axis, c.level) for c in cells if c.counts_when(deployment)}
        assert {axis for axis, _ in counted} == {"device", "temperature_fine"}
        assert ("temperature_fine", 0.0) not in counted


def test_radii_are_stated_in_the_norm_of_the_weights_as_drawn():
    workload = MRRCIFAR10Narrow(3)
    drawn = sum(
        float(layer.ideal_weight().detach().square().sum()) for layer in workload.layers().values()
    )
    as_current = workload.control_scale.value / workload.weight_scale.value
    assert workload.ball_scale.value == pytest.approx(drawn**0.5 * as_current, rel=0.02)
    assert workload.ball_scale.unit == "mA"
    assert SAT(rho=0.5).amount("rho", workload) == pytest.approx(0.5 * workload.ball_scale.value)


def test_only_a_scale_of_its_own_is_described():
    assert "ball" in MRRCIFAR10Narrow().describe("smoke")["scales"]
    assert "ball" not in MRRDigitsResNet().describe("smoke")["scales"]
