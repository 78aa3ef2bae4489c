from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.nat import NAT
from pnnbench.methods.pat import PAT
from pnnbench.methods.sat import SAT
from pnnbench.running import lean, training
from pnnbench.running.lean import make_lean
from pnnbench.running.training import TrainingData, fit
from pnnbench.workloads.base import Workload
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits

DIGITS = load("digits")


def data() -> DataModule:
    return DataModule(DIGITS, batch_size=16, limit_train=100)


def trained(
    workload: Workload, method: TrainingMethod, folder: Path | None = None, **options: Any
) -> tuple[list[Tensor], dict[str, Any]]:
    kept: dict[str, Any] = {}

    class Keep(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            kept["step"] = trainer.global_step
            kept["loops"] = trainer.fit_loop.state_dict()
            kept["optimizer"] = trainer.optimizers[0].state_dict()

    fit(workload, method, data(), epochs=2, folder=folder, watching=[Keep()], **options)
    return [p.detach().clone() for p in workload.network.parameters()], kept


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each batch has taken."""
    ways: list[str] = []
    theirs = lean._AutomaticOptimization.run

    def run(self: Any, *args: Any) -> Any:
        ways.append("Lightning's")
        return theirs(self, *args)

    monkeypatch.setattr(lean._AutomaticOptimization, "run", run)
    return ways


@pytest.mark.parametrize("cls", [MRRDigits, FreeSpaceDigits])
@pytest.mark.parametrize("method", [BP, NAT, SAT, PAT])
def test_parameters_counters_and_optimiser_are_those_of_lightnings_own_way(
    cls: Callable[[int], Workload],
    method: type[TrainingMethod],
    monkeypatch: pytest.MonkeyPatch,
    counted: list[str],
) -> None:
    short = trained(cls(0), method())
    assert counted == []
    monkeypatch.setattr(training, "make_lean", lambda trainer: False)
    whole = trained(cls(0), method())
    assert len(counted) == 2 * 7
    assert short[1]["step"] == 14
    assert alike(short, whole)


class Listening(pl.Callback):
    def __init__(self) -> None:
        self.seen = 0

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen += 1


def test_who_listens_is_heard(counted: list[str]) -> None:
    listener = Listening()
    fit(MRRDigits(0), BP(), data(), epochs=1, watching=[listener])
    assert listener.seen == len(counted) == 7


def test_a_method_that_listens_is_heard(counted: list[str]) -> None:
    class Own(BP):
        seen = 0

        def on_before_optimizer_step(self, *args: Any) -> None:
            self.seen += 1

    method = Own()
    fit(MRRDigits(0), method, data(), epochs=1)
    assert method.seen == len(counted) == 7


def test_a_workload_with_a_backward_pass_of_its_own_has_it(counted: list[str]) -> None:
    class Own(MRRDigits):
        seen = 0

        def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
            self.seen += 1
            loss.backward()

    workload = Own(0)
    fit(workload, BP(), data(), epochs=1)
    assert workload.seen == len(counted) == 7


@pytest.mark.parametrize(
    "options",
    [{"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}],
)
def test_other_steps_take_lightnings_way(options: dict[str, Any], counted: list[str]) -> None:
    found = []
    for short in (True, False):
        trainer = pl.Trainer(
            max_epochs=1,
            callbacks=[BP()],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        assert not short or make_lean(trainer)
        workload = MRRDigits(0)
        trainer.fit(workload, datamodule=TrainingData(data()))
        found.append([p.detach() for p in workload.network.parameters()])
    assert alike(*found)
    assert len(counted) == 14


def test_where_the_loop_is_another_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trainer:
        fit_loop = None

    assert not make_lean(Trainer())  # type: ignore[arg-type]
    monkeypatch.setattr(lean, "_AutomaticOptimization", None)
    assert not make_lean(pl.Trainer(logger=False, accelerator="cpu"))


def test_a_loss_may_log(counted: list[str]) -> None:
    class Logging(BP):
        def loss(self, workload: Workload, batch: Any) -> Tensor:
            loss = super().loss(workload, batch)
            workload.log("told", loss)
            return loss

    fit(MRRDigits(0), Logging(), data(), epochs=1)
    assert counted == []
