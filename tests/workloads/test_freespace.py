from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch import Tensor

from pnnbench.data import ImageDataModule, load
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.misalignment import FIELDS, MisalignmentEnvironment
from pnnbench.registry import workload_class
from pnnbench.workloads.freespace import FreeSpaceDigits, FreeSpaceMNIST, FreeSpaceWorkload
from pnnbench.workloads.grid import Cell
from pnnbench.workloads.grid import test_devices as seeds_of_test_devices

TIERS = [(FreeSpaceDigits, t) for t in FreeSpaceDigits.tiers]
TIERS += [(FreeSpaceMNIST, t) for t in FreeSpaceMNIST.tiers]
FINE = (-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0)
NOMINAL = MisalignmentEnvironment().as_dict()


def images(cls: type[FreeSpaceWorkload], count: int) -> Tensor:
    if cls.data == "digits":
        return ImageDataModule(load("digits")).train_tensors()[0][:count]
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def offsets(cell: Cell) -> dict[str, float]:
    """What a cell misaligns, and by how much."""
    found = cell.environment.as_dict()
    return {k: round(found[k] - NOMINAL[k], 6) for k in FIELDS if found[k] != NOMINAL[k]}


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_they_are_registered(cls: type[FreeSpaceWorkload]) -> None:
    assert workload_class(cls.name) is cls
    assert cls.platform == "freespace"


@pytest.mark.parametrize(("cls", "tier"), TIERS)
def test_the_grid_goes_both_ways_in_every_misalignment(
    cls: type[FreeSpaceWorkload], tier: str
) -> None:
    n = cls.tier(tier).n_devices
    cells = cls(0).perturbation_grid(tier)
    levels = Counter((c.axis, c.level) for c in cells)
    assert levels == {
        **{(axis, x): 1 for axis in ("rotation", "shift_x", "shift_y") for x in FINE},
        **{("scale", 5 * x): 1 for x in FINE},
        ("rotation_and_shift", 1.0): 4,
        ("rotation_and_shift", 2.0): 12,
        **{("device", s): n for s in (0.1, 0.25, 0.5, 1.0)},
    }
    alone = {
        "rotation": ("rotation_deg", "deg", 1.0),
        "shift_x": ("shift_x_px", "px", 1.0),
        "shift_y": ("shift_y_px", "px", 1.0),
        "scale": ("scale", "%", 0.01),
    }
    for cell in cells:
        if cell.axis == "device":
            assert offsets(cell) == {}
            assert (cell.severity, cell.unit) == (cell.level, "x assembly tolerance")
            continue
        assert (cell.severity, cell.device_seed) == (0.0, None)
        if cell.axis in alone:
            field, unit, factor = alone[cell.axis]
            assert cell.unit == unit
            assert offsets(cell) == {field: pytest.approx(cell.level * factor)}
        else:
            assert set(offsets(cell)) == {"rotation_deg", "shift_y_px"}
            assert max(map(abs, offsets(cell).values())) == cell.level
    joint = {tuple(offsets(c).values()) for c in cells if c.axis == "rotation_and_shift"}
    assert joint == {(r, d) for r in (-2, -1, 1, 2) for d in (-2, -1, 1, 2)}
    assert len({(c.severity, c.device_seed, c.environment) for c in cells}) == len(cells)
    assert {c.device_seed for c in cells} == {None, *seeds_of_test_devices(n)}


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_the_ranges_are_those_of_the_grid(cls: type[FreeSpaceWorkload]) -> None:
    cells = cls(0).perturbation_grid("smoke")
    for name in FIELDS:
        moves = [offsets(c).get(name, 0.0) for c in cells]
        assert (min(moves), max(moves)) == pytest.approx(
            (-cls.environment_ranges[name], cls.environment_ranges[name])
        )


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_every_cell_changes_every_layer(cls: type[FreeSpaceWorkload]) -> None:
    workload = cls(0)
    seeds = (None, seeds_of_test_devices(1)[0])
    cells = [c for c in workload.perturbation_grid("smoke") if c.device_seed in seeds]
    assert len(cells) == 32 + 16 + 4
    x = images(cls, 8)
    values = evaluate_grid(workload, x, torch.zeros(len(x), dtype=torch.long), cells)
    assert all(0.0 <= value <= 1.0 for value in values)  # it refuses cells that change nothing
    still = Cell("rotation", 0.0, "deg", 0.0, None, MisalignmentEnvironment())
    with pytest.raises(RuntimeError, match="fc1"):
        evaluate_grid(workload, x, torch.zeros(len(x), dtype=torch.long), [still])
    with torch.no_grad():
        ideal = {name: layer.transfer() for name, layer in workload.layers().items()}
        seen: dict[str, list[Tensor]] = {name: [] for name in ideal}
        for cell in [*cells[:8:4], *cells[32:34], cells[-1]]:
            device = workload.draw_device(cell.severity, cell.device_seed)
            with operate(workload.network, [Condition(device, cell.environment)]):
                for name, layer in workload.layers().items():
                    seen[name].append(layer.transfer())
                    assert not torch.equal(seen[name][-1], ideal[name])
    for transfers in seen.values():
        assert len({tuple(t.flatten().tolist()) for t in transfers}) == 5
    with pytest.raises(UserError):  # no severity of the ideal device
        workload.draw_device(0.5, None)


def test_test_devices_are_those_declared_and_misalign_each_layer_by_its_own() -> None:
    workload = FreeSpaceDigits(0)
    seed = seeds_of_test_devices(2)[1]
    device = workload.draw_device(0.5, seed)
    assert (device.seed, device.severity) == (seed, 0.5)
    assert set(device.errors) == {"fc1", "fc2"}
    assert set(device.errors["fc1"]) == {"rotation_deg", "shift_x_px", "shift_y_px", "log_scale"}
    assert not torch.equal(
        device.errors["fc1"]["rotation_deg"], device.errors["fc2"]["rotation_deg"]
    )
    assert workload.training_device(1).severity == workload.training_severity == 0.5
    assert workload.draw_device(0.0, None).errors == Device.ideal().errors


@pytest.mark.parametrize(
    ("cls", "tier", "n"),
    [
        (FreeSpaceDigits, "quick", 20),
        (FreeSpaceMNIST, "standard", 20),
        (FreeSpaceMNIST, "paper", 100),
    ],
)
def test_ranked_tiers_have_enough_devices_and_all_images(
    cls: type[FreeSpaceWorkload], tier: str, n: int
) -> None:
    assert cls.tier(tier).n_devices == n
    assert cls.tier(tier).train_images is None
    assert cls.tier(tier).test_images is None


def test_every_tier_that_other_workloads_have_is_there() -> None:
    assert list(FreeSpaceDigits.tiers) == ["smoke", "quick"]
    assert list(FreeSpaceMNIST.tiers) == ["smoke", "quick", "standard", "paper"]
    with pytest.raises(UserError, match="papper"):
        FreeSpaceMNIST.tier("papper")


@pytest.mark.parametrize(("cls", "tier"), TIERS)
def test_the_description_is_plain_and_complete(cls: type[FreeSpaceWorkload], tier: str) -> None:
    workload = cls(0)
    text = json.dumps(workload.describe(tier), allow_nan=False)
    found = json.loads(text)
    assert found["environment_ranges"] == dict(cls.environment_ranges)
    assert found["training_severity"] == 0.5
    assert found["sharpness_severity"] == 0.25
    assert len(found["grid"]) == 32 + 16 + 4
    assert found["grid"][0]["environment"] == {**NOMINAL, "rotation_deg": -2.0}
    assert found["test_devices"] == seeds_of_test_devices(cls.tier(tier).n_devices)
    assert found["tier"]["epochs"] == cls.tier(tier).epochs
    assert list(found["layers"]) == ["fc1", "fc2"]
    assert found["layers"]["fc1"]["answers_to"] == list(FIELDS)  # every layer is misaligned
    assert found["layers"]["fc2"]["answers_to"] == list(FIELDS)
    assert {layer["sampling"] for layer in found["layers"].values()} == {"bilinear"}
    assert found["n_controls"] == sum(p.numel() for p in workload.controls().values())
    assert json.dumps(cls(1).describe(tier), allow_nan=False) == text  # not of the parameters


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_controls_are_the_weights_and_nothing_else(cls: type[FreeSpaceWorkload]) -> None:
    workload = cls(0)
    assert list(workload.controls()) == ["network.fc1.weight", "network.fc2.weight"]
    assert list(workload.digital_parameters()) == ["network.fc1.bias", "network.fc2.bias"]
    names = {n for n, _ in workload.named_parameters()}
    assert names == {*workload.controls(), *workload.digital_parameters()}


def test_the_published_network() -> None:
    layers = FreeSpaceMNIST(0).layers()
    assert {n: tuple(x.weight.shape) for n, x in layers.items()} == {  # type: ignore[union-attr]
        "fc1": (144, 784),
        "fc2": (10, 144),
    }
    for layer in layers.values():
        assert isinstance(layer, FreeSpaceLayer)
        assert layer.layout.shape == (96, 240)
    digits = FreeSpaceDigits(0).layers()
    assert {x.layout.shape for x in digits.values()} == {(36, 80)}  # type: ignore[union-attr]


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_the_forward_pass(cls: type[FreeSpaceWorkload]) -> None:
    workload, x = cls(0), images(cls, 6)
    out = workload(x)
    assert out.shape == (6, 10)
    assert torch.equal(workload.physical(workload.prefix(x)), out)
    p = {n: t.detach().double() for n, t in workload.network.named_parameters()}
    hidden = torch.sigmoid(x.flatten(1).double() @ p["fc1.weight"].T + p["fc1.bias"])
    expected = hidden @ p["fc2.weight"].T + p["fc2.bias"]
    torch.testing.assert_close(out.detach().double(), expected, rtol=0, atol=1e-5)
    replaced = workload.outputs_at(x, {"network.fc2.weight": torch.zeros(p["fc2.weight"].shape)})
    torch.testing.assert_close(replaced.double(), p["fc2.bias"].expand(6, 10))


def test_projection_puts_the_weights_back() -> None:
    workload = FreeSpaceDigits(0)
    for control in workload.controls().values():
        control.data.mul_(100.0)
    workload.project_controls()
    for control in workload.controls().values():
        assert float(control.detach().abs().max()) == 1.0
