"""Dual adaptive training: phases, fused states, what the error-prediction networks learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.dat import DAT, DATInternal, fuse, power
from pnnbench.methods.pat import PAT
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.running.training import fit
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits, MZIWorkload
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.optical_networks import DigitsFront, OpticalNet

IMAGES, LABELS = DataModule(load("digits")).train_tensors()
BATCH = (IMAGES[:32], LABELS[:32])


class TwoMeshes(MZIWorkload):
    name = "two-meshes"
    data = "digits"
    tiers = MZIDigits.tiers

    def build_network(self) -> PhysicalNetwork:
        return OpticalNet(DigitsFront(16), [MZIMesh(16, detected=False), MZIMesh(16)])


def started(method: DAT, cls: type[Workload] = MZIDigits, calls: int = 1) -> Workload:
    workload = cls(0)
    method.attach(workload)
    method.calls = calls
    method._batches = 90
    method.hardware.start_step(calls)
    return workload.train()


def weights(method: DAT) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in method.sepns.state_dict().items()}


def changed(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    return [k for k in a if not torch.equal(a[k], b[k])]


def controls_gradient(workload: Workload, loss: Tensor) -> Tensor:
    found = torch.autograd.grad(loss, list(workload.controls().values()))
    return torch.cat([g.flatten() for g in found])


def test_fusion_has_the_measured_power_and_the_simulated_phase() -> None:
    field = torch.randn(4, 6, dtype=torch.complex64, requires_grad=True)
    measured = torch.rand(4, 6) - 0.1
    fused = fuse(field, measured)
    torch.testing.assert_close(power(fused), measured.clamp(min=0.0))
    lit = measured > 0
    torch.testing.assert_close(fused.angle()[lit], field.angle()[lit])
    upstream = torch.randn(4, 6)
    (g,) = torch.autograd.grad((power(fused) * upstream).sum(), field)
    torch.testing.assert_close(g, 2 * upstream * fused.detach())


def test_the_loss_is_that_of_the_hardware_in_both_phases() -> None:
    for calls in (1, 80):
        method = DAT()
        workload = started(method, calls=calls)
        loss = method.loss(workload, BATCH)
        method.hardware.start_step(calls)
        with torch.no_grad(), workload.extra_pass():
            outputs = method.hardware.measure(workload.prefix(BATCH[0])).outputs
        torch.testing.assert_close(
            loss.detach(), F.cross_entropy(outputs, BATCH[1]), rtol=1e-5, atol=1e-5
        )


def test_networks_learn_in_the_first_phase_only_unless_told_to_go_on() -> None:
    for keep, calls, learns in ((False, 1, True), (False, 80, False), (True, 80, True)):
        method = DAT(keep_learning=keep)
        workload = started(method, calls=calls)
        before = weights(method)
        method.loss(workload, BATCH)
        assert bool(changed(before, weights(method))) is learns
        assert all(p.requires_grad and p.grad is None for p in method.sepns.parameters())
        assert workload.hardware_queries == len(BATCH[0])


def test_the_task_pass_meets_the_networks_in_the_second_phase_only() -> None:
    found = {}
    for calls in (1, 80):
        for change in (0.0, 0.3):
            method = DAT(first_phase=0.5)
            workload = started(method, calls=calls)
            method.train_sepns = lambda *_: None  # type: ignore[method-assign]
            with torch.no_grad():
                for p in method.sepns.parameters():
                    p.add_(change)
            method.hardware.start_step(1)
            found[calls, change] = controls_gradient(workload, method.loss(workload, BATCH))
    assert torch.equal(found[1, 0.0], found[1, 0.3])
    assert not torch.allclose(found[80, 0.0], found[80, 0.3], rtol=1e-2)


def test_the_task_loss_trains_no_network() -> None:
    method = DAT(first_phase=0.0)
    workload = started(method, calls=80)
    loss = method.loss(workload, BATCH)
    found = torch.autograd.grad(loss, list(method.sepns.parameters()), allow_unused=True)
    assert all(g is None for g in found)


def test_the_surrogate_by_hand() -> None:
    """Gradient: CE at measured z, Jacobian of the norm at simulated and of |E|^2 at fused E."""
    method = DAT()
    workload = started(method)
    method.train_sepns = lambda *_: None  # type: ignore[method-assign]
    found = controls_gradient(workload, method.loss(workload, BATCH))
    other = MZIDigits(0).train()
    box = other.hardware(other.training_device(0))
    box.start_step(1)
    h = other.prefix(BATCH[0])
    measured = box.measure(h)
    mesh: Any = other.network.mesh
    field = F.normalize(h, dim=-1).to(torch.complex64) @ mesh.ideal_weight().mT
    z = measured.outputs.requires_grad_()
    (g_z,) = torch.autograd.grad(F.cross_entropy(z, BATCH[1]), z)
    simulated = power(field).detach().requires_grad_()
    (g_i,) = torch.autograd.grad((F.normalize(simulated, dim=-1)[:, :10] * g_z).sum(), simulated)
    amplitude = measured.read_outs["mesh"].clamp(min=0.0).sqrt()
    g_e = 2 * g_i * torch.polar(amplitude, field.detach().angle())
    expected = torch.autograd.grad(field, list(other.controls().values()), g_e)
    torch.testing.assert_close(
        torch.cat([g.flatten() for g in expected]), found, rtol=1e-3, atol=1e-6
    )


def test_without_error_prediction_and_fusion_it_has_the_values_of_physics_aware_training() -> None:
    method, pat = DAT(), PAT()
    workload, other = started(method), MZIDigits(0).train()
    pat.attach(other)
    pat.hardware.start_step(1)
    torch.testing.assert_close(method.loss(workload, BATCH), pat.loss(other, BATCH))


def test_networks_learn_the_systematic_error_of_the_device() -> None:
    method = DAT(lr_sepn=3e-3, keep_learning=True)
    workload = started(method)
    h = workload.prefix(IMAGES[:64]).detach()
    losses = []
    for step in range(40):
        method.calls = 1
        method.hardware.start_step(step)
        measurement = method.hardware.measure(h)
        with workload.extra_pass():
            losses.append(float(next(iter(method.sepn_losses(workload, h, measurement)))))
        method.train_sepns(workload, h, measurement)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("states", "steps"), [("unitary", 1), ("separable", 2), ("both", 3)])
def test_internal_states(states: str, steps: int) -> None:
    method = DATInternal(states=states, count=2, batch_norm=False)
    workload = started(method, TwoMeshes)
    assert list(method.sepns) == ["mesh1", "mesh2"]
    h = workload.prefix(BATCH[0]).detach()
    measurement = method.hardware.measure(h)
    losses = list(method.sepn_losses(workload, h, measurement))
    assert len(losses) == steps
    # All meshes alone cost what a pass through the network does.
    assert workload.gradient_evaluations == (2 if states == "both" else 1)
    assert all(torch.isfinite(loss) for loss in losses)
    before = weights(method)
    task = method.loss(workload, BATCH)
    assert len(changed(before, weights(method))) == len(before)
    assert torch.isfinite(controls_gradient(workload, task)).all()
    for layer in workload.layers().values():
        assert layer.field_tap is None
        assert layer.weight_override is None


def test_separable_networks_are_trained_on_their_own_mesh_alone() -> None:
    method = DATInternal(states="separable", count=1, batch_norm=False)
    workload = started(method, TwoMeshes)
    h = workload.prefix(BATCH[0]).detach()
    measurement = method.hardware.measure(h)
    for name, loss in zip(
        ("mesh1", "mesh2"), method.sepn_losses(workload, h, measurement), strict=True
    ):
        for other, network in method.sepns.items():
            found = torch.autograd.grad(
                loss, list(network.parameters()), allow_unused=True, retain_graph=True
            )
            assert all((g is not None) is (other == name) for g in found)


def test_outputs_only_needs_no_internal_states() -> None:
    method = DAT(count=1, batch_norm=False)
    workload = started(method, TwoMeshes)
    method.loss(workload, BATCH)
    with pytest.raises(UserError, match="in_situ_internal"):
        _ = method.hardware.measure(workload.prefix(BATCH[0])).fields


def test_networks_are_saved_resumed_and_never_deployed(tmp_path: Path) -> None:
    def run(folder: Path | None, stop: int | None = None) -> tuple[Workload, DAT]:
        workload, method = MZIDigits(1), DAT(count=2)
        data = DataModule(load("digits"), batch_size=32, seed=1, limit_train=160)

        def report(done: int, total: int, loss: float) -> None:
            if done == stop:
                raise KeyboardInterrupt

        try:
            fit(workload, method, data, epochs=3, folder=folder, report=report)
        except KeyboardInterrupt:
            assert stop is not None
        return workload, method

    whole, method = run(None)
    run(tmp_path, stop=2)
    resumed, again = run(tmp_path)
    assert not changed(whole.network.state_dict(), resumed.network.state_dict())
    assert not changed(method.sepns.state_dict(), again.sepns.state_dict())
    assert not any("sepn" in name or "block" in name for name in whole.network.state_dict())
    fresh = MZIDigits(7)
    fresh.network.load_state_dict(whole.network.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh.eval()(IMAGES[:9]), whole.eval()(IMAGES[:9]))


def test_it_needs_complex_fields() -> None:
    with pytest.raises(UserError, match="DAT cannot train MRRDigits"):
        DAT().attach(MRRDigits(0))


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (DAT, {"size": "1k"}, "size is '1k'"),
        (DAT, {"first_phase": 1.5}, "first_phase"),
        (DAT, {"count": 0}, "count"),
        (DAT, {"count": 2.5}, r"count is 2\.5"),
        (DATInternal, {"count": True}, "count is True"),
        (DAT, {"lr_sepn": 0.0}, "lr_sepn"),
        (DATInternal, {"states": "all"}, "states is 'all'"),
    ],
)
def test_bad_settings_are_one_clear_error(make: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make(**options)
