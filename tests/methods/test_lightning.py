"""Lightning's manners: steps, logs, callbacks and Trainer options, on a loss and on own steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torchmetrics
from lightning.pytorch.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner import Tuner
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.checkpoints import KEY
from pnnbench.methods.dat import DAT
from pnnbench.methods.evolution import Evolution
from pnnbench.methods.lbfgs import LBFGS
from pnnbench.methods.pat import PAT
from pnnbench.methods.sat import SAT
from pnnbench.methods.spsa import SPSA
from pnnbench.methods.trainer_options import AVERAGING
from pnnbench.running.training import quiet
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

DIGITS = load("digits")
WORKLOADS: list[type[Workload]] = [MRRDigits, MZIDigits]


def small() -> Evolution:
    return Evolution(population=2, parents=1)


METHODS: dict[str, Callable[[], TrainingMethod]] = {"loss": BP, "step": small}


def data() -> DataModule:
    """5 batches for training, 3 for validation, 4 for tests."""
    return DataModule(
        DIGITS, batch_size=16, limit_train=80, holdout=24, limit_test=32, eval_batch_size=8
    )


def trainer_of(*callbacks: pl.Callback, **flags: Any) -> pl.Trainer:
    return pl.Trainer(
        **{
            "callbacks": list(callbacks),
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "max_epochs": 2,
            **flags,
        }
    )


@pytest.fixture(autouse=True)
def _silent() -> Any:
    with quiet():
        yield


@pytest.mark.parametrize("cls", WORKLOADS)
@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ({}, 10),
        ({"max_steps": 7}, 7),
        ({"max_epochs": -1, "max_steps": 3}, 3),
        ({"max_time": {"hours": 1}}, 10),
        ({"overfit_batches": 2}, 4),
        ({"limit_train_batches": 3}, 6),
        ({"limit_val_batches": 1, "val_check_interval": 2}, 10),
        ({"num_sanity_val_steps": 2}, 10),
        ({"check_val_every_n_epoch": 2, "log_every_n_steps": 1}, 10),
        ({"precision": "32-true"}, 10),
        ({"precision": "64-true"}, 10),
        ({"precision": "bf16-mixed"}, 10),
        ({"precision": "16-mixed"}, 10),  # on a CPU Lightning takes bf16-mixed, and says so
        ({"detect_anomaly": True}, 10),
        ({"deterministic": True, "devices": 1}, 10),
        ({"fast_dev_run": 2}, 2),
    ],
    ids=str,
)
def test_an_option_works(cls: type[Workload], kind: str, flags: dict[str, Any], steps: int) -> None:
    workload, method = cls(0), METHODS[kind]()
    before = [p.detach().clone() for p in workload.controls().values()]
    trainer = trainer_of(method, **flags)
    trainer.fit(workload, datamodule=data())
    assert trainer.global_step == method.calls == steps
    assert workload.method is None
    for old, new in zip(before, workload.controls().values(), strict=True):
        assert not torch.equal(old.to(new), new)
        assert bool(new.isfinite().all())


CLIP, ADD = {"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 2}


@pytest.mark.parametrize("make", [BP, lambda: SPSA(directions=1)], ids=["BP", "SPSA"])
@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (CLIP, 10),
        ({**CLIP, "gradient_clip_algorithm": "value"}, 10),
        (ADD, 6),
        ({"callbacks": [GradientAccumulationScheduler({0: 5})]}, 2),
    ],
    ids=["clip", "clip values", "accumulate", "accumulate by a schedule"],
)
def test_gradients_are_clipped_and_accumulated_where_there_are_any(
    make: Callable[[], TrainingMethod], flags: dict[str, Any], steps: int
) -> None:
    method = make()
    callbacks = [method, *flags.get("callbacks", [])]
    trainer = trainer_of(**{**flags, "callbacks": callbacks})
    trainer.fit(MRRDigits(0), datamodule=data())
    assert (trainer.global_step, method.calls) == (steps, 10)


@pytest.mark.parametrize("cls", WORKLOADS)
@pytest.mark.parametrize(
    ("make", "flags", "callbacks", "text"),
    [
        (small, CLIP, [], "Evolution takes its steps itself, so that .* no gradient to clip"),
        (LBFGS, ADD, [], "LBFGS takes its steps itself, so that .* no gradients to accumulate"),
        (small, {}, [GradientAccumulationScheduler({1: 2})], "no gradients to accumulate"),
        (BP, {}, [GradientAccumulationScheduler({1: 2})], "accumulation of gradients changes"),
        (BP, {"precision": "bf16-true"}, [], "precision is 'bf16-true'"),
        (BP, {}, [StochasticWeightAveraging(0.1)], "StochasticWeightAveraging copies the module"),
        (BP, {}, [ModelPruning("l1_unstructured")], "ModelPruning replaces parameters"),
        *([(BP, {}, [AVERAGING[-1]()], "copies the module")] if len(AVERAGING) > 1 else []),
        (BP, {"gradient_clip_val": -1.0}, [], "gradient_clip_val is -1"),
        (BP, {"max_epochs": -1}, [], "cosine.* needs the number of training steps"),
        (BP, {"limit_train_batches": 0}, [], "limit_train_batches 0"),
    ],
)
def test_an_option_is_refused_in_one_sentence(
    cls: type[Workload],
    make: Callable[[], TrainingMethod],
    flags: dict[str, Any],
    callbacks: list[pl.Callback],
    text: str,
) -> None:
    workload = cls(0)
    with pytest.raises(UserError, match=text):
        trainer_of(make(), *callbacks, **flags).fit(workload, datamodule=data())
    assert workload.method is None
    assert workload.gradient_evaluations == workload.hardware_queries == 0


def test_float16_is_refused_where_nothing_can_be_scaled() -> None:
    trainer = trainer_of()
    trainer._accelerator_connector._precision_flag = "16-mixed"
    trainer.strategy.precision_plugin.precision = "16-mixed"
    with pytest.raises(UserError, match="no loss to scale"):
        small().setup(trainer, MRRDigits(0), "fit")


def test_tuners_are_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="LearningRateFinder sweeps one rate"):
        Tuner(trainer_of(BP())).lr_find(MRRDigits(0), datamodule=data())
    with pytest.raises(UserError, match="BatchSizeFinder changes the batches"):
        Tuner(trainer_of(BP())).scale_batch_size(MRRDigits(0), datamodule=data())


@pytest.mark.parametrize("cls", WORKLOADS)
def test_validate_test_and_predict_need_no_method(cls: type[Workload]) -> None:
    workload, module = cls(0), data()
    x, y = module.test_tensors()
    trainer = trainer_of()
    (tested,) = trainer.test(workload, datamodule=module, verbose=False)
    (validated,) = trainer.validate(workload, datamodule=module, verbose=False)
    predicted = torch.cat(trainer.predict(workload, datamodule=module))
    workload.eval()
    with torch.no_grad():
        outputs = workload(x)
    torch.testing.assert_close(predicted, outputs)
    assert tested["test_accuracy"] == pytest.approx((outputs.argmax(1) == y).float().mean().item())
    assert tested["test_loss"] == pytest.approx(workload.loss(outputs, (x, y)).item(), rel=1e-5)
    assert set(validated) == {"validation_loss", "validation_accuracy"}
    (alone,) = trainer.predict(workload, DataLoader(x, batch_size=32))
    torch.testing.assert_close(alone, outputs)


@pytest.mark.parametrize("kind", METHODS)
def test_early_stopping_and_checkpoints_follow_what_is_monitored(kind: str, tmp_path: Path) -> None:
    stop = EarlyStopping("validation_loss", patience=0, min_delta=math.inf)
    kept = ModelCheckpoint(tmp_path, monitor="validation_accuracy", mode="max")
    trainer = trainer_of(
        METHODS[kind](), stop, kept, max_epochs=5, enable_checkpointing=True, logger=False
    )
    trainer.fit(MRRDigits(0), datamodule=data())
    assert trainer.current_epoch == 1
    assert kept.best_model_score is not None
    assert Path(kept.best_model_path).exists()
    assert {"train_loss", "validation_loss", "validation_accuracy"} <= set(trainer.callback_metrics)


@pytest.mark.parametrize("kind", METHODS)
def test_loggers_get_losses_metric_and_rates(kind: str, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    trainer = trainer_of(
        METHODS[kind](), LearningRateMonitor("step"), logger=logger, log_every_n_steps=1
    )
    workload = MRRDigits(0)
    trainer.fit(workload, datamodule=data())
    logger.finalize("success")
    columns = Path(logger.log_dir, "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train_loss", "validation_loss", "validation_accuracy"} <= set(columns)
    rates = [name for name in columns if name.startswith("lr-")]
    assert len(rates) == 2
    assert 0.0 < trainer.callback_metrics["train_loss"].item() < 100.0


def test_nobody_is_told_who_does_not_ask() -> None:
    trainer = trainer_of(BP())
    trainer.fit(MRRDigits(0), datamodule=data())
    assert "train_loss" not in trainer.callback_metrics
    assert "validation_loss" in trainer.callback_metrics


@pytest.mark.parametrize("kind", METHODS)
def test_a_run_goes_on_from_the_middle_of_an_epoch_to_the_same_bits(
    kind: str, tmp_path: Path
) -> None:
    whole = MRRDigits(0)
    kept = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1)
    trainer_of(METHODS[kind](), kept, enable_checkpointing=True).fit(whole, datamodule=data())
    for path in sorted(tmp_path.glob("*step=3*")) + sorted(tmp_path.glob("*step=6*")):
        again, method = MRRDigits(7), METHODS[kind]()
        trainer = trainer_of(method)
        trainer.fit(again, datamodule=data(), ckpt_path=str(path), weights_only=True)
        assert trainer.global_step == method.calls == 10
        for a, b in zip(whole.parameters(), again.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_checkpoint_within_an_epoch_holds_what_is_trained(
    weights_only: bool, tmp_path: Path
) -> None:
    """Weights that are trained in the place of the controls are programmed first."""
    kept = ModelCheckpoint(
        tmp_path, every_n_train_steps=3, save_top_k=-1, save_weights_only=weights_only
    )
    trained: list[dict[str, Tensor]] = []

    class Notes(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            trained.append({name: w.detach().clone() for name, w in method.weights.items()})

    method, workload = BPWeights(), MRRDigits(0)
    trainer_of(method, Notes(), kept, enable_checkpointing=True).fit(workload, datamodule=data())
    for step in (3, 6, 9):
        (path,) = tmp_path.glob(f"*step={step}.ckpt")
        read = MRRDigits(7)
        read.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
        for name, layer in read.layers().items():
            torch.testing.assert_close(
                layer.ideal_weight(), trained[step - 1][name], atol=1e-4, rtol=0
            )


def test_what_stops_a_training_leaves_what_was_trained() -> None:
    class Stops(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == 3:
                weights.update({name: w.detach().clone() for name, w in method.weights.items()})
                raise RuntimeError("stopped")

    weights: dict[str, Tensor] = {}
    method, workload = BPWeights(), MRRDigits(0)
    with pytest.raises(RuntimeError, match="stopped"):
        trainer_of(method, Stops()).fit(workload, datamodule=data())
    for name, layer in workload.layers().items():
        torch.testing.assert_close(layer.ideal_weight(), weights[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", [BPWeights, BP, small, PAT])
def test_a_checkpoint_is_tested_with_whatever_method_stands_there(
    method: Callable[[], TrainingMethod], tmp_path: Path
) -> None:
    kept = ModelCheckpoint(tmp_path)
    workload = MRRDigits(0)
    trainer_of(BPWeights(), kept, enable_checkpointing=True).fit(workload, datamodule=data())
    trainer = trainer_of(method())
    options = {"datamodule": data(), "ckpt_path": kept.best_model_path, "weights_only": True}
    (found,) = trainer.test(MRRDigits(7), verbose=False, **options)
    (expected,) = trainer_of().test(workload, datamodule=data(), verbose=False)
    assert found == expected


def test_a_network_trains_on_after_a_method_without_a_digital_pass() -> None:
    workload = MRRDigits(0)
    trainer_of(small()).fit(workload, datamodule=data())
    modes = {module.training for module in workload.modules()}
    assert len(modes) == 1
    before = int(workload.network.norm1.num_batches_tracked)
    trainer_of(BP(), limit_val_batches=0).fit(workload, datamodule=data())
    assert int(workload.network.norm1.num_batches_tracked) == before + 10


@pytest.mark.parametrize("method", [BP, Evolution])
def test_schedules_are_stepped_as_often_as_they_ask(method: type[TrainingMethod]) -> None:
    class Scheduled(method):  # type: ignore[misc, valid-type]
        def configure_optimizers(self, workload: Workload) -> Any:
            optimizer = super().configure_optimizers(workload)["optimizer"]
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
            config = {"scheduler": schedule, "interval": "step", "frequency": 3}
            return {"optimizer": optimizer, "lr_scheduler": config}

    few = {"population": 2, "parents": 1} if method is Evolution else {}
    trainer = trainer_of(made := Scheduled(**few), max_epochs=2)
    workload = MRRDigits(0)
    trainer.fit(workload, datamodule=data())
    # Five batches an epoch: after the third of each.
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(made.amount("lr", workload) / 4)


def test_a_schedule_that_follows_a_metric_is_refused_for_own_steps() -> None:
    class Plateau(Evolution):
        def configure_optimizers(self, workload: Workload) -> Any:
            optimizer = super().configure_optimizers(workload)["optimizer"]
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "monitor": "validation_loss"},
            }

    with pytest.raises(UserError, match="ReduceLROnPlateau follows a metric"):
        trainer_of(Plateau(population=2, parents=1)).fit(MRRDigits(0), datamodule=data())


@pytest.mark.parametrize("method", [BP, lambda: DAT(count=1, size="4k"), BPWeights])
def test_a_run_in_double_precision_goes_on_to_the_same_bits(
    method: Callable[[], TrainingMethod], tmp_path: Path
) -> None:
    whole = MZIDigits(0)
    kept = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1)
    flags: dict[str, Any] = {"precision": "64-true", "enable_checkpointing": True}
    trainer_of(method(), kept, **flags).fit(whole, datamodule=data())
    (path,) = tmp_path.glob("*step=3.ckpt")
    again = MZIDigits(7)
    trainer = trainer_of(method(), precision="64-true")
    trainer.fit(again, datamodule=data(), ckpt_path=str(path), weights_only=True)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_rates_of_own_steps_follow_the_schedule() -> None:
    rates: list[float] = []

    class Notes(pl.Callback):
        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    workload, method = MRRDigits(0), small()
    trainer_of(method, Notes()).fit(workload, datamodule=data())
    peak = method.amount("lr", workload)
    assert rates == pytest.approx(
        [peak * 0.5 * (1.0 + math.cos(math.pi * i / 10)) for i in range(10)]
    )


def test_schedules_of_epochs_are_stepped_after_each_epoch() -> None:
    rates: list[float] = []

    class Halving(Evolution):
        def configure_optimizers(self, workload: Workload) -> Any:
            found = super().configure_optimizers(workload)
            schedule = torch.optim.lr_scheduler.StepLR(found["optimizer"], 1, 0.5)
            return {
                "optimizer": found["optimizer"],
                "lr_scheduler": {"scheduler": schedule, "interval": "epoch"},
            }

        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            super().on_train_batch_start(trainer, *args)
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer_of(Halving(population=2, parents=1)).fit(MRRDigits(0), datamodule=data())
    assert rates == [rates[0]] * 5 + [rates[0] / 2] * 5


def test_plain_loaders_do() -> None:
    x, y = data().train_tensors()
    loader = DataLoader(TensorDataset(x, y), batch_size=20)
    trainer = trainer_of(BP(), max_time={"minutes": 5})
    trainer.fit(MRRDigits(0), train_dataloaders=loader, val_dataloaders=loader)
    assert trainer.global_step == 8
    assert any(isinstance(c, Timer) for c in trainer.callbacks)


def test_validation_measures_what_would_be_deployed() -> None:
    losses: list[tuple[float, float]] = []

    class Compare(pl.Callback):
        def on_validation_end(self, trainer: Any, module: Any) -> None:
            x, y = trainer.datamodule.validation_tensors()
            with module.method.overriding(module), torch.no_grad():
                wanted = module.loss(module(x), (x, y)).item()
            losses.append((trainer.callback_metrics["validation_loss"].item(), wanted))

    trainer_of(BPWeights(), Compare(), num_sanity_val_steps=0).fit(MRRDigits(0), datamodule=data())
    assert len(losses) == 2
    for found, wanted in losses:
        assert found == pytest.approx(wanted, rel=1e-3)


def test_statistics_are_gathered_where_no_training_pass_does() -> None:
    workload = MRRDigits(0)
    trainer_of(small()).fit(workload, datamodule=data())
    x, _ = data().train_tensors()
    workload.eval()
    with torch.no_grad():
        deployed = workload.network.norm1.running_mean.clone()
        workload.calibrate(x[-16:])
    assert bool(deployed.count_nonzero())
    assert not bool(workload.network.norm1.num_batches_tracked == 0)


class Shares(torchmetrics.MeanMetric):
    """Mean output over mean input, of everything at once."""

    needs = ("outputs", "inputs")
    whole = True

    def update(self, outputs: Tensor, inputs: Tensor) -> None:
        super().update(outputs.mean() / inputs.mean())


def test_a_metric_gets_what_it_declares() -> None:
    class Own(MRRDigits):
        metric_name = "share"

        def metric(self) -> torchmetrics.Metric:
            return Shares()

    workload, module = Own(0), data()
    (found,) = trainer_of().test(workload, datamodule=module, verbose=False)
    x, _ = module.test_tensors()
    with torch.no_grad():
        wanted = (workload.eval()(x).mean() / x.mean()).item()
    assert found["test_share"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: BP(lr=0.5), r"lr 0\.1, now 0\.5"),
        (SAT, r"class pnnbench\.methods\.bp\.BP, now pnnbench\.methods\.sat\.SAT"),
    ],
)
def test_a_checkpoint_of_another_method_is_refused(
    tmp_path: Path, other: Callable[[], TrainingMethod], text: str
) -> None:
    path = tmp_path / "first.ckpt"
    trainer = trainer_of(BP(lr=0.1), max_epochs=1)
    trainer.fit(MRRDigits(0), datamodule=data())
    trainer.save_checkpoint(path)
    with pytest.raises(UserError, match=text):
        trainer_of(other()).fit(
            MRRDigits(0), datamodule=data(), ckpt_path=str(path), weights_only=True
        )


def test_a_checkpoint_of_other_draws_another_device_or_schedule_is_refused(tmp_path: Path) -> None:
    def method(seed: int, device: int | None, schedule: str) -> PAT:
        found = PAT()
        found.seed, found.train_device, found.schedule = seed, device, schedule
        return found

    def resume(with_method: TrainingMethod, path: Path) -> None:
        trainer_of(with_method).fit(
            MRRDigits(0), datamodule=data(), ckpt_path=str(path), weights_only=True
        )

    path, older = tmp_path / "first.ckpt", tmp_path / "older.ckpt"
    trainer = trainer_of(method(1, 7, "constant"), max_epochs=1)
    trainer.fit(MRRDigits(0), datamodule=data())
    trainer.save_checkpoint(path)
    for other, text in (
        (method(0, 7, "constant"), "another method: seed 1, now 0$"),
        (method(1, None, "constant"), "another method: train_device 7, now None$"),
        (method(1, 7, "cosine"), "another method: schedule 'constant', now 'cosine'$"),
    ):
        with pytest.raises(UserError, match=f"(?m){text}"):
            resume(other, path)
    resume(method(1, 7, "constant"), path)

    checkpoint = torch.load(path, weights_only=True)
    for name in ("seed", "train_device", "schedule"):  # as checkpoints were before they told it
        del checkpoint[KEY][name]
    torch.save(checkpoint, older)
    resume(method(1, 7, "constant"), older)
