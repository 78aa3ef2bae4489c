"""Task losses of users' networks: the usual ones, their own, and that of a `training_step`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError

#: (outputs, targets) -> mean loss over the batch, a scalar.
LossFunction = Callable[[Tensor, Tensor], Tensor]


def usual_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits for class targets, mean squared error for real ones.

    Args:
        outputs: Outputs (B, ...).
        targets: Classes (B, ...), integers, or real values of the shape of the outputs.

    Raises:
        UserError: If real targets have another shape than the outputs.
    """
    if not targets.is_floating_point():
        return F.cross_entropy(outputs, targets)
    if outputs.shape != targets.shape:
        raise UserError(
            f"real targets of shape {tuple(targets.shape)} for outputs {tuple(outputs.shape)}",
            allowed="one shape for both",
            next_step="give loss=, a function of outputs and targets",
        )
    return F.mse_loss(outputs, targets)


def has_training_step(model: nn.Module) -> bool:
    """Whether a network is a LightningModule, of whichever of Lightning's two packages."""
    return callable(getattr(model, "training_step", None)) and hasattr(
        model, "configure_optimizers"
    )


def check_training_step(model: nn.Module) -> None:
    """Refuses a `training_step` whose loss cannot be asked for; raises UserError with the way."""
    name, step = type(model).__name__, getattr(type(model), "training_step", None)
    if not getattr(model, "automatic_optimization", True):
        raise _ask(f"{name} optimises by itself (automatic_optimization is False)")
    if step is None or step.__module__.startswith(("lightning.", "pytorch_lightning.")):
        raise _ask(f"{name} has no training_step of its own")


def step_loss(model: nn.Module, outputs: Tensor, batch: Any) -> Tensor:
    """The loss of a LightningModule's own `training_step` on given outputs.

    Its forward answers with the outputs, and what it logs is not kept.

    Args:
        model: The LightningModule.
        outputs: What its forward is to give for the batch.
        batch: Inputs and targets.

    Returns:
        The loss, a scalar, differentiable in the outputs.

    Raises:
        UserError: If the step does not call its forward once, or gives no loss.
    """
    step: Any = model.training_step
    arguments = [batch, 0][: len(inspect.signature(step).parameters)]
    with _answering(model, outputs) as calls:
        found = step(*arguments)
    name = type(model).__name__
    if len(calls) != 1:
        raise _ask(f"training_step of {name} calls self(inputs) {len(calls)} times, not once")
    loss = found.get("loss") if isinstance(found, dict) else found
    if not isinstance(loss, Tensor):
        raise _ask(f"training_step of {name} gives {type(found).__name__}, no loss")
    return loss


def _ask(what: str) -> UserError:
    return UserError(
        f"{what}: its loss cannot be taken on given outputs",
        next_step="give loss=, a function of outputs and targets, such as nn.CrossEntropyLoss()",
    )


@contextmanager
def _answering(model: nn.Module, outputs: Tensor) -> Iterator[list[None]]:
    """Context in which forward gives the outputs and logging does nothing; yields its calls."""
    calls: list[None] = []

    def answer(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(None)
        return outputs

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    # Attributes of the object hide those of its class until they are deleted.
    hiding = {"forward": answer, "log": nothing, "log_dict": nothing, "print": nothing}
    kept = {name: vars(model)[name] for name in hiding if name in vars(model)}
    vars(model).update(hiding)
    try:
        yield calls
    finally:
        for name in hiding:
            del vars(model)[name]
        vars(model).update(kept)
