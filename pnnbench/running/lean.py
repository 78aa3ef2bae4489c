"""A step of Lightning's automatic optimisation without the hooks that nobody listens to.

On the way through one batch Lightning calls twenty hooks by name and makes three closures: some
0.1 ms. Where no callback and no workload has put anything there, the same calls to loss, optimiser
and counters are made in the same order, so that results, checkpoints and resumed runs have the same
bits. Anything else takes Lightning's own way. The loop that is replaced is no public interface of
Lightning: where it is not what it was in 2.5 and 2.6, nothing is replaced.
"""

from __future__ import annotations

from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor

from pnnbench.workloads.base import Workload

try:
    from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization
except ImportError:  # another version
    _AutomaticOptimization = None  # type: ignore[assignment,misc]

#: What callbacks and workloads may put into a step, between its loss and its end.
_CALLBACK = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
_WORKLOAD = (
    *_CALLBACK,
    "training_step",
    "backward",
    "optimizer_step",
    "optimizer_zero_grad",
    "configure_gradient_clipping",
    "clip_gradients",
)


def usual(trainer: pl.Trainer, workload: pl.LightningModule) -> bool:
    """Whether a step is loss, gradient and optimiser and nothing else.

    Args:
        trainer: The Trainer, in training.
        workload: What it trains.

    Returns:
        False if somebody listens to a step's hooks, clips or scales gradients, or keeps the model
        in something else.
    """
    if not isinstance(workload, Workload):
        return False
    heard = any(
        getattr(type(callback), name) is not getattr(pl.Callback, name)
        for callback in cast(Any, trainer).callbacks
        for name in _CALLBACK
    )
    own = any(getattr(type(workload), name) is not getattr(Workload, name) for name in _WORKLOAD)
    plain = type(trainer.precision_plugin) is Precision and trainer.strategy.model is workload
    return plain and not (heard or own) and trainer.gradient_clip_val is None


def make_lean(trainer: pl.Trainer) -> bool:
    """Lets a Trainer take the short way where it can.

    Args:
        trainer: A fresh Trainer.

    Returns:
        Whether its loop is the one that this module knows.
    """
    loop = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    if _AutomaticOptimization is None:
        return False
    if type(getattr(loop, "automatic_optimization", None)) is not _AutomaticOptimization:
        return False
    loop.automatic_optimization = _lean(trainer)  # type: ignore[union-attr]
    return True


def _lean(trainer: pl.Trainer) -> Any:
    """The loop; its class is made here, since its base may not be there."""

    class Lean(_AutomaticOptimization):
        short: bool | None = None

        def run(self, optimizer: Any, batch_idx: int, kwargs: Any) -> dict[str, Any]:
            workload = cast(Workload, self.trainer.lightning_module)
            if self.short is None:
                self.short = usual(self.trainer, workload)
            if not self.short or self.trainer.accumulate_grad_batches != 1:
                return super().run(optimizer, batch_idx, kwargs)
            counts = self.optim_progress.optimizer
            loss: Tensor

            def closure() -> Tensor:
                nonlocal loss
                workload._current_fx_name = "training_step"
                found = workload.training_step(*kwargs.values())
                workload._current_fx_name = None
                counts.zero_grad.increment_ready()
                counts.zero_grad.increment_started()
                optimizer.zero_grad()
                counts.zero_grad.increment_completed()
                found.backward()
                loss = found.detach().clone()
                return loss

            counts.step.increment_ready()
            optimizer.step(closure)
            workload.after_step()
            counts.step.increment_completed()
            return {"loss": loss}

    return Lean(trainer)
