from __future__ import annotations

import math

import pytest
import torch

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.methods.pruning import OpticalPruning
from pnnbench.platforms.base import Device
from pnnbench.running.training import fit
from pnnbench.workloads.mrr import MRRDigits

DATA = DataModule(load("digits"), batch_size=20, limit_train=100)
X, Y = (t[:20] for t in DATA.train_tensors())


def slopes(workload: MRRDigits) -> list[torch.Tensor]:
    """dw/du of every ring, from the transfer on two devices with shifted resonances."""
    found: list[list[torch.Tensor]] = []
    for shift in (1e-4, -1e-4):
        # A device's offset is subtracted from u.
        errors = {
            n: {"detuning": torch.full_like(m.ideal_weight().detach(), -shift)}
            for n, m in workload.layers().items()
        }
        with workload.operating(Device(errors)), torch.no_grad():
            found.append([m.transfer() for m in workload.layers().values()])
    return [(a - b) / 2e-4 for a, b in zip(*found, strict=True)]


def test_the_penalty_is_the_norm_of_the_measured_slopes() -> None:
    workload = MRRDigits(0).double().train()
    batch = (X.double(), Y)
    plain = BP().loss(MRRDigits(0).double().train(), batch).item()
    expected = sum(math.sqrt(float(s.square().sum())) for s in slopes(workload))
    found = OpticalPruning(strength="0.3 HWHM").loss(workload, batch).item()
    assert found - plain == pytest.approx(0.3 * expected, rel=1e-6)
    assert expected > 1.0
    assert workload.gradient_evaluations == 1


def test_without_strength_it_is_back_propagation() -> None:
    found = OpticalPruning(strength=0.0).loss(MRRDigits(0).train(), (X, Y))
    assert torch.equal(found, BP().loss(MRRDigits(0).train(), (X, Y)))


def test_the_penalty_drives_rings_to_where_their_weight_is_flat() -> None:
    def steepness(strength: float) -> float:
        workload = MRRDigits(0)
        fit(workload, OpticalPruning(strength=f"{strength} HWHM", lr=0.05), DATA, epochs=4)
        return sum(float(s.norm()) for s in slopes(workload))

    assert steepness(1.0) < 0.8 * steepness(0.0)


def test_the_penalty_does_not_reach_digital_parameters() -> None:
    grads = []
    for strength in (0.0, 5.0):
        workload = MRRDigits(0).train()
        OpticalPruning(strength=f"{strength} HWHM").loss(workload, (X, Y)).backward()
        grads.append(workload)
    for a, b in zip(*(w.digital_parameters().values() for w in grads), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(*(w.controls().values() for w in grads), strict=True):
        assert not torch.allclose(a.grad, b.grad)


@pytest.mark.parametrize("strength", [-0.1, float("nan")])
def test_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(UserError, match="strength is"):
        OpticalPruning(strength=strength)
