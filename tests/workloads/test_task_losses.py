from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.workloads.convert import physical
from pnnbench.workloads.task_losses import (
    check_training_step,
    has_training_step,
    step_loss,
    usual_loss,
)

from .networks_of_users import Classifier, Residual, images


def test_the_usual_losses() -> None:
    outputs, classes = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    assert torch.equal(usual_loss(outputs, classes), F.cross_entropy(outputs, classes))
    real = torch.randn(4, 3)
    assert torch.equal(usual_loss(outputs, real), F.mse_loss(outputs, real))
    # Nothing is spread: one output for each target, as the metric has it.
    assert torch.equal(
        usual_loss(outputs[:, :1], real[:, 0]), F.mse_loss(outputs[:, 0], real[:, 0])
    )
    with pytest.raises(UserError, match="one output for each target"):
        usual_loss(outputs, real[:, 0])


def test_a_training_step_gives_its_loss_of_given_outputs() -> None:
    model, (x, y) = Classifier(), images(8)
    outputs = torch.randn(8, 10, requires_grad=True)
    loss = step_loss(model, outputs, (x, y))
    assert torch.equal(loss, F.cross_entropy(outputs, y, label_smoothing=0.2))
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert gradient.any()
    # The model is as it was.
    assert {"forward", "log", "log_dict", "print"}.isdisjoint(vars(model))
    assert torch.equal(model(x), model.body(x))
    assert has_training_step(model)
    assert not has_training_step(Residual())


class Around(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.body(batch[0]), batch[1])


class Twice(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.mse_loss(self(batch[0]), self(batch[0]))


class Nothing(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:  # type: ignore[override]
        self(batch[0])


class Mapped(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:  # type: ignore[override]
        return {"loss": self(batch[0]).square().mean()}


class Failing(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        raise KeyError("mine")


class Starred(Classifier):
    def training_step(self, *args: Any) -> Tensor:
        batch, number = args
        return self(batch[0].flatten(1)).square().mean() + number


class Attached(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self(batch[0]).mean() * self.trainer.current_epoch


class Augmenting(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self(batch[0] + 0.5).mean()


class Guided(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self(*batch).mean()


class Annealed(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self(batch[0]).mean() * min(1.0, self.current_epoch / 5)


class Warming(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self(batch[0]).mean() * min(1.0, self.global_step / 100)


class Normalising(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        x.sub_(0.5).mul_(2.0)
        y.zero_()
        return F.cross_entropy(self(x), y)


class Tempered(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.scale * self(batch[0]), batch[1])


class Decayed(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        decay = sum(p.square().sum() for p in self.parameters())
        return F.cross_entropy(self(batch[0]), batch[1]) + 0.1 * decay


class Looking(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1]) + self.body[1].weight.norm()


def test_a_step_may_give_a_mapping_and_take_no_number() -> None:
    outputs = torch.ones(8, 10)
    assert float(step_loss(Mapped(), outputs, images(8))) == 1.0
    assert float(step_loss(Starred(), outputs, images(8))) == 1.0


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Around, "0 times"),
        (Twice, "2 times"),
        (Nothing, "NoneType, no loss"),
        (Attached, "asks for its Trainer"),
        (Augmenting, "other inputs than those of the batch"),
        (Guided, "other inputs than those of the batch"),
        (Annealed, "of Annealed asks for current_epoch"),
        (Warming, "of Warming asks for global_step"),
        (Normalising, "other inputs than those of the batch"),
    ],
)
def test_a_step_whose_loss_cannot_be_had_asks_for_one(cls: type[nn.Module], words: str) -> None:
    model, batch = cls(), images(8)
    with pytest.raises(UserError, match=words) as caught:
        step_loss(model, torch.ones(8, 10), batch)
    assert "loss=" in caught.value.next_step
    assert type(model) is cls
    assert all(map(torch.equal, batch, images(8)))  # also where the step changes its own in place


def test_hooks_of_a_module_are_not_met_twice() -> None:
    model, (x, y) = Classifier(), images(8)
    model.register_forward_hook(lambda module, inputs, outputs: 3.0 * outputs)
    model.register_full_backward_hook(lambda module, given, gave: (None,))
    outputs = model(x)
    assert torch.equal(outputs, 3.0 * model.body(x))
    loss = step_loss(model, outputs, (x, y))
    assert torch.equal(loss, F.cross_entropy(outputs, y, label_smoothing=0.2))
    assert len(model._forward_hooks) == len(model._backward_hooks) == 1


def test_a_loss_may_have_digital_parameters_and_no_controls() -> None:
    x, y = images(8)
    for training in (False, True):
        workload = physical(Tempered(), "mrr").train(training)
        outputs = workload(x)
        loss = workload.loss(outputs, (x, y))
        assert torch.equal(loss, F.cross_entropy(2.0 * outputs, y))
        (gradient,) = torch.autograd.grad(loss, workload.network.model.scale)
        assert gradient
    for cls, words in ((Decayed, "controls and no weights"), (Looking, "looks into a layer")):
        workload = physical(cls(), "mrr")
        with pytest.raises(UserError, match=words):
            workload.loss(workload(x), (x, y))


def test_a_step_that_fails_leaves_the_model_as_it_was() -> None:
    model = Failing()
    with pytest.raises(KeyError, match="mine"):
        step_loss(model, torch.ones(8, 10), images(8))
    assert "forward" not in vars(model)


class Manual(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class Without(pl.LightningModule):
    pass


@pytest.mark.parametrize(("cls", "words"), [(Manual, "optimises by itself"), (Without, "no train")])
def test_modules_without_such_a_step_are_refused_at_once(cls: type[Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_training_step(cls())
    check_training_step(Classifier())


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (nn.CrossEntropyLoss(reduction="none"), r"loss= gives a tensor \(8,\)"),
        (lambda outputs, targets: 1.5, "loss= gives float"),
    ],
)
def test_a_loss_that_is_no_mean_is_refused(loss: Any, words: str) -> None:
    workload = physical(Residual(), "mrr", loss=loss)
    x, y = images(8)
    with pytest.raises(UserError, match=words):
        workload.loss(workload(x), (x, y))


class Two(nn.Module):
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.fc(x.flatten(1) + other)


def test_a_network_of_two_inputs_is_refused() -> None:
    with pytest.raises(UserError, match="takes more than one input"):
        physical(Two(), "mrr")(images(8)[0])
