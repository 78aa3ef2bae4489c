"""Workloads on the digits pass; each broken workload is told its fault in one sentence."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
import torchmetrics
from torch import Tensor, nn

from pnnbench.data import Arrays
from pnnbench.data.latents import Latents
from pnnbench.errors import UserError
from pnnbench.platforms.mrr import MRREnvironment, MRRLinear
from pnnbench.submitting.checks import FaultError
from pnnbench.submitting.trial import IMAGE_WORKLOADS, WORKLOADS
from pnnbench.submitting.workload_checks import WORKLOAD_CHECKS, WorkloadSubject, check_workload
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.grid import Cell, device_axis
from pnnbench.workloads.grid import test_devices as devices_of_tests
from pnnbench.workloads.mrr import MRRDigits, mrr_layers
from pnnbench.workloads.mrr_images import MRRDigitsGAN
from pnnbench.workloads.networks import DigitsNet, PhysicalNetwork


@pytest.mark.parametrize(
    "workload",
    [
        *(pytest.param(cls, id=cls.name) for cls in WORKLOADS),
        *(pytest.param(cls, id=cls.name, marks=pytest.mark.slow) for cls in IMAGE_WORKLOADS),
    ],
)
def test_workloads_on_the_digits_pass_every_check(workload: type[Workload]) -> None:
    results = check_workload(workload)
    assert [r.message for r in results if not r.passed] == []
    assert [r.name for r in results] == list(WORKLOAD_CHECKS)


class NothingCounts(MRRDigits):
    """A grid without weight."""

    def perturbation_grid(self, tier: str) -> list[Cell]:
        return device_axis((1.0,), devices_of_tests(1), MRREnvironment(), counts=False)


class TrainingDevices(MRRDigits):
    """A grid on devices that methods train on."""

    def perturbation_grid(self, tier: str) -> list[Cell]:
        return device_axis((1.0,), [100_000], MRREnvironment())


class Silent(MRRDigits):
    """A grid with a cell that perturbs nothing."""

    def perturbation_grid(self, tier: str) -> list[Cell]:
        return device_axis((0.0,), devices_of_tests(1), MRREnvironment())


class Misfit(MRRDigits):
    """A metric of other shapes."""

    metric_name = "mae"
    higher_is_better = False
    chance = None

    def metric(self) -> Any:
        return torchmetrics.MeanAbsoluteError()


class Unseeded(MRRDigits):
    """Initial parameters from elsewhere."""

    count = 0

    def build_network(self) -> PhysicalNetwork:
        type(self).count += 1
        network = super().build_network()
        with torch.no_grad():
            next(network.parameters()).add_(1e-3 * self.count)
        return network


class Same(MRRDigits):
    """The same parameters for every seed."""

    def build_network(self) -> PhysicalNetwork:
        torch.manual_seed(0)
        return super().build_network()


class NoLoss(MRRDigits):
    """A loss for each image."""

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return outputs.logsumexp(-1) - outputs.gather(-1, batch[1][:, None])[:, 0]


class OnBroken(MRRDigits):
    """A network with a layer that is read out without noise."""

    def build_network(self) -> PhysicalNetwork:
        class NoNoise(MRRLinear):
            def read_out(self, y: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                return y

        return DigitsNet(mrr_layers()[0], lambda a, b: NoNoise(a, b))


@pytest.mark.parametrize(
    ("cls", "name", "words"),
    [
        (NothingCounts, "grid", "No cell of the grid counts"),
        (TrainingDevices, "grid", "meets device 100000, which is no test device"),
        (Silent, "grid", "let every cell of the grid change the transfer"),
        (Misfit, "grid", "give a metric() that takes these outputs and targets"),
        (Unseeded, "same-start", "Two workloads of one seed differ"),
        (Same, "same-start", "Workloads of two seeds are the same"),
        (NoLoss, "loss", "give the mean over the batch"),
        (OnBroken, "read-out-noise", "is read out without noise"),
    ],
)
def test_a_broken_workload_is_told_its_fault(cls: Any, name: str, words: str) -> None:
    found = {r.name: r.message for r in check_workload(cls) if not r.passed}
    assert list(found) == [name]
    assert words in found[name]


class TrainedJudge(MRRDigitsGAN):
    """A judge that every method trains to praise what it is shown."""

    def digital_parameters(self, *, trainable: bool = False) -> dict[str, nn.Parameter]:
        judge = {f"judge.{name}": p for name, p in self.judge.named_parameters()}
        return {**super().digital_parameters(trainable=trainable), **judge}


class JudgeInside(MRRDigits):
    """A network that holds what only its loss looks at."""

    def build_network(self) -> PhysicalNetwork:
        network = super().build_network()
        network.judge = nn.Linear(10, 1)
        return network

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        judge: Any = self.network.judge
        return -judge(outputs).mean()


class Forgotten(MRRDigitsGAN):
    """Records without the judge."""

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def load_tensors(self, tensors: Any) -> None:
        self.network.load_state_dict(tensors)


class Restless(Latents):
    """Latent vectors that are others each time."""

    def load(self, root: Any = None, download: bool = False) -> Arrays:
        found = super().load(root, download)
        train, test = torch.randn_like(found.train_inputs), torch.randn_like(found.test_inputs)
        return Arrays(self.name, train, found.train_targets, test, found.test_targets, None)


class OtherLatents(MRRDigitsGAN):
    """Inputs that no two evaluations share."""

    data: ClassVar[Any] = Restless("digits,16")


class DrawnInside(MRRDigitsGAN):
    """A generator that draws its latent vectors itself."""

    def prefix(self, x: Tensor, parameters: Any = None) -> Tensor:
        return super().prefix(torch.randn_like(x), parameters)


class Unresumed(MRRDigitsGAN):
    """A judge whose optimiser begins anew."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._steps = int(checkpoint["judge"]["steps"])


@pytest.mark.parametrize(
    ("cls", "name", "words"),
    [
        (TrainedJudge, "loss-of-outputs", "is no parameter of the network"),
        (JudgeInside, "loss-of-outputs", "enters the loss and no output"),
        (Forgotten, "kept", "with the tensors that a record keeps"),
        (OtherLatents, "same-inputs", "is another one each time it is read"),
        (DrawnInside, "same-inputs", "Two evaluations of one network differ"),
        (Unresumed, "resumes", "resumed run differs from an uninterrupted one"),
    ],
)
def test_an_unfair_judge_is_told(cls: Any, name: str, words: str) -> None:
    with pytest.raises(FaultError, match=words):
        WORKLOAD_CHECKS[name].function(WorkloadSubject(cls))
    WORKLOAD_CHECKS[name].function(WorkloadSubject(MRRDigitsGAN))


def test_other_classes_are_refused() -> None:
    with pytest.raises(UserError, match="no workload"):
        check_workload(MRRLinear)
