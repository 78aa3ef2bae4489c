from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pnnbench.errors import UserError
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.platforms.mzi_layers import MZILinear
from pnnbench.running.rebuilding import save_parameters
from pnnbench.workloads.base import Workload
from pnnbench.workloads.convert import TIERS, physical, physical_network
from pnnbench.workloads.freespace import FreeSpaceWorkload
from pnnbench.workloads.mrr import MRRWorkload
from pnnbench.workloads.mzi import MZIWorkload

from .networks_of_users import Classifier, Residual, images, made


def dense() -> nn.Module:
    """A network without convolutions, for free space."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 36), nn.ReLU(), nn.Dropout(0.1), nn.Linear(36, 10)
        )


def given(platform: str, **options: Any) -> Workload:
    return physical(dense() if platform == "freespace" else made(), platform, **options)


BASES = {"mrr": MRRWorkload, "mzi": MZIWorkload, "freespace": FreeSpaceWorkload}


@pytest.mark.parametrize("platform", BASES)
def test_the_result_is_a_workload_of_the_platform(platform: str) -> None:
    workload = given(platform)
    assert isinstance(workload, BASES[platform])
    assert workload.platform == platform
    for scale in (workload.control_scale, workload.offset_scale, workload.weight_scale):
        assert math.isfinite(scale.value)
        assert scale.value > 0.0
        assert scale.unit
    cells = workload.perturbation_grid("smoke")
    assert any(cell.counts for cell in cells)
    described = workload.describe("smoke")
    assert described["given"]["sha256"] == given(platform).describe("smoke")["given"]["sha256"]
    assert len(described["given"]["modules"]) == len(workload.report)  # type: ignore[attr-defined]
    assert type(workload)().describe("smoke") == described


def test_it_is_a_copy_that_changes_with_nothing_outside() -> None:
    model = made().eval()
    workload, x = physical(model, "mrr"), images(4)[0]
    before, other = workload(x).detach(), type(workload)()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert torch.equal(workload(x), before)
    torch.testing.assert_close(type(workload)()(x), other(x))


def test_losses_are_the_users_the_networks_or_the_usual_one() -> None:
    x, y = images(8)
    outputs = torch.randn(8, 10)
    assert torch.equal(physical(made()).loss(outputs, (x, y)), F.cross_entropy(outputs, y))
    own = physical(made(), loss=lambda outputs, targets: outputs.sum())
    assert torch.equal(own.loss(outputs, (x, y)), outputs.sum())
    step = physical(Classifier())
    assert torch.equal(step.loss(outputs, (x, y)), F.cross_entropy(outputs, y, label_smoothing=0.2))
    assert torch.equal(
        physical(Classifier(), loss=nn.CrossEntropyLoss()).loss(outputs, (x, y)),
        F.cross_entropy(outputs, y),
    )


def test_real_targets_are_scored_by_their_squared_error() -> None:
    workload = physical(made(Residual, n_outputs=3), n_classes=None)
    assert (workload.metric_name, workload.higher_is_better, workload.chance) == (
        "mse",
        False,
        None,
    )
    outputs, targets = torch.randn(6, 3), torch.randn(6, 3)
    metric = workload.metric()
    metric.update(outputs, targets)
    assert float(metric.compute()) == pytest.approx(float(F.mse_loss(outputs, targets)))
    assert workload.outcomes(outputs, targets) is None
    assert torch.equal(workload.loss(outputs, (targets, targets)), F.mse_loss(outputs, targets))
    assert physical(made(), n_classes=4).chance == 0.25


def test_levels_of_meshes_follow_the_columns_that_light_meets() -> None:
    one = physical(nn.Sequential(nn.Flatten(), nn.Linear(64, 64)), "mzi")
    assert isinstance(one, MZIWorkload)
    factor = math.sqrt(64 / 129)
    expected = [float(f"{s * factor:.2g}") for s in MZIWorkload.severities]
    assert list(one.severities) == expected
    assert one.counted == one.severities
    assert one.training_severity == pytest.approx(0.15 * factor, rel=0.05)
    assert one.control_scale.value == pytest.approx(math.pi / math.sqrt(129))
    assert one.weight_scale.value == 1 / 8
    assert MZIWorkload.severities[0] == 0.1  # those of the class are as they were
    assert next(iter(one.layers().values())).imbalance_per_rad == 0.2


class Mixed(MZIWorkload):
    """A mesh behind a matrix."""

    name = "mixed"
    tiers = TIERS

    def build_network(self) -> Any:
        return physical_network(nn.Linear(4, 4), "mzi")


def test_the_step_of_meshes_on_one_path_is_as_before() -> None:
    workload = Mixed(0)
    columns = workload.layers()["model"].light_path
    assert isinstance(workload.layers()["model"], MZILinear)
    workload.network.add_module("mesh", MZIMesh(columns + 1))
    assert workload.control_scale.value == pytest.approx(math.pi / math.sqrt(columns + 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "mse"}, "loss is 'mse'"),
        ({"platform": "diffractive"}, "no layer conversion"),
        ({"modules": "nothing"}, "unknown module 'nothing'"),
        ({"portss": 3}, "unknown option 'portss'"),
    ],
)
def test_what_cannot_be_reads(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        physical(made(), **options)


def test_a_step_whose_loss_cannot_be_had_is_refused_before_any_work() -> None:
    model = Classifier()
    model.automatic_optimization = False
    with pytest.raises(UserError, match="optimises by itself"):
        physical(model)
    assert physical(model, loss=F.cross_entropy).n_controls == 640


def narrow_resnet() -> nn.Module:
    """torchvision's ResNet of one narrow block a stage, for small images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.ResNet(
            torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10, width_per_group=64
        )


def random_images(n: int, side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, side, side, generator=generator), torch.arange(n) % 10


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
@torch.no_grad()
def test_networks_of_torchvision_are_themselves(name: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=10).double().eval()
    workload = physical(model, "mrr", scale="per-layer")
    x = random_images(2, 48)[0]
    torch.testing.assert_close(workload(x), model(x.double()), rtol=1e-7, atol=1e-8)


@pytest.mark.slow
def test_resnet18_is_trained_and_measured_on_rings(tmp_path: Path) -> None:
    from pnnbench.evaluation.harness import measure_grid
    from pnnbench.methods.bp import BP
    from pnnbench.methods.sat import SAT

    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    x, y = random_images(8, 32)
    loader = DataLoader(TensorDataset(x, y), 4)
    workload = physical(model, "mrr")
    with torch.no_grad():
        torch.testing.assert_close(
            workload.eval()(x), model.eval()(x), rtol=0, atol=2e-3 * float(model(x).abs().max())
        )
    workload.train()
    for method in (BP(), SAT()):
        before = [p.detach().clone() for p in workload.controls().values()]
        trainer = pl.Trainer(
            max_steps=1,
            callbacks=[method],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(workload, loader)
        after = workload.controls().values()
        assert all((a != b).any() for a, b in zip(after, before, strict=True))
    workload.calibrate(x)
    cells = [c for c in workload.perturbation_grid("smoke") if c.axis == "device"][:2]
    readings = measure_grid(workload, x, y, cells)
    assert all(r.error is None and 0.0 <= r.value <= 1.0 for r in readings)


class Kept(nn.Module):
    """Layers in plain containers beside their names, as some networks keep them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layers = [nn.Linear(64, 32), nn.Linear(32, 10)]
        for i, layer in enumerate(layers):
            self.add_module(f"fc{i}", layer)
        self.kind = kind
        self.kept: Any = {
            "list": layers,
            "tuple": tuple(layers),
            "dict": {"first": layers[0], "more": [layers[1]]},
        }[kind]

    def forward(self, x: Tensor) -> Tensor:
        first, second = (
            (self.kept["first"], self.kept["more"][0]) if self.kind == "dict" else self.kept
        )
        return second(torch.relu(first(x.flatten(1))))


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_layers_in_plain_containers_are_physical_too(kind: str) -> None:
    network = Kept(kind)
    workload = physical(network, "mrr")
    x = images(4)[0]
    ideal = workload(x)
    torch.testing.assert_close(ideal, network(x), rtol=1e-3, atol=1e-3)
    device = workload.training_device(0)
    with torch.no_grad(), workload.operating(device):
        assert float((workload(x) - ideal).abs().max()) > 0.1
    assert all(type(layer) is nn.Linear for layer in network.children())


class Tied(nn.Module):
    """A layer under two names, and two with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 64)
        self.again = self.a
        self.c, self.out = nn.Linear(64, 64), nn.Linear(64, 10)
        self.c.weight = self.b.weight

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.again(torch.relu(self.a(x.flatten(1)))))
        return self.out(torch.relu(self.c(torch.relu(self.b(h)))))


def test_what_has_two_names_is_saved_and_read(tmp_path: Path) -> None:
    workload = physical(Tied(), "mrr")
    kept = save_parameters(workload, tmp_path / "parameters.safetensors")
    assert kept["file"] == "parameters.safetensors"
    other = physical(Tied(), "mrr")
    other.load_tensors(load_file(tmp_path / "parameters.safetensors"))
    x = images(4)[0]
    assert torch.equal(other.eval()(x), workload.eval()(x))
    network: Any = other.network.model
    assert network.again is network.a
    assert network.c.weight is network.b.weight
