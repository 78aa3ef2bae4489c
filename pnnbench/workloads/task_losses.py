"""Task losses of users' networks: the usual ones, their own, and that of a `training_step`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.layer import physical_layers
from pnnbench.workloads.regression import squared_error

#: Attributes of a module that hold its hooks.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
#: (outputs, targets) -> mean loss over the batch, a scalar.
LossFunction = Callable[[Tensor, Tensor], Tensor]


def usual_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits for class targets, mean squared error for real ones.

    Args:
        outputs: Outputs (B, ...).
        targets: Classes (B, ...), integers, or real values (B, ...), as many as there are outputs.

    Raises:
        UserError: If there are more or fewer real targets than outputs.
    """
    if not targets.is_floating_point():
        return F.cross_entropy(outputs, targets)
    return squared_error(outputs, targets)


def checked_loss(loss: Any) -> Tensor:
    """What somebody's ``loss=`` gives.

    Raises:
        UserError: If it is no tensor with one number.
    """
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss
    shown = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    raise UserError(
        f"loss= gives {shown}",
        allowed="the mean over the batch, a tensor with one number",
        next_step="leave reduction='none' away, or take the mean",
    )


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

    Its forward answers with the outputs, which hooks of its own have passed already, and what it
    logs is not kept. The outputs are those for the inputs as they are in the batch: what the step
    does to inputs before it calls its forward, such as augmentation, is not used, and a step whose
    forward gets other values than those of the batch is refused. The number of the batch is 0.

    Args:
        model: The LightningModule.
        outputs: What its forward is to give for the batch.
        batch: Inputs and targets.

    Returns:
        The loss, a scalar, differentiable in the outputs.

    Raises:
        UserError: If the step does not call its forward once, calls it with other inputs than the
            batch's, needs a Trainer, the epoch or the step, reads controls, or gives no loss.
    """
    step: Any = model.training_step
    name = type(model).__name__
    own = _copied(batch)  # which the step may change in place
    with _answering(model, outputs) as calls:
        try:
            found = step(*[own, 0][: _takes(step)])
        except RuntimeError as error:
            if "not attached to a" not in str(error):
                raise
            raise _ask(f"training_step of {name} asks for its Trainer, and has none") from None
    if len(calls) != 1:
        raise _ask(f"training_step of {name} calls self(inputs) {len(calls)} times, not once")
    if not _of_the_batch(calls[0], batch):
        raise _ask(
            f"training_step of {name} calls self(inputs) with other inputs than those of the batch"
        )
    loss = found.get("loss") if isinstance(found, dict) else found
    if not isinstance(loss, Tensor):
        raise _ask(f"training_step of {name} gives {type(found).__name__}, no loss")
    if _reads_controls(loss, outputs, model):
        raise _ask(
            f"training_step of {name} reads parameters of layers that are physical, which are "
            "controls and no weights"
        )
    return loss


def _copied(batch: Any) -> Any:
    """A batch of the same kind whose tensors are copies."""
    if isinstance(batch, Tensor):
        return batch.clone()
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(_copied, batch))
    return type(batch)(map(_copied, batch)) if isinstance(batch, (list, tuple)) else batch


def _reads_controls(loss: Tensor, outputs: Tensor, model: nn.Module) -> bool:
    """Whether a loss depends on controls of physical layers by another way than the outputs."""
    leaves, seen, behind = set[int](), {outputs.grad_fn}, [loss.grad_fn]
    while behind:
        node: Any = behind.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            leaves.add(id(leaf))
        behind += [following for following, _ in node.next_functions]
    if not leaves:
        return False
    layers = physical_layers(model).values()
    return any(
        id(getattr(layer, name)) in leaves for layer in layers for name in layer.control_names
    )


def _takes(step: Callable[..., Any]) -> int:
    """How many of batch and number a step takes in their order."""
    kinds = [parameter.kind for parameter in inspect.signature(step).parameters.values()]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 2
    return sum(kind in positional for kind in kinds)


def _of_the_batch(given: Sequence[Any], batch: Any) -> bool:
    """Whether tensors that a forward got are the inputs of a batch; their shape may be another."""
    inputs = batch[0] if isinstance(batch, (list, tuple)) else None
    if not isinstance(inputs, Tensor):
        return True
    tensors = [value for value in given if isinstance(value, Tensor)]
    if len(tensors) != 1:
        return False
    (one,) = tensors
    if one.numel() != inputs.numel() or not (one.dtype == inputs.dtype or one.is_floating_point()):
        return False
    return torch.equal(one.flatten(), inputs.to(one).flatten())


def _ask(what: str) -> UserError:
    return UserError(
        f"{what}: its loss cannot be taken on given outputs",
        next_step="give loss=, a function of outputs and targets, such as nn.CrossEntropyLoss()",
    )


@contextmanager
def _answering(model: nn.Module, outputs: Tensor) -> Iterator[list[list[Any]]]:
    """Context in which forward gives the outputs, without hooks, and logging does nothing.

    Yields:
        The arguments of each call of forward.
    """
    calls: list[list[Any]] = []

    def answer(*args: Any, **kwargs: Any) -> Tensor:
        calls.append([*args, *kwargs.values()])
        return outputs

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    # Attributes of the object hide those of its class until they are deleted.
    hiding: dict[str, Any] = {"forward": answer, "log": nothing, "log_dict": nothing}
    hiding |= {"print": nothing} | {name: type(vars(model)[name])() for name in _HOOKS}
    kept = {name: vars(model)[name] for name in hiding if name in vars(model)}
    vars(model).update(hiding)
    cls = type(model)
    object.__setattr__(model, "__class__", _timeless(cast(Any, cls)))
    try:
        yield calls
    finally:
        object.__setattr__(model, "__class__", cls)
        for name in hiding:
            del vars(model)[name]
        vars(model).update(kept)


@lru_cache(maxsize=64)
def _timeless(cls: type[nn.Module]) -> type[nn.Module]:
    """A class of modules that do not tell how far the training is: a loss is one function."""

    def refusing(name: str) -> property:
        def refuse(model: nn.Module) -> int:
            raise _ask(f"training_step of {cls.__name__} asks for {name}, with which it changes")

        return property(refuse)

    hidden = {name: refusing(name) for name in ("current_epoch", "global_step")}
    named: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), {**named, **hidden})
