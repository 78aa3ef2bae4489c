from __future__ import annotations

import math
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pnnbench.data import DataModule
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.nat import NAT
from pnnbench.running.training import fit
from pnnbench.running.watching import (
    CURVE_IMAGES,
    EarlyStages,
    ValidationCurve,
    stage_file,
    stage_steps,
)
from pnnbench.workloads.base import Batch
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits


def data() -> DataModule:
    return DataModule("digits", batch_size=32, seed=1, holdout=60, limit_train=320)


def curve() -> ValidationCurve:
    return ValidationCurve(*data().validation_tensors())


class Restless(MRRDigits):
    """Draws from every global generator and counts in a buffer, in evaluation mode too."""

    def __init__(self, init_seed: int = 0) -> None:
        super().__init__(init_seed)
        self.network.register_buffer("passes", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.network.passes += 1  # type: ignore[operator]
        self.hardware_queries += len(x)
        draws = float(torch.rand(())) + random.random() + np.random.random()  # noqa: S311, NPY002
        return super().forward(x) * (1.0 + 0.1 * draws)


@pytest.mark.parametrize("rule", [BP, NAT, BPWeights])
@pytest.mark.parametrize(
    "cls", [MRRDigits, MZIDigits, FreeSpaceDigits, DiffractiveDigits, Restless]
)
def test_training_is_the_same_to_the_bit_with_and_without_it(cls, rule, tmp_path) -> None:
    found = []
    for watched in (False, True):
        workload, method = cls(3), rule()
        method.seed = 3
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        watching = [curve(), EarlyStages(tmp_path, method)] if watched else []
        state = fit(workload, method, data(), epochs=2, watching=watching)
        counters = (
            workload.gradient_evaluations,
            workload.forward_evaluations,
            workload.hardware_queries,
        )
        draw = [*torch.rand(3).tolist(), random.random(), np.random.random()]  # noqa: S311, NPY002
        found.append((state.losses, counters, draw, workload.network.state_dict()))
        assert all(module.training for module in workload.network.modules())
    (losses, counters, draw, tensors), (same, counted, again, others) = found
    assert (losses, counters, draw) == (same, counted, again)
    assert all(torch.equal(value, others[name]) for name, value in tensors.items())


def test_the_curve_is_that_of_the_network_after_each_epoch() -> None:
    watch, workload = curve(), MRRDigits(0)
    fit(workload, BP(), data(), epochs=3, watching=[watch])
    assert len(watch.losses) == len(watch.metrics) == 3
    images, labels = data().validation_tensors()
    assert len(images) == 60 < CURVE_IMAGES
    workload.eval()
    with torch.no_grad():
        outputs = workload(images)
        assert watch.losses[-1] == pytest.approx(float(workload.loss(outputs, (images, labels))))
    right = float((outputs.argmax(1) == labels).double().mean())
    assert watch.metrics[-1] == pytest.approx(right, abs=1e-6)
    assert watch.as_dict() == {"validation_loss": watch.losses, "validation_metric": watch.metrics}


def test_it_takes_the_weights_that_are_trained_not_the_controls_of_before() -> None:
    watch, workload = curve(), MRRDigits(0)
    fit(workload, BPWeights(), data(), epochs=2, watching=[watch])
    images, labels = data().validation_tensors()
    workload.eval()
    with torch.no_grad():
        loss = float(workload.loss(workload(images), (images, labels)))
    assert watch.losses[-1] == pytest.approx(loss, rel=1e-3)


def test_a_curve_goes_on_after_an_interruption(tmp_path: Path) -> None:
    whole = curve()
    fit(MRRDigits(0), BP(), data(), epochs=3, watching=[whole])

    class StopError(Exception):
        pass

    def stop(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 3:
            raise StopError

    first, rest = curve(), curve()
    with pytest.raises(StopError):
        fit(MRRDigits(0), BP(), data(), epochs=3, folder=tmp_path, report=stop, watching=[first])
    fit(MRRDigits(0), BP(), data(), epochs=3, folder=tmp_path, watching=[rest])
    assert rest.losses == whole.losses
    assert rest.metrics == whole.metrics
    assert len(whole.losses) == len(set(whole.losses)) == 3


def test_without_held_out_images_there_is_no_curve() -> None:
    empty = ValidationCurve(*DataModule("digits").validation_tensors())
    fit(MRRDigits(0), BP(), data(), epochs=1, watching=[empty])
    assert empty.as_dict() == {}


def test_what_is_not_finite_or_fails_is_none() -> None:
    class Lost(MRRDigits):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (1.0 if self.training else math.nan)

    class Failing(MRRDigits):
        def metric(self):
            raise RuntimeError("no metric today")

    class Enormous(MRRDigits):
        def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
            found = super().loss(outputs, batch)
            return found if self.training else found.double() * 1e60

    for cls in (Lost, Failing, Enormous):
        watch = curve()
        fit(cls(0), BP(), data(), epochs=1, watching=[watch])
        assert watch.losses == [None]


# --- early stages ------------------------------------------------------------------------------


def kept(folder: Path, method: TrainingMethod, epochs: int = 4) -> MRRDigits:
    workload = MRRDigits(0)
    fit(workload, method, data(), epochs=epochs, watching=[EarlyStages(folder, method)])
    return workload


def test_the_tensors_are_those_after_a_quarter_and_half_of_the_steps(tmp_path: Path) -> None:
    method = BP()
    method.schedule = "constant"  # so that a run of half the length takes the same steps
    kept(tmp_path, method)
    shorter = BP()
    shorter.schedule = "constant"
    half = kept(tmp_path / "other", shorter, epochs=2)
    found = load_file(stage_file(tmp_path, 0.5))
    for name, value in half.network.state_dict().items():
        assert torch.equal(found[name], value), name
    with safe_open(stage_file(tmp_path, 0.25), framework="pt") as stage:
        assert stage.metadata() == {"steps": "10"}
    quarter = load_file(stage_file(tmp_path, 0.25))
    assert not torch.equal(quarter["fc1.current"], found["fc1.current"])


def test_a_method_on_weights_has_programmed_them(tmp_path: Path) -> None:
    method = BPWeights()
    kept(tmp_path, method)
    start = MRRDigits(0).network.state_dict()
    for share in (0.25, 0.5):
        assert not torch.equal(
            load_file(stage_file(tmp_path, share))["fc1.current"], start["fc1.current"]
        )


def test_an_interrupted_run_keeps_the_same_tensors(tmp_path: Path) -> None:
    def run(folder: Path, stop_after: int | None) -> None:
        def report(epoch: int, epochs: int, loss: float) -> None:
            if epoch == stop_after:
                raise InterruptedError

        for _ in range(2):
            workload, method = MRRDigits(0), NAT()
            early = EarlyStages(folder / "stages", method)
            try:
                fit(
                    workload,
                    method,
                    data(),
                    epochs=3,
                    folder=folder / "checkpoints",
                    report=report,
                    watching=[early],
                )
            except InterruptedError:
                stop_after = None

    run(tmp_path / "whole", None)
    run(tmp_path / "cut", 2)
    for share in (0.25, 0.5):
        paths = [stage_file(tmp_path / n / "stages", share) for n in ("whole", "cut")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("total", [1, 2, 3, 10, 938])
def test_steps_are_within_the_run(total: int) -> None:
    steps = stage_steps(total)
    assert list(steps) == [0.25, 0.5]
    assert 1 <= steps[0.25] <= steps[0.5] <= total


def test_a_method_that_cannot_program_its_weights_half_way_trains_on(tmp_path: Path) -> None:
    class Stubborn(BPWeights):
        def on_train_epoch_end(self, trainer, pl_module):
            super().deploy(pl_module)

        def deploy(self, workload):
            raise ZeroDivisionError("not yet")

    stale = stage_file(tmp_path, 0.25)
    stale.write_bytes(b"of another attempt")
    stubborn = kept(tmp_path, Stubborn())
    assert list(tmp_path.iterdir()) == []
    plain = kept(tmp_path / "plain", BPWeights())
    for name, value in plain.network.state_dict().items():
        assert torch.equal(stubborn.network.state_dict()[name], value)


def test_accumulated_gradients_are_one_step(tmp_path: Path) -> None:
    """The tensors are those of the step itself, not of a batch after it."""
    early = EarlyStages(tmp_path, BP())
    early.steps = {0.25: 1}
    workload, trainer = MRRDigits(0), SimpleNamespace(global_step=0)
    torch.nn.init.zeros_(workload.network.fc1.bias)
    written = []
    for step in (0, 0, 1, 1, 2):
        trainer.global_step = step
        with torch.no_grad():
            workload.network.fc1.bias.add_(1.0)
        early.on_train_batch_end(trainer, workload, None, None, 0)  # type: ignore[arg-type]
        path = stage_file(tmp_path, 0.25)
        written.append(float(load_file(path)["fc1.bias"][0]) if path.is_file() else None)
    assert written == [None, None, 3.0, 3.0, 3.0]


def test_a_metric_that_needs_more_images_gets_them() -> None:
    images, labels = torch.zeros(900, 1), torch.zeros(900)
    assert len(ValidationCurve(images, labels).images) == CURVE_IMAGES
    watch = ValidationCurve(images, labels, least=642)
    assert (len(watch.images), len(watch.labels)) == (642, 642)
    assert len(ValidationCurve(images, labels, least=10).images) == CURVE_IMAGES
