"""Networks in double precision stay there: training, hardware, calibration, grid and sharpness."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.evaluation.harness import measure_clean, measure_grid
from pnnbench.evaluation.sharpness import measure_sharpness
from pnnbench.registry import method_class, registered
from pnnbench.running.training import quiet
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

from ..pairs import in_turn

DIGITS = load("digits")
WORKLOADS: list[type[Workload]] = [MRRDigits, MZIDigits, FreeSpaceDigits, DiffractiveDigits]
FEW: dict[str, dict[str, Any]] = {
    "evolution": {"population": 2, "parents": 1},
    "coordinate-search": {"coordinates": 2},
    "spsa": {"directions": 1},
    "dat": {"count": 1},
    "dat-internal": {"count": 1},
}
BUILT = {cls: cls(0) for cls in WORKLOADS}
#: Of diffraction, whose optics are built three times here, these stand for all.
OFTEN = ("bp", "pat", "sat-environment", "evolution")
PAIRS = [
    pytest.param(
        name,
        cls,
        id=f"{name} {cls.name}",
        marks=[pytest.mark.slow] if cls is DiffractiveDigits and name not in OFTEN else marks,
    )
    for name, cls, marks in in_turn(
        registered("methods"), WORKLOADS, lambda n, cls: method_class(n).supports(BUILT[cls])
    )
]


def data() -> DataModule:
    return DataModule(DIGITS, batch_size=8, limit_train=8)


def assert_double(workload: Workload) -> None:
    for name, value in [*workload.named_parameters(), *workload.named_buffers()]:
        assert value.dtype not in (torch.float32, torch.complex64), name


class Seen(pl.Callback):
    """Notes the loss."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.losses.append(outputs["loss"])


def stepped(workload: Workload, name: str, **flags: Any) -> Tensor:
    """Loss of a first step, after which the types of all that the network gave are looked at."""
    seen, kinds = Seen(), set()
    own = type(workload).loss

    class Watched(type(workload)):  # type: ignore[misc]
        def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
            kinds.add(outputs.dtype)
            return own(self, outputs, batch)

    workload.__class__ = Watched
    method = method_class(name)(**FEW.get(name, {}))
    with quiet():
        pl.Trainer(
            callbacks=[method, seen],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=1,
            **flags,
        ).fit(workload, datamodule=data())
    assert kinds == {next(workload.parameters()).dtype}
    return seen.losses[0]


@pytest.mark.parametrize(("name", "cls"), PAIRS)
def test_a_step_in_double_precision_stays_there(name: str, cls: type[Workload]) -> None:
    single = stepped(cls(0), name)
    converted = cls(0).double()
    double = stepped(converted, name)
    assert_double(converted)
    by_trainer = cls(0)
    again = stepped(by_trainer, name, precision="64-true")
    assert_double(by_trainer)
    assert double.dtype == again.dtype
    assert double.item() == pytest.approx(again.item(), rel=1e-6)
    assert double.item() == pytest.approx(single.item(), rel=2e-4)


@pytest.mark.parametrize("cls", WORKLOADS)
def test_measurements_of_a_network_in_double_precision(cls: type[Workload]) -> None:
    found = []
    x, y = DataModule(DIGITS, limit_train=24).train_tensors()
    for workload in (cls(0), cls(0).double()):
        workload.calibrate(x)
        device = workload.training_device(0)
        measured = workload.hardware(device).measure(workload.prefix(x))
        clean = measure_clean(workload, x, y).value
        cell = next(c for c in workload.perturbation_grid("smoke") if c.severity > 0)
        (reading,) = measure_grid(workload, x, y, [cell])
        sharpness = measure_sharpness(workload, x, y, seed=0, devices=[device], check=False)
        workload.calibrate(x, device=device)
        found.append((measured, clean, reading.value, sharpness["train_loss"]))
    assert_double(workload)
    single, double = found
    assert double[0].outputs.dtype == torch.float64
    assert {v.dtype for v in double[0].read_outs.values()} == {torch.float64}
    torch.testing.assert_close(double[0].outputs.float(), single[0].outputs, rtol=1e-3, atol=1e-3)
    assert double[1:3] == single[1:3]  # no image so near the border of two classes
    assert double[3] == pytest.approx(single[3], rel=1e-4)


def test_single_precision_stays_single() -> None:
    workload = MRRDigits(0)
    x = torch.rand(2, 1, 8, 8)
    assert workload.in_precision(x) is x
    assert workload(x).dtype == torch.float32
