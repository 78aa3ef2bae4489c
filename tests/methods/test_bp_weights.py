from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.running.training import fit
from pnnbench.workloads.convert import physical
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

DATA = DataModule(load("digits"), batch_size=32, limit_train=128)
X, Y = DATA.train_tensors()


def attached() -> tuple[MRRDigits, BPWeights]:
    workload, method = MRRDigits(0).train(), BPWeights()
    method.attach(workload)
    return workload, method


def test_it_starts_from_the_weights_of_the_initial_controls() -> None:
    workload, method = attached()
    assert list(method.weights) == ["conv1", "fc1", "fc2"]
    for name, layer in workload.layers().items():
        assert torch.equal(method.weights[name], layer.ideal_weight())


def test_the_loss_is_computed_with_the_weights_not_the_controls() -> None:
    workload, method = attached()
    with torch.no_grad():
        for weight in method.weights.values():
            weight.mul_(-0.5)
    loss = method.loss(workload, (X, Y))
    other = MRRDigits(0).train()
    for name, layer in other.layers().items():
        layer.override_weight(method.weights[name])
    assert torch.equal(loss, F.cross_entropy(other.network(X), Y))
    loss.backward()
    assert all(w.grad is not None and w.grad.any() for w in method.weights.values())
    assert all(c.grad is None for c in workload.controls().values())


def test_no_override_stays_even_when_the_pass_fails() -> None:
    workload, method = attached()
    method.loss(workload, (X, Y))
    assert all(m.weight_override is None for m in workload.layers().values())
    with pytest.raises(RuntimeError):
        method.loss(workload, (torch.rand(4, 1, 12, 12), Y[:4]))
    assert all(m.weight_override is None for m in workload.layers().values())


def test_weights_are_clamped_to_what_the_rings_can_reach() -> None:
    workload, method = attached()
    with torch.no_grad():
        method.weights["fc2"][0, :3] = torch.tensor([-7.0, 0.5, 7.0])
    method.after_step(workload)
    highest = 1.116 - 2.117 / (1.0 + (0.25 / 0.0636) ** 2)
    assert method.weights["fc2"][0, :3].tolist() == pytest.approx([1.116 - 2.117, 0.5, highest])
    method.deploy(workload)
    programmed = workload.layers()["fc2"].ideal_weight()
    torch.testing.assert_close(programmed, method.weights["fc2"].data, atol=1e-5, rtol=0.0)


def test_the_trained_network_is_programmed() -> None:
    workload, method = MRRDigits(0), BPWeights(lr="0.02 weight")
    fit(workload, method, DATA, epochs=3)
    for name, layer in workload.layers().items():
        moved = (layer.ideal_weight() - MRRDigits(0).layers()[name].ideal_weight()).abs().max()
        assert moved > 0.05
        torch.testing.assert_close(
            layer.ideal_weight().data, method.weights[name].data, atol=1e-5, rtol=0.0
        )
    workload.calibrate(X)
    with torch.no_grad():
        hardware = workload(X)
        with method.overriding(workload):
            digital = workload(X)
    torch.testing.assert_close(hardware, digital, atol=1e-3, rtol=1e-3)


def test_the_state_is_restored_in_place() -> None:
    workload, method = attached()
    with torch.no_grad():
        method.weights["fc1"].fill_(0.25)
    method.calls = 9
    saved = method.state_dict()
    with torch.no_grad():
        method.weights["fc1"].fill_(0.5)  # the saved state is a copy
    _, again = attached()
    objects = again.trained_parameters(workload)
    again.load_state_dict(saved)
    assert (again.weights["fc1"] == 0.25).all()
    assert again.calls == 9
    assert all(a is b for a, b in zip(again.trained_parameters(workload), objects, strict=True))


def test_what_programming_sets_cannot_be_frozen_alone() -> None:
    workload = physical(nn.Linear(64, 10), "mzi", data="digits")
    (layer,) = workload.layers().values()
    layer.gain.requires_grad_(False)
    with pytest.raises(UserError, match="cannot be programmed with gain frozen"):
        BPWeights().attach(workload)
    for name in layer.control_names:
        getattr(layer, name).requires_grad_(False)
    method = BPWeights()
    method.attach(workload)
    assert method.weights == {}


def test_gradients_of_complex_weights_are_not_scaled() -> None:
    """Which torch does for no complex tensor; on a CPU Lightning takes another precision."""
    workload, method = MZIDigits(0), BPWeights()
    method.attach(workload)
    trainer: Any = SimpleNamespace(
        precision="16-mixed", gradient_clip_algorithm=None, gradient_clip_val=None
    )
    workload._trainer = trainer
    with pytest.raises(UserError, match="complex weights cannot be scaled"):
        method.configure_optimizers(workload)
