"""Options of Lightning's Trainer: each works, or is refused in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.dat import DAT
from pnnbench.methods.nat import NATInSitu
from pnnbench.methods.sat import SAT
from pnnbench.running.training import quiet
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

DIGITS = load("digits")


class Notes(pl.Callback):
    """Notes the first image of each batch and the learning rates of each step."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, index: int) -> None:
        self.images.append(batch[0][0])

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


def run(
    workload: Workload,
    method: TrainingMethod,
    callbacks: Sequence[pl.Callback] = (),
    **flags: Any,
) -> tuple[pl.Trainer, Notes]:
    # 5 batches, and 5 for validation
    data = DataModule(DIGITS, batch_size=16, limit_train=80, holdout=40, eval_batch_size=8)
    notes = Notes()
    with quiet():
        trainer = pl.Trainer(
            callbacks=[method, notes, *callbacks],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **flags,
        )
        trainer.fit(workload, datamodule=data)
    return trainer, notes


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({"max_epochs": 2, "max_steps": 7}, 7),
        ({"max_epochs": -1, "max_steps": 7}, 7),
        ({"max_epochs": 2, "max_time": {"hours": 1}}, 10),
        ({"max_epochs": 2, "limit_train_batches": 0.4}, 4),
        ({"max_epochs": 2, "limit_train_batches": 3}, 6),
        ({"max_epochs": 2, "accumulate_grad_batches": 3}, 4),
        ({"max_epochs": 4, "callbacks": [GradientAccumulationScheduler({0: 5})]}, 4),
        ({"max_epochs": 2, "overfit_batches": 2}, 4),
        ({"max_epochs": 2, "overfit_batches": 0.4}, 4),
        ({"max_epochs": 2, "reload_dataloaders_every_n_epochs": 1}, 10),
        ({"max_epochs": 2, "val_check_interval": 0.5, "num_sanity_val_steps": 2}, 10),
        ({"max_epochs": 2, "val_check_interval": 2}, 10),
        ({"max_epochs": 2, "gradient_clip_val": 0.1}, 10),
        ({"max_epochs": 2, "gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}, 10),
        ({"fast_dev_run": 3}, 3),
        ({"max_epochs": 0}, 0),
        ({"max_steps": 0}, 0),
    ],
)
def test_the_schedule_ends_with_the_training(flags: dict[str, Any], steps: int) -> None:
    workload, method = MRRDigits(0), BP()
    before = [p.detach().clone() for p in workload.controls().values()]
    trainer, notes = run(workload, method, **flags)
    assert trainer.global_step == len(notes.rates) == steps
    if steps:
        assert notes.rates == sorted(notes.rates, reverse=True)
        assert notes.rates[0] == pytest.approx(method.amount("lr", workload))
        assert notes.rates[-1] < 0.26 * notes.rates[0]
        after = list(workload.controls().values())
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("cls", [MRRDigits, MZIDigits, FreeSpaceDigits, DiffractiveDigits])
@pytest.mark.parametrize("method", [BPWeights, SAT, NATInSitu])
@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_precisions(cls: type[Workload], method: type[TrainingMethod], precision: Any) -> None:
    workload = cls(0)
    run(workload, method(), max_epochs=1, precision=precision)
    dtype = torch.float64 if precision == "64-true" else torch.float32
    for p in workload.controls().values():
        assert p.dtype == dtype
        assert bool(p.isfinite().all())


def test_double_precision_reaches_the_networks_of_dual_adaptive_training() -> None:
    method = DAT(count=1, first_phase=0.5)
    run(MZIDigits(0), method, max_epochs=1, precision="64-true")
    assert {p.dtype for p in method.sepns.parameters()} == {torch.float64}


def test_overfitted_batches_are_the_same_in_every_epoch() -> None:
    _, notes = run(MRRDigits(0), BP(), max_epochs=3, overfit_batches=2)
    first = notes.images[:2]
    assert not torch.equal(*first)
    for i, image in enumerate(notes.images):
        assert torch.equal(image, first[i % 2])


def test_a_loader_without_its_module_cannot_overfit() -> None:
    loader = DataModule(DIGITS, batch_size=16, limit_train=80).train_dataloader()
    trainer = pl.Trainer(
        callbacks=[BP()],
        max_epochs=1,
        overfit_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    with quiet(), pytest.raises(UserError, match="sampler of this training loader"):
        trainer.fit(MRRDigits(0), loader)


@pytest.mark.parametrize(
    ("method", "flags", "text"),
    [
        (BP(), {"max_epochs": -1, "max_time": {"seconds": 1}}, "max_epochs is -1, max_steps -1"),
        (BP(), {"max_time": {"seconds": 1}}, "schedule 'cosine' of the learning rate needs"),
        (DAT(), {"max_epochs": -1}, "first_phase, a share of the training, needs the number"),
        (BP(), {"max_epochs": 1, "limit_train_batches": 0}, "limit_train_batches 0"),
        (BP(), {"max_epochs": 1, "precision": "bf16-true"}, "precision is 'bf16-true'"),
        (BP(), {"max_epochs": 1, "precision": "16-true"}, "precision is '16-true'"),
        (
            BPWeights(),
            {"max_epochs": 1, "gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"},
            "gradients of complex weights cannot be clipped by value",
        ),
        (
            BP(),
            {
                "max_epochs": 3,
                "callbacks": [pl.callbacks.GradientAccumulationScheduler({0: 1, 2: 2})],
            },
            "accumulation of gradients changes",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    method: TrainingMethod, flags: dict[str, Any], text: str
) -> None:
    workload = MZIDigits(0)
    with pytest.raises(UserError, match=text):
        run(workload, method, **flags)
    assert workload.method is None
    assert workload.gradient_evaluations == 0


def test_endless_training_works_with_a_constant_learning_rate() -> None:
    method = BP()
    method.schedule = "constant"
    workload = MRRDigits(0)

    class Stop(pl.Callback):
        """Ends the training from outside."""

        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trainer.should_stop = trainer.global_step >= 3

    trainer, _ = run(workload, method, [Stop()], max_epochs=-1)
    assert trainer.global_step == 3


@pytest.mark.parametrize(("accumulate", "limit"), [(1, None), (2, None), (3, None), (2, 3)])
def test_phases_of_dual_adaptive_training_are_shares_of_the_batches(
    accumulate: int, limit: int | None
) -> None:
    seen: list[bool] = []

    class Phases(DAT):
        """Notes the phase of each batch."""

        def loss(self, workload: Workload, batch: Batch) -> Tensor:
            seen.append(self.in_first_phase)
            return super().loss(workload, batch)

    flags = {} if limit is None else {"limit_train_batches": limit}
    run(
        MZIDigits(0),
        Phases(count=1, first_phase=0.5),
        max_epochs=4,
        accumulate_grad_batches=accumulate,
        **flags,
    )
    batches = 4 * (limit or 5)
    assert seen == [True] * (batches // 2) + [False] * (batches // 2)


def test_outside_of_a_trainer_there_is_no_schedule() -> None:
    workload, method = MRRDigits(0), BP()
    method.attach(workload)
    with pytest.raises(UserError, match="MRRDigits has no Trainer"):
        workload.configure_optimizers()
    method.schedule = "constant"
    assert workload.configure_optimizers()["optimizer"].param_groups[0]["lr"] > 0.0
