from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.methods.bp import BP
from pnnbench.platforms.base import Condition, Device, Environment, operate
from pnnbench.platforms.freespace import FreeSpaceLayer, Layout
from pnnbench.platforms.misalignment import FIELDS, Misalignment, MisalignmentEnvironment
from pnnbench.registry import workload_class
from pnnbench.workloads.freespace import (
    FreeSpaceDigits,
    FreeSpaceMNIST,
    FreeSpaceWorkload,
    misalignment,
)
from pnnbench.workloads.grid import Cell
from pnnbench.workloads.grid import test_devices as seeds_of_test_devices

TIERS = [(FreeSpaceDigits, t) for t in FreeSpaceDigits.tiers]
TIERS += [(FreeSpaceMNIST, t) for t in FreeSpaceMNIST.tiers]
NOMINAL = MisalignmentEnvironment().as_dict()


def images(cls: type[FreeSpaceWorkload], count: int) -> Tensor:
    if cls.data == "digits":
        return DataModule(load("digits")).train_tensors()[0][:count]
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def offsets(cell: Cell) -> dict[str, float]:
    """What a cell misaligns, and by how much."""
    found = cell.environment.as_dict()
    return {k: round(found[k] - NOMINAL[k], 6) for k in FIELDS if found[k] != NOMINAL[k]}


def offsets_of(environment: Environment) -> list[float]:
    found = environment.as_dict()
    return [found[k] - NOMINAL[k] for k in FIELDS]


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_they_are_registered(cls: type[FreeSpaceWorkload]) -> None:
    assert workload_class(cls.name) is cls
    assert cls.platform == "freespace"


def displacements(cls: type[FreeSpaceWorkload], cell: Cell) -> dict[str, float]:
    """What a cell misaligns, in displacements of weights measured on positions."""
    layout = cls.layout
    rows, columns = layout.shape
    y, x = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64),
        torch.arange(columns, dtype=torch.float64),
        indexing="ij",
    )
    found = {}
    for name, value in offsets(cell).items():
        environment = MisalignmentEnvironment(**{name: NOMINAL[name] + value}).as_dict()
        fields = {k: torch.tensor([v], dtype=torch.float64) for k, v in environment.items()}
        at_y, at_x = Misalignment(**fields).sources(layout.shape, y[:, :1], x[:1])
        square = (at_y[0] - y) ** 2 + ((at_x[0] - x) / layout.column_pixels) ** 2
        found[name] = float(square.mean().sqrt())
    return found


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_equal_displacements_move_the_weights_equally_far(cls: type[FreeSpaceWorkload]) -> None:
    one = misalignment(cls.layout, 1.0)
    assert list(one) == list(FIELDS)
    for name, value in one.items():
        environment = MisalignmentEnvironment(**{name: NOMINAL[name] + value})
        moved = displacements(cls, Cell("", 0.0, "", 0.0, None, environment))
        # A magnification moves outwards by k / (1 + k) of a position; the angles are small.
        assert moved[name] * (1 + value if name == "scale" else 1) == pytest.approx(1.0, rel=2e-3)
    assert misalignment(Layout((28, 28)), 1.0) == {
        "rotation_deg": 0.8109,
        "shift_x_px": 2.0,
        "shift_y_px": 1.0,
        "scale": 0.02254,
    }


@pytest.mark.parametrize(("cls", "tier"), TIERS)
def test_the_grid_goes_both_ways_in_every_misalignment(
    cls: type[FreeSpaceWorkload], tier: str
) -> None:
    n = cls.tier(tier).n_devices
    cells = cls(0).perturbation_grid(tier)
    groups = {(c.axis, c.level, c.severity, c.environment, c.counts, c.law) for c in cells}
    alone = ("rotation", "shift_x", "shift_y", "scale")
    assert Counter((axis, counts) for axis, _, _, _, counts, _ in groups) == {
        **{(axis, True): 6 for axis in alone},
        **{(axis, False): 4 for axis in alone},
        ("rotation_and_shift", True): 8,
        ("beyond", True): 2 * 4 + 2 * 2 + 4,
        ("beyond", False): 2 * 6 + 2 * 8,
        ("device", True): 3,
        ("device", False): 1,
        ("weight_error", True): 3,
        ("weight_error", False): 1,
    }
    mirrored = {
        (g[0], *(round(-v if v else 0.0, 6) for v in offsets_of(g[3])), g[4]) for g in groups
    }
    assert mirrored == {(g[0], *(round(v, 6) for v in offsets_of(g[3])), g[4]) for g in groups}
    fields = dict(zip(alone, FIELDS, strict=True))
    for cell in cells:
        moved = offsets(cell)
        if cell.axis in ("device", "weight_error"):
            assert moved == {}
            assert cell.severity == cell.level
            assert cell.law == ("offsets" if cell.axis == "weight_error" else "fabrication")
            continue
        assert (cell.severity, cell.law) == (0.05 if cell.counts else 0.0, "fabrication")
        assert (cell.device_seed is None) == (not cell.counts)
        if cell.axis in alone:
            factor = 0.01 if cell.axis == "scale" else 1.0
            assert moved == {fields[cell.axis]: pytest.approx(cell.level * factor, abs=1e-6)}
        elif cell.axis == "rotation_and_shift":
            assert set(moved) == {"rotation_deg", "shift_y_px"}
    for devices in (
        Counter((c.axis, c.level, c.environment) for c in cells if c.device_seed is not None)
    ).values():
        assert devices == n
    assert len({(c.law, c.severity, c.device_seed, c.environment) for c in cells}) == len(cells)
    assert {c.device_seed for c in cells} == {None, *seeds_of_test_devices(n)}


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_training_covers_half_of_the_tests_and_the_rest_is_an_axis(
    cls: type[FreeSpaceWorkload],
) -> None:
    """No level stands on an end of a training range; the parameters of all axes are asked alike."""
    cells = cls(0).perturbation_grid("smoke")
    assert cls.environment_ranges == misalignment(cls.layout, 0.75)
    whole = misalignment(cls.layout, 1.5)
    for name, half in cls.environment_ranges.items():
        assert half == pytest.approx(0.5 * whole[name], rel=1e-3)
    asked: dict[str, dict[bool, set[float]]] = {name: {} for name in FIELDS}
    for cell in cells:
        shares = {k: abs(v) / cls.environment_ranges[k] for k, v in offsets(cell).items()}
        for name, share in shares.items():
            if cell.axis == "beyond":
                assert share > 1.05
                assert share == pytest.approx(cell.level, rel=1e-3)
            else:
                assert share < 0.95
            if len(shares) == 1:
                asked[name].setdefault(cell.counts, set()).add(round(0.75 * share, 2))
    for name, levels in asked.items():
        last = (0.8,) if name.startswith("shift") else (0.8, 1.0)
        assert levels[True] == {0.5, 0.6, 0.7, *last}
        assert levels[True] | levels[False] == {0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 3.0}


def test_weight_errors_are_the_noise_of_noise_aware_training_by_another_draw() -> None:
    workload = FreeSpaceDigits(0)
    small, large = (workload.draw_device(s, 1_000_001, "offsets") for s in (0.1, 0.2))
    assert (small.seed, small.severity) == (1_000_001, 0.1)
    drawn = {n: e["weight"] for n, e in small.errors.items()}
    assert set(drawn) == {"fc1", "fc2"}
    assert all(set(e) == {"weight"} for e in small.errors.values())
    for name, error in drawn.items():
        assert float(error.std()) == pytest.approx(0.1, rel=0.1)
        torch.testing.assert_close(large.errors[name]["weight"], 2 * error)
    other = workload.draw_device(0.1, 1_000_002, "offsets")
    assert not torch.equal(other.errors["fc1"]["weight"], drawn["fc1"])
    workload.method = BP()
    with pytest.raises(UserError, match="is a test device"):
        workload.train().draw_device(0.1, 1_000_001, "offsets")


@pytest.mark.parametrize("cls", [FreeSpaceDigits, FreeSpaceMNIST])
def test_every_cell_changes_every_layer(cls: type[FreeSpaceWorkload]) -> None:
    workload = cls(0)
    seeds = (None, seeds_of_test_devices(1)[0])
    cells = [c for c in workload.perturbation_grid("smoke") if c.device_seed in seeds]
    assert len(cells) == 48 + 44 + 4 + 4
    x = images(cls, 8)
    values = evaluate_grid(workload, x, torch.zeros(len(x), dtype=torch.long), cells)
    assert all(0.0 <= value <= 1.0 for value in values)  # it refuses cells that change nothing
    still = Cell("rotation", 0.0, "deg", 0.0, None, MisalignmentEnvironment())
    with pytest.raises(RuntimeError, match="fc1"):
        evaluate_grid(workload, x, torch.zeros(len(x), dtype=torch.long), [still])
    with torch.no_grad():
        ideal = {name: layer.transfer() for name, layer in workload.layers().items()}
        seen: dict[str, list[Tensor]] = {name: [] for name in ideal}
        for cell in [cells[0], cells[4], cells[40], cells[-5], cells[-1]]:
            device = workload.draw_device(cell.severity, cell.device_seed, cell.law)
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
    assert workload.training_device(1).severity == workload.training_severity == 0.1
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
    assert found["training_severity"] == 0.1
    assert found["sharpness_severity"] == 0.25
    assert len(found["grid"]) == 48 + 44 + 8
    first = {**NOMINAL, "rotation_deg": -misalignment(cls.layout, 0.4)["rotation_deg"]}
    assert found["grid"][0]["environment"] == first
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
