"""The harness on the optical platforms, whose grids hold cells of the ideal device."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.platforms.freespace import FreeSpaceLayer, Layout
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.workloads.base import Workload
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.optical_networks import FreeSpaceNet


class Logits(torch.nn.Module):
    """Takes all outputs instead of an accuracy, so that the smallest difference shows."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.seen.append(outputs.double())

    def compute(self) -> Tensor:
        outputs = torch.cat(self.seen)
        return (outputs * torch.cos(torch.arange(outputs.numel()).view_as(outputs))).sum()


class FineFreeSpace(FreeSpaceDigits):
    def metric(self) -> Logits:  # type: ignore[override]
        return Logits()


class FineDiffractive(DiffractiveDigits):
    def metric(self) -> Logits:  # type: ignore[override]
        return Logits()


IMAGES, LABELS = (t[:24] for t in DataModule(load("digits")).test_tensors())


@pytest.mark.parametrize(
    "cls", [FineFreeSpace, pytest.param(FineDiffractive, marks=pytest.mark.slow)]
)
def test_figures_do_not_depend_on_batches_or_on_cells_beside(cls: type[Workload]) -> None:
    workload = cls(0)
    workload.calibrate(DataModule(load("digits")).train_tensors()[0][:100])
    cells = workload.perturbation_grid("smoke")[::3]
    assert {c.device_seed is None for c in cells} == {True, False}
    expected = evaluate_grid(workload, IMAGES, LABELS, cells)
    assert len({round(v, 4) for v in expected}) == len(cells)  # every cell is another one
    for batch_size, cells_per_batch in ((24, 1), (7, 4), (20, len(cells))):
        found = evaluate_grid(
            workload,
            IMAGES,
            LABELS,
            cells,
            batch_size=batch_size,
            cells_per_batch=cells_per_batch,
        )
        assert found == pytest.approx(expected, abs=2e-3)
    back = evaluate_grid(workload, IMAGES, LABELS, cells[::-1])
    assert back[::-1] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("cls", [FreeSpaceDigits, DiffractiveDigits])
def test_a_grid_leaves_the_workload_as_it_was(cls: type[Workload]) -> None:
    workload = cls(0).eval()
    before = {k: v.clone() for k, v in workload.network.state_dict().items()}
    clean = workload(IMAGES)
    evaluate_grid(workload, IMAGES, LABELS, workload.perturbation_grid("smoke")[::5])
    assert all(torch.equal(v, before[k]) for k, v in workload.network.state_dict().items())
    assert torch.equal(workload(IMAGES), clean)


class PublishedRule(FreeSpaceDigits):
    """The second layer answers to the scale only."""

    def build_network(self) -> PhysicalNetwork:
        return FreeSpaceNet(
            FreeSpaceLayer(64, 36, Layout((8, 8), cell=(12, 10))),
            FreeSpaceLayer(36, 10, Layout((6, 6), cell=(12, 10)), answers_to=("scale",)),
        )


def test_a_layer_that_does_not_answer_may_stay_as_it_is() -> None:
    workload = PublishedRule(0)
    cells = [c for c in workload.perturbation_grid("smoke") if c.axis in ("rotation", "scale")]
    assert len(evaluate_grid(workload, IMAGES, LABELS, cells)) == len(cells)
    still = dataclasses.replace(cells[0], environment=MisalignmentEnvironment())
    with pytest.raises(RuntimeError, match="unchanged"):
        evaluate_grid(workload, IMAGES, LABELS, [still])
