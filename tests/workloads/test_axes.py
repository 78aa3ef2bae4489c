"""Axes on request: their cells, where they can be asked for, and that they weigh nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.evaluation.harness import measure_grid
from pnnbench.platforms.measured import MeasuredDevices
from pnnbench.submitting.trial import WORKLOADS
from pnnbench.workloads.axes import AXES, BITS, CROSSTALK, LOSS_DB
from pnnbench.workloads.base import Workload
from pnnbench.workloads.convert import physical
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZI3MNIST, MZIDigits

from .networks_of_users import made


def converted(init_seed: int = 0) -> Workload:
    """A network of a user on meshes."""
    return physical(made(), "mzi")


def asked(cls: Callable[[int], Workload], *names: str) -> Workload:
    workload = cls(0)
    workload.axes = names
    return workload


@pytest.mark.parametrize("cls", WORKLOADS)
def test_bits_are_an_axis_of_every_platform(cls: type[Workload]) -> None:
    plain, workload = cls(0), asked(cls, "control-bits")
    before, after = plain.cells("smoke"), workload.cells("smoke")
    assert before == plain.perturbation_grid("smoke")
    assert after[: len(before)] == before
    added = after[len(before) :]
    assert [cell.level for cell in added] == list(BITS)
    assert {cell.as_dict()["nominal"] for cell in added} == {"inf"}
    assert not any(c.counts_when(d) for c in added for d in ("frozen", "offset-calibrated"))
    assert workload.part_of_grid("smoke") == plain.part_of_grid("smoke")
    described = workload.describe("smoke")
    assert described.pop("axes") == ["control-bits"]
    assert described.pop("grid")[: -len(BITS)] == plain.describe("smoke")["grid"]
    assert described == {k: v for k, v in plain.describe("smoke").items() if k != "grid"}


@pytest.mark.parametrize(
    ("cls", "name", "axis", "levels"),
    [
        (MRRDigits, "control-bits", "resolution", BITS),
        (FreeSpaceDigits, "control-bits", "resolution", BITS),
        (MZIDigits, "control-bits", "resolution", BITS),
        (MZIDigits, "thermal-crosstalk", "crosstalk_thermal", CROSSTALK),
        (MZIDigits, "insertion-loss", "loss", LOSS_DB),
        (converted, "control-bits", "resolution", BITS),
        (converted, "thermal-crosstalk", "crosstalk_thermal", CROSSTALK),
        (converted, "insertion-loss", "loss", LOSS_DB),
    ],
)
def test_every_cell_of_an_axis_can_be_measured(cls: Any, name: str, axis: str, levels: Any) -> None:
    workload = asked(cls, name)
    cells = [c for c in workload.cells("smoke") if c.axis == axis]
    assert sorted({c.level for c in cells}) == sorted(levels)
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    readings = measure_grid(workload, images, labels, cells)
    assert [r.error for r in readings if r.error is not None] == []


def test_losses_meet_the_test_devices() -> None:
    workload = asked(MZIDigits, "insertion-loss")
    cells = workload.cells("smoke")
    mine = [c for c in cells if c.axis == "loss"]
    assert {c.device_seed for c in mine} == {c.device_seed for c in cells if c.axis == "device"}
    asked(MZI3MNIST, *list(AXES))


@pytest.mark.parametrize(
    ("cls", "names", "words"),
    [
        (MRRDigits, ["thermal-crosstalk"], r"not one of MRR[\s\S]*has the axis crosstalk"),
        (FreeSpaceDigits, ["insertion-loss"], r"not one of FreeSpaceLayer[\s\S]*meshes"),
        (MZIDigits, ["control-bit"], r"unknown axis 'control-bit'; did you mean 'control-bits'"),
        (MZIDigits, ["control-bits", "control-bits"], r"named twice"),
    ],
)
def test_what_cannot_be_asked_is_refused(cls: Any, names: list[str], words: str) -> None:
    workload = cls(0)
    with pytest.raises(UserError, match=words):
        workload.axes = names
    assert workload.axes == ()


def test_measured_devices_have_no_losses_to_draw(tmp_path: Path) -> None:
    path = tmp_path / "mesh.csv"
    rows = "\n".join(f"a,{i},0.01" for i in range(120))
    path.write_text(f"device,element,theta_rad\n{rows}\n")
    source = MeasuredDevices.read(path)
    workload = asked(MZIDigits, "insertion-loss")
    with pytest.raises(UserError, match="these are measured"):
        workload.devices = source
    workload.axes = ("control-bits",)
    workload.devices = source
    with pytest.raises(UserError, match="these are measured"):
        workload.axes = ("insertion-loss",)
    assert math.inf in {cell.nominal for cell in workload.cells("smoke")}
