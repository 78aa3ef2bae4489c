from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.platforms.base import Device
from pnnbench.running.training import TrainingData, quiet
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits

IMAGES, LABELS = DataModule(load("digits")).train_tensors()


def state(workload: Workload) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in workload.network.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


def fit(workload: Workload, *methods: TrainingMethod) -> None:
    with quiet():
        pl.Trainer(
            max_epochs=1,
            callbacks=list(methods),
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(workload, datamodule=TrainingData(DataModule(load("digits"), limit_train=64)))


@pytest.mark.parametrize("cls", [MRRDigits, MRRMNIST])
def test_the_initial_parameters_are_a_function_of_the_seed(cls: type[Workload]) -> None:
    torch.manual_seed(1)
    first = state(cls(5))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = state(cls(5))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(first, second)
    other = state(cls(6))
    assert not torch.equal(first["fc1.current"], other["fc1.current"])
    assert not torch.equal(first["fc1.bias"], other["fc1.bias"])


def test_controls_and_digital_parameters_are_all_there_is() -> None:
    workload = MRRDigits(0)
    controls, digital = workload.controls(), workload.digital_parameters()
    everything = dict(workload.named_parameters())
    assert list(controls) == [f"network.{n}.current" for n in ("conv1", "fc1", "fc2")]
    assert {**controls, **digital}.keys() == everything.keys()
    assert not controls.keys() & digital.keys()
    assert all({**controls, **digital}[n] is p for n, p in everything.items())


def test_projecting_puts_the_controls_back() -> None:
    workload = MRRDigits(0)
    with torch.no_grad():
        workload.network.fc1.current[0, :2] = torch.tensor([-1.0, 9.0])
    kept = workload.network.fc1.current[1:].detach().clone()
    workload.project_controls()
    assert workload.network.fc1.current[0, :2].tolist() == [0.0, 5.0]
    assert torch.equal(workload.network.fc1.current[1:], kept)


def test_only_passes_for_differentiation_are_counted() -> None:
    workload = MRRDigits(0)
    x = IMAGES[:4]
    workload(x)
    workload.outputs_at(x, {})
    with torch.no_grad():
        workload(x)
    workload.hardware(Device.ideal()).measure(x)
    assert workload.gradient_evaluations == 2


def test_calibration_does_not_depend_on_what_came_before() -> None:
    fresh, used = MRRDigits(0), MRRDigits(0)
    used.train()
    with torch.no_grad():
        for _ in range(3):
            used(50.0 * torch.rand(8, 1, 8, 8))
    used.network.fc1.full_scale.fill_(123.0)
    used.eval()
    for workload in (fresh, used):
        workload.calibrate(IMAGES[:200], batch_size=90)
    assert_same(state(fresh), state(used))
    assert not used.network.training
    assert used.network.norm1.momentum == 0.1
    assert int(used.network.norm1.num_batches_tracked) == 1
    used.train()  # and the running average works as before
    kept = used.network.norm2.running_mean.clone()
    used(IMAGES[:20])
    assert not torch.equal(used.network.norm2.running_mean, kept)


def test_calibration_leaves_parameters_gradients_and_rng_alone() -> None:
    workload = MRRDigits(0)
    before = {n: p.detach().clone() for n, p in workload.named_parameters()}
    rng = torch.get_rng_state()
    workload.calibrate(IMAGES[:100])
    assert all(torch.equal(p, before[n]) for n, p in workload.named_parameters())
    assert all(p.grad is None for p in workload.parameters())
    assert torch.equal(torch.get_rng_state(), rng)
    assert workload.gradient_evaluations == 0


@pytest.mark.parametrize("n", [0, 1])
def test_calibration_needs_two_images(n: int) -> None:
    with pytest.raises(UserError, match="calibration images"):
        MRRDigits(0).calibrate(IMAGES[:n])


def test_an_extra_pass_leaves_the_buffers() -> None:
    workload = MRRDigits(0).train()
    before, objects = state(workload), list(workload.network.buffers())
    with workload.extra_pass():
        inside = workload(IMAGES[:20])
        assert int(workload.network.norm1.num_batches_tracked) == 1
    assert_same(state(workload), before)
    assert all(a is b for a, b in zip(workload.network.buffers(), objects, strict=True))
    outside = workload(IMAGES[:20])
    assert torch.equal(inside, outside)
    assert int(workload.network.norm1.num_batches_tracked) == 1


def test_an_extra_pass_that_fails_leaves_the_buffers() -> None:
    workload = MRRDigits(0).train()
    before = state(workload)
    # The pass itself fails: 12 x 12 pixels do not fit fc1, after conv1 and its norm have run.
    with pytest.raises(RuntimeError, match="shape"), workload.extra_pass():
        workload(torch.rand(4, 1, 12, 12))
    assert_same(state(workload), before)


def test_outputs_elsewhere_equal_those_of_the_moved_parameters() -> None:
    workload, moved = MRRDigits(0).train(), MRRDigits(0).train()
    name = "network.fc1.current"
    step = torch.full_like(workload.controls()[name], 0.05).requires_grad_()
    found = workload.outputs_at(IMAGES[:20], {name: workload.controls()[name] + step})
    with torch.no_grad():
        moved.controls()[name].add_(0.05)
    expected = moved(IMAGES[:20])
    assert torch.equal(found, expected)
    assert not torch.equal(found, MRRDigits(0).train()(IMAGES[:20]))
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(step.grad, moved.controls()[name].grad)
    assert_same(
        {n: b for n, b in state(workload).items() if "running" in n or "batches" in n},
        {n: b for n, b in state(moved).items() if "running" in n or "batches" in n},
    )
    assert int(workload.network.norm2.num_batches_tracked) == 1


def test_operating_a_device_is_differentiable() -> None:
    workload = MRRDigits(0)
    with workload.operating(workload.draw_device(0.5, 3)):
        workload.loss(workload(IMAGES[:8]), (IMAGES[:8], LABELS[:8])).backward()
    assert all(p.grad is not None and p.grad.any() for p in workload.controls().values())


def test_every_workload_draws_the_same_device() -> None:
    a = MRRDigits(0).draw_device(1.0, 7).errors["fc1"]
    b = MRRDigits(9).draw_device(0.5, 7).errors["fc1"]
    torch.testing.assert_close(a["detuning"], 2.0 * b["detuning"])


def test_a_workload_without_method_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"no training method[\s\S]*callbacks=\[BP\(\)\]"):
        fit(MRRDigits(0))


def test_an_unknown_tier_reads() -> None:
    with pytest.raises(UserError, match=r"mrr-digits: unknown tier 'quik'; did you mean 'quick'"):
        MRRDigits.tier("quik")


def test_after_each_step_the_method_has_the_last_word() -> None:
    class Counts(BP):
        """Counts."""

        seen = 0

        def after_step(self, workload: Workload) -> None:
            Counts.seen += 1
            with torch.no_grad():
                workload.network.fc1.current.fill_(2.0)

    workload = MRRDigits(0)
    fit(workload, Counts())
    assert Counts.seen == 1
    assert (workload.network.fc1.current == 2.0).all()


def test_a_bare_workload_declares_nothing() -> None:
    class Bare(Workload):
        """Only a network."""

        def build_network(self) -> Any:
            return nn.Linear(2, 2)

    bare = Bare()
    for missing in (
        lambda: bare.perturbation_grid("quick"),
        lambda: bare.loss(torch.ones(1), (torch.ones(1), torch.ones(1))),
        bare.metric,
    ):
        with pytest.raises(NotImplementedError):
            missing()
