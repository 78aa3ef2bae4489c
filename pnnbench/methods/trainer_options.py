"""Options of Lightning's Trainer that cannot work with a training method, refused at the start."""

from __future__ import annotations

import math
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch import callbacks as known
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
)

from pnnbench.errors import UserError

#: Precisions of the Trainer in which parameters are kept in 32 or 64 bits.
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
#: Callbacks that average weights; not every version of Lightning has all of them.
AVERAGING = tuple(
    getattr(known, name)
    for name in ("StochasticWeightAveraging", "WeightAveraging", "EMAWeightAveraging")
    if hasattr(known, name)
)


def check_options(trainer: pl.Trainer, method: str, *, takes_steps: bool) -> None:
    """Checks that a Trainer asks for nothing that a method cannot give.

    Args:
        trainer: The Trainer, before training.
        method: Name of the method's class, for the message.
        takes_steps: Whether the method sets the parameters itself.

    Raises:
        UserError: If parameters are to be kept in half precision, or training is to be shared out
            over several devices; if a callback searches learning rate or batch size, averages or
            prunes weights; if gradients are to be clipped at a value below 0; and for a method that
            takes its own steps, if gradients are to be clipped, accumulated or scaled.
    """
    if trainer.world_size > 1:
        raise UserError(
            f"the Trainer has {trainer.world_size} devices: one training runs on one, whose draws "
            "and data order are those of every machine",
            next_step="Trainer(devices=1); independent trainings may run side by side",
        )
    if trainer.gradient_clip_val is not None and trainer.gradient_clip_val < 0:
        raise UserError(
            f"gradient_clip_val is {trainer.gradient_clip_val}", allowed="a number of at least 0"
        )
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"precision is {trainer.precision!r}: controls are not kept in half precision, "
            "which is coarser than a training step",
            allowed=", ".join(PRECISIONS),
        )
    callbacks = cast(Any, trainer).callbacks
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, LearningRateFinder):
            raise UserError(
                f"{name} sweeps one rate for controls and digital parameters alike, which have "
                "units of their own",
                next_step="pnnbench tune, or give the method its lr",
            )
        if isinstance(callback, BatchSizeFinder):
            raise UserError(
                f"{name} changes the batches while a method trains, whose schedule and data order "
                "depend on them",
                next_step="give the data module its batch_size",
            )
        if isinstance(callback, ModelPruning):
            raise UserError(
                f"{name} replaces parameters by masked copies, which are no controls",
                next_step="the method 'pruning', or freeze what is to stay: requires_grad_(False)",
            )
        if isinstance(callback, AVERAGING):
            raise UserError(
                f"{name} copies the module with its method and averages what the method may not "
                "train",
                next_step="average in the method's after_step, with torch.optim.swa_utils",
            )
    if takes_steps:
        _check_own_steps(trainer, method, callbacks)


def _check_own_steps(trainer: pl.Trainer, method: str, callbacks: list[pl.Callback]) -> None:
    own = f"{method} takes its steps itself"
    if trainer.gradient_clip_val:
        raise UserError(
            f"{own}, so that the Trainer has no gradient to clip",
            next_step=f"leave out gradient_clip_val={trainer.gradient_clip_val}",
        )
    if trainer.accumulate_grad_batches != 1 or any(
        isinstance(c, GradientAccumulationScheduler) and set(c.scheduling.values()) != {1}
        for c in callbacks
    ):
        raise UserError(
            f"{own}, so that the Trainer has no gradients to accumulate",
            next_step="give the data module a larger batch_size",
        )
    if trainer.precision == "16-mixed":
        raise UserError(
            f"{own}, so that the Trainer has no loss to scale, which float16 needs",
            allowed="32-true, 64-true, bf16-mixed",
        )


def accumulated_batches(trainer: pl.Trainer) -> int:
    """Batches of which an optimiser step has the gradients.

    Args:
        trainer: Asks for one number of them; a callback that does sets it when an epoch starts.
    """
    schedulers = (
        c for c in cast(Any, trainer).callbacks if isinstance(c, GradientAccumulationScheduler)
    )
    return next((c.scheduling[0] for c in schedulers), int(trainer.accumulate_grad_batches))


def total_steps(workload: pl.LightningModule, why: str) -> int:
    """Number of optimiser steps of the whole training, at least 1.

    Args:
        workload: The workload, in a Trainer.
        why: What needs the number, for the message.

    Raises:
        UserError: If there is no Trainer, or it has no end that can be counted in steps.
    """
    trainer = getattr(workload, "_trainer", None)
    if trainer is None:
        raise UserError(
            f"{type(workload).__name__} has no Trainer, so that the number of steps is unknown",
            next_step="train it with pnnbench.running.training.fit, or Trainer.fit",
        )
    schedulers = [c for c in trainer.callbacks if isinstance(c, GradientAccumulationScheduler)]
    if any(len(set(c.scheduling.values())) > 1 for c in schedulers):
        raise UserError(
            f"{why} needs the number of training steps, which Lightning does not count where "
            "the accumulation of gradients changes between epochs",
            next_step="Trainer(accumulate_grad_batches=...) without the callback",
        )
    present = trainer.accumulate_grad_batches
    try:
        trainer.accumulate_grad_batches = accumulated_batches(trainer)
        steps = float(trainer.estimated_stepping_batches)
    finally:
        trainer.accumulate_grad_batches = present
    if not math.isfinite(steps) or steps < 0:
        raise UserError(
            f"{why} needs the number of training steps: max_epochs is {trainer.max_epochs}, "
            f"max_steps {trainer.max_steps}, limit_train_batches {trainer.limit_train_batches}",
            next_step="give the Trainer max_epochs or max_steps; max_time may stop it earlier",
        )
    return max(1, int(steps))
