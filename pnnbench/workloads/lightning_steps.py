"""What a workload is to Lightning's Trainer: its steps, and what they log."""

from __future__ import annotations

from inspect import signature
from typing import Any, ClassVar, Literal, Protocol, cast

import lightning.pytorch as pl
import torchmetrics
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pnnbench.errors import UserError
from pnnbench.workloads.classification import Batch
from pnnbench.workloads.handing import Handing
from pnnbench.workloads.networks import PhysicalNetwork, modes_kept

#: What a method may touch: the digital model only, hardware outputs, or intermediate fields too.
Access = Literal["in_silico", "in_situ", "in_situ_internal"]


class AttachedMethod(Protocol):
    """What a workload needs of the training method attached to it.

    A method that has ``step(workload, batch)`` sets the parameters itself; the others give a loss.
    """

    access: ClassVar[Access]

    def loss(self, workload: Any, batch: Batch) -> Tensor:
        """Returns the loss to back-propagate."""
        ...

    def configure_optimizers(self, workload: Any) -> Any:
        """Returns what Lightning's hook of this name returns."""
        ...

    def deploy(self, workload: Any) -> None:
        """Puts what has been trained so far into the controls."""
        ...

    def after_step(self, workload: Any) -> None:
        """Runs after each optimiser step."""
        ...


class LightningSteps(pl.LightningModule):
    """Training, validation, test and prediction steps around the attached training method.

    Training is Lightning's automatic optimisation of the loss that the method gives. While a method
    with ``step`` is attached it is what Lightning calls manual: the method sets the parameters and
    each batch is one step of the Trainer, whatever the method does in it.

    ``train_loss`` is logged where somebody asks: a logger, a progress bar, or a callback that
    monitors. Validation and test are of the ideal device in its nominal environment, in evaluation
    mode; they log ``validation_loss`` and ``validation_<metric>``, ``test_loss`` and
    ``test_<metric>``. ``predict_step`` gives the outputs.

    Attributes:
        method: The attached training method, or None.
        network: The network.
    """

    metric_name: ClassVar[str]
    network: PhysicalNetwork

    def __init__(self) -> None:
        super().__init__()
        self.method: AttachedMethod | None = None
        self._last_inputs: Tensor | None = None
        self._measured: tuple[Handing, ...] = ()  # a tuple, since a metric is a module

    @property  # type: ignore[misc]  # nobody sets it
    def automatic_optimization(self) -> bool:
        """Whether the Trainer takes the steps: not while a method with ``step`` is attached."""
        return not callable(getattr(type(self.method), "step", None))

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Task loss (a scalar mean over the batch) of the network's outputs."""
        raise NotImplementedError

    def metric(self) -> torchmetrics.Metric:
        """Makes a fresh metric."""
        raise NotImplementedError

    def calibrate(self, images: Tensor) -> None:
        """Gathers batch-norm statistics and read-out full scales."""
        raise NotImplementedError

    def prepared(self, batch: Batch) -> Batch:
        """What the method is given of a batch, before each of its steps; here the batch itself.

        A task with a network of its own beside the one that is trained, or with inputs that are
        drawn anew, does that here.
        """
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Asks the training method for the loss to back-propagate, or to take its step."""
        method = self._attached()
        batch = self.prepared(batch)
        self.__dict__["_last_inputs"] = batch[0]  # past torch's look at modules and parameters
        if self.automatic_optimization:
            loss = method.loss(self, batch)
        else:
            loss = self._own_step(method, batch)
        if self._asked():
            self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def _own_step(self, method: AttachedMethod, batch: Batch) -> Tensor:
        """Lets a method set the parameters: one step of the Trainer and of the schedules."""
        found = cast(Any, method).step(self, batch)
        if isinstance(found, bool) or not isinstance(found, (Tensor, float, int)):
            raise UserError(
                f"{type(method).__name__}.step returned {found!r:.100}",
                allowed="the loss of the batch: a number, or a tensor of one",
            )
        like = next(self.network.parameters())
        loss = found.detach() if isinstance(found, Tensor) else like.new_tensor(float(found))
        if loss.numel() != 1:
            raise UserError(
                f"{type(method).__name__}.step returned {loss.numel()} numbers",
                allowed="the loss of the batch: a number, or a tensor of one",
            )
        trainer = self.trainer
        # The Trainer counts in one place while the method is attached and in the other afterwards.
        loop = trainer.fit_loop.epoch_loop
        for steps in (
            loop.manual_optimization.optim_step_progress,
            loop.automatic_optimization.optim_progress.optimizer.step,
        ):
            steps.increment_ready()
            steps.increment_completed()
        for config in trainer.lr_scheduler_configs:
            _step_schedule(config, trainer)
        self.after_step()
        return loss.reshape(())

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimisers, as Lightning gives them; a step of those of ``step`` is not counted."""
        return super().optimizers(use_pl_optimizer and self.automatic_optimization)

    def configure_optimizers(self) -> Any:
        """Asks the training method for its optimiser."""
        return self._attached().configure_optimizers(self)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps, then lets the method put parameters back into their range."""
        super().optimizer_step(*args, **kwargs)
        self.after_step()

    def after_step(self) -> None:
        """Lets the method do what it does after each optimiser step."""
        self._attached().after_step(self)

    def on_train_end(self) -> None:
        """Gathers the batch-norm statistics that no training pass has gathered."""
        self._gather()
        self._last_inputs = None

    def _gather(self) -> None:
        """Gathers statistics of the last batch where the method has made no digital pass at all."""
        norms = [m for m in self.network.modules() if isinstance(m, _BatchNorm)]
        counts = [m.num_batches_tracked for m in norms if m.num_batches_tracked is not None]
        enough = self._last_inputs is not None and len(self._last_inputs) > 1
        if enough and counts and not any(bool(count) for count in counts):
            with modes_kept(self.network):
                self.calibrate(cast(Tensor, self._last_inputs))
            for count in counts:
                count.zero_()  # so that they are gathered anew when the parameters have moved on

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts what has been trained so far into the controls, which the checkpoint holds."""
        if self.method is not None:
            self.method.deploy(self)

    def on_validation_epoch_start(self) -> None:
        """Puts what has been trained so far into the controls, and starts an empty metric."""
        if self.method is not None:
            self.method.deploy(self)
            self._gather()
        self._measured = (Handing(self.metric().to(self.device), self.metric_name),)

    def on_test_epoch_start(self) -> None:
        """Starts an empty metric."""
        self._measured = (Handing(self.metric().to(self.device), self.metric_name),)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of the ideal device on held-out images."""
        return self._measure("validation", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of the ideal device on test images."""
        return self._measure("test", batch)

    def _measure(self, stage: str, batch: Batch) -> Tensor:
        outputs = self(batch[0])
        loss = self.loss(outputs, batch)
        self._measured[0].update(outputs, batch[1], batch[0])
        size = len(batch[0])
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, batch_size=size)
        return loss

    def on_validation_epoch_end(self) -> None:
        """Logs the metric of all held-out images."""
        self._log_metric("validation")

    def on_test_epoch_end(self) -> None:
        """Logs the metric of all test images."""
        self._log_metric("test")

    def _log_metric(self, stage: str) -> None:
        (measured,), self._measured = self._measured, ()
        self.log(f"{stage}_{self.metric_name}", measured.compute(), prog_bar=stage == "validation")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Outputs (B, ...) of the ideal device for a batch, or for inputs alone (B, ...)."""
        return cast(Tensor, self(batch if isinstance(batch, Tensor) else batch[0]))

    def _asked(self) -> bool:
        """Whether somebody listens to what a training step logs."""
        trainer: Any = self._trainer
        return trainer is not None and (
            bool(trainer.loggers)
            or trainer.progress_bar_callback is not None
            or any(getattr(c, "monitor", None) is not None for c in trainer.callbacks)
        )

    def _attached(self) -> AttachedMethod:
        if self.method is None:
            raise UserError(
                "this workload has no training method",
                next_step="give the Trainer one: Trainer(callbacks=[BP()])",
            )
        return self.method


def _step_schedule(config: Any, trainer: pl.Trainer) -> None:
    """Steps a schedule after a step of the method, as often as Lightning would.

    Raises:
        UserError: If it follows a metric.
    """
    if isinstance(config.scheduler, ReduceLROnPlateau):
        raise UserError(
            f"{type(config.scheduler).__name__} follows a metric, and the method takes its steps "
            "itself",
            allowed="a schedule over steps or epochs",
        )
    if config.interval == "step":
        count = trainer.fit_loop.epoch_loop.batch_idx + 1
    elif trainer.is_last_batch:
        count = trainer.current_epoch + 1
    else:
        return
    if count % config.frequency == 0:
        config.scheduler.step()


# Lightning asks for it at each step; here it is written down.
for _step in (LightningSteps.training_step, LightningSteps.validation_step):
    setattr(_step, "__signature__", signature(_step))  # noqa: B010
