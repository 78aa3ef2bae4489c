from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.sat import SAT
from pnnbench.running.training import DivergedError, RunState, TrainingData, fit, quiet
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.mrr import MRRDigits

DIGITS = load("digits")
EPOCHS, BATCHES = 3, 4


def data(seed: int = 0) -> DataModule:
    return DataModule(DIGITS, batch_size=16, seed=seed, limit_train=16 * BATCHES)


def train(
    method: TrainingMethod, folder: Path | None = None, epochs: int = EPOCHS
) -> tuple[MRRDigits, RunState]:
    workload = MRRDigits(0)
    return workload, fit(workload, method, data(), epochs=epochs, folder=folder)


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


class FailsOnce(SAT):
    """Fails in the middle of the second epoch."""

    fail = True

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        if self.fail and self.calls == BATCHES + 3:
            raise OSError("the lamp went out")
        return super().loss(workload, batch)


def test_resumes_to_the_same_bits_after_an_exception_in_mid_epoch(tmp_path: Path) -> None:
    quiet_run = FailsOnce()
    quiet_run.fail = False
    whole, expected = train(quiet_run, tmp_path / "whole")
    with pytest.raises(OSError, match="lamp"):
        train(FailsOnce(), tmp_path / "parts")
    again = FailsOnce()
    again.fail = False
    resumed, state = train(again, tmp_path / "parts")
    assert same_bits(whole.network.state_dict(), resumed.network.state_dict())
    assert state.losses == expected.losses
    assert state.epochs == expected.epochs == [0, 1, 2]
    assert state.gradient_evaluations == expected.gradient_evaluations == 2 * EPOCHS * BATCHES
    assert again.calls == EPOCHS * BATCHES
    first_part, _ = train(quiet_run.__class__(), None, epochs=1)
    assert not same_bits(first_part.network.state_dict(), whole.network.state_dict())


@pytest.mark.parametrize("cls", [BP, BPWeights])
def test_a_finished_run_called_again_trains_no_more(
    cls: type[TrainingMethod], tmp_path: Path
) -> None:
    done, first = train(cls(), tmp_path)
    written = (tmp_path / "last.ckpt").stat().st_mtime_ns
    again, second = train(cls(), tmp_path)
    assert same_bits(done.network.state_dict(), again.network.state_dict())
    assert second.losses == first.losses
    assert second.seconds == first.seconds
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == written
    assert second.gradient_evaluations == first.gradient_evaluations == EPOCHS * BATCHES


def test_the_checkpoint_is_whole_and_holds_plain_values(tmp_path: Path) -> None:
    train(BPWeights(), tmp_path, epochs=1)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert set(kept["callbacks"]) >= {"BPWeights", "RunState"}


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(BP(), epochs=1)
    assert list(tmp_path.iterdir()) == []


class Global(BP):
    """Scales its loss by numbers from the three global generators."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        scale = 3.0 + float(torch.rand(())) + random.random() + np.random.normal()  # noqa: S311, NPY002
        return super().loss(workload, batch) * scale


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


def test_global_generators_go_on_where_they_were(tmp_path: Path) -> None:
    seed_all(1)
    whole, expected = train(Global(), tmp_path / "whole")
    after = (torch.rand(2).tolist(), random.random(), np.random.normal())  # noqa: S311, NPY002

    def stop(done: int, total: int, loss: float) -> None:
        if done == 2:
            raise InterruptedError

    seed_all(1)
    with pytest.raises(InterruptedError):
        fit(MRRDigits(0), Global(), data(), epochs=EPOCHS, folder=tmp_path / "p", report=stop)
    seed_all(2)
    resumed, state = train(Global(), tmp_path / "p")
    assert state.losses == expected.losses
    assert same_bits(whole.network.state_dict(), resumed.network.state_dict())
    assert (torch.rand(2).tolist(), random.random(), np.random.normal()) == after  # noqa: S311, NPY002
    seed_all(2)
    assert train(Global())[1].losses != expected.losses


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    train(SAT(), epochs=1)
    assert torch.equal(torch.rand(3), expected)


class Diverges(BP):
    """Loses its number in the second epoch."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        loss = super().loss(workload, batch)
        return loss * float("nan") if self.calls > BATCHES else loss


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="epoch 1 is nan"):
        train(Diverges(), tmp_path)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["callbacks"]["RunState"]["epochs"] == [0]
    assert all(torch.isfinite(v).all() for v in kept["state_dict"].values())


def test_progress_is_reported_per_epoch() -> None:
    told: list[tuple[int, int, float]] = []
    state = fit(MRRDigits(0), BP(), data(), epochs=2, report=lambda *args: told.append(args))
    assert told == [(1, 2, state.losses[0]), (2, 2, state.losses[1])]
    assert state.losses[1] < state.losses[0]
    assert state.seconds > 0.0


def test_the_loss_curve_does_not_depend_on_accumulation() -> None:
    def curve(accumulate: int) -> list[float]:
        state = RunState()
        with quiet():
            trainer = pl.Trainer(
                max_epochs=1,
                callbacks=[BP(lr=1e-12, lr_digital=1e-12), state],
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                accumulate_grad_batches=accumulate,
            )
            trainer.fit(MRRDigits(0), datamodule=TrainingData(data()))
        return state.losses

    workload = MRRDigits(0).train()
    x, y = data().train_tensors()
    expected = [workload.loss(workload(x[b]), (x[b], y[b])).item() for b in data().train_batches(0)]
    assert curve(1) == pytest.approx([sum(expected) / len(expected)], rel=1e-5)
    assert curve(2) == pytest.approx(curve(1), rel=1e-5)


def test_scored_runs_see_training_images_only() -> None:
    seen = TrainingData(data())
    assert len(list(data().test_dataloader())) > 0  # there would be some
    assert type(seen).val_dataloader is pl.LightningDataModule.val_dataloader
    assert type(seen).test_dataloader is pl.LightningDataModule.test_dataloader


def test_lightning_is_quiet_and_talks_again_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    train(BP(), epochs=1)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert logger.level == before


PLUGIN = """
from lightning.pytorch.callbacks import Callback


class Intruder(Callback):
    hooks = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        Intruder.hooks += 1
        batch[0].zero_()


def factory():
    return Intruder()
"""


def test_callbacks_of_other_packages_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = train(BP(), epochs=1)
    (tmp_path / "pnnbench_test_intruder.py").write_text(PLUGIN)
    info = tmp_path / "pnnbench_test_intruder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pnnbench-test-intruder\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[lightning.pytorch.callbacks_factory]\nintruder = pnnbench_test_intruder:factory\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with quiet():
        loaded = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    names = [type(c).__name__ for c in loaded.callbacks]  # type: ignore[attr-defined]
    assert "Intruder" in names  # Lightning does find it
    workload, _ = train(BP(), epochs=1)
    intruder: Any = sys.modules["pnnbench_test_intruder"]
    assert intruder.Intruder.hooks == 0
    assert same_bits(workload.network.state_dict(), expected.network.state_dict())


SCRIPT = """
import json, random, sys, time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from pnnbench.data import DataModule
from pnnbench.methods.nat import NAT
from pnnbench.running.training import fit
from pnnbench.workloads.mrr import MRRDigits

folder, out, marker, seed = sys.argv[1:]


class Slow(NAT):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if marker and trainer.current_epoch == 1 and batch_idx == 2:
            Path(marker).touch()
            time.sleep(600)

    def loss(self, workload, batch):
        scale = 3.0 + float(torch.rand(())) + random.random() + np.random.normal()
        return super().loss(workload, batch) * scale


torch.manual_seed(int(seed))
random.seed(int(seed))
np.random.seed(int(seed))
workload, method = MRRDigits(1), Slow()
method.seed = 1
data = DataModule("digits", batch_size=16, seed=1, limit_train=64)
state = fit(workload, method, data, epochs=3, folder=Path(folder))
save_file(dict(workload.network.state_dict()), out)
Path(out).with_suffix(".json").write_text(json.dumps([state.epochs, state.losses]))
"""


def start(tmp_path: Path, name: str, out: str, marker: str, seed: int) -> subprocess.Popen[bytes]:
    arguments = [str(tmp_path / name), str(tmp_path / out), marker, str(seed)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
    )


@pytest.mark.slow
def test_a_process_killed_in_mid_epoch_resumes_to_the_same_bits(tmp_path: Path) -> None:
    marker, last = tmp_path / "marker", tmp_path / "parts" / "last.ckpt"
    whole = start(tmp_path, "whole", "whole.safetensors", "", 1)
    victim = start(tmp_path, "parts", "victim.safetensors", str(marker), 1)
    try:
        limit = time.monotonic() + 600.0
        while not marker.exists():
            assert victim.poll() is None, "the process ended before it could be killed"
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert last.is_file()
        victim.send_signal(signal.SIGKILL)
        assert victim.wait(30) == -signal.SIGKILL
        assert not (tmp_path / "victim.safetensors").exists()
        kept = torch.load(last, weights_only=True)
        assert kept["callbacks"]["RunState"]["epochs"] == [0]
        resumed = start(tmp_path, "parts", "resumed.safetensors", "", 2)
        assert resumed.wait(600) == 0
        assert whole.wait(600) == 0
    finally:
        for process in (whole, victim):
            process.kill()
            process.wait()
    a = load_file(tmp_path / "whole.safetensors")
    assert same_bits(a, load_file(tmp_path / "resumed.safetensors"))
    curves = [json.loads((tmp_path / f"{n}.json").read_text()) for n in ("whole", "resumed")]
    assert curves[0] == curves[1]
    assert not torch.equal(kept["state_dict"]["network.fc1.current"], a["fc1.current"])


def test_a_calibrated_workload_is_trained_in_training_mode():
    """Batch norm learns its statistics again: the loss falls as from a fresh workload."""
    data = DataModule("digits", batch_size=16, limit_train=80)
    workload = MRRDigits(0)
    workload.calibrate(data.train_tensors()[0])
    state = fit(workload, BP(lr=0.02), data, epochs=20)
    assert state.losses[-1] < 0.8


@pytest.mark.parametrize("change", [{"batch_size": 64}, {"seed": 5}, {"limit_train": 200}])
def test_a_run_is_not_resumed_over_other_data_or_another_order(tmp_path, change):
    given = {"batch_size": 32, "seed": 0, "limit_train": 256}
    fit(MRRDigits(0), BP(), DataModule("digits", **given), epochs=1, folder=tmp_path)
    other = DataModule("digits", **{**given, **change})
    with pytest.raises(UserError, match="other data or another order"):
        fit(MRRDigits(0), BP(), other, epochs=2, folder=tmp_path)


def test_the_parts_of_a_run_say_their_epochs_and_sum_their_costs(tmp_path: Path) -> None:
    def run(name: str, stop_after: int) -> RunState:
        def report(done: int, total: int, loss: float) -> None:
            if done == stop_after:
                raise InterruptedError

        state = RunState(report, {"commit": name})
        with contextlib.suppress(InterruptedError):
            fit(MRRDigits(0), BP(), data(), epochs=4, folder=tmp_path, state=state)
        return state

    # The third epoch ends, but is not in a checkpoint: it is run again.
    first = run("a", stop_after=3)
    assert first.parts == [{"commit": "a", "epochs": [0, 2]}]
    second = run("b", stop_after=0)
    assert second.parts == [
        {"commit": "a", "epochs": [0, 1]},
        {"commit": "b", "epochs": [2, 3]},
    ]
    assert second.epochs == [0, 1, 2, 3]
    assert second.seconds > 0.0
    assert second.cpu_seconds > 0.0
    assert second.peak_memory_bytes >= first.peak_memory_bytes > 1e6
    # What is measured again is no part of the training.
    third = run("c", stop_after=0)
    assert (third.parts, third.cpu_seconds) == (second.parts, second.cpu_seconds)
    assert fit(MRRDigits(0), BP(), data(), epochs=2).parts == [{"epochs": [0, 1]}]


def test_a_workload_may_change_batches_on_their_way_to_the_device() -> None:
    class Dark(MRRDigits):
        seen = 0.0

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return 0.0 * batch[0], batch[1]

        def loss(self, outputs: Tensor, batch: Any) -> Tensor:
            self.seen += float(batch[0].abs().sum())
            return super().loss(outputs, batch)

    workload = Dark(0)
    fit(workload, BP(), DataModule(load("digits"), limit_train=64), epochs=1)
    assert workload.gradient_evaluations == 1
    assert workload.seen == 0.0
