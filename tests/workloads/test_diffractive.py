from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.platforms.absorbers import SaturableAbsorber
from pnnbench.platforms.base import Condition, Device, Environment, operate
from pnnbench.platforms.diffractive import Detectors, Plane
from pnnbench.platforms.misalignment import FIELDS, Misalignment, MisalignmentEnvironment
from pnnbench.registry import workload_class
from pnnbench.workloads import diffractive
from pnnbench.workloads.diffractive import (
    ASSEMBLED,
    ROWS,
    SEVERITIES,
    DiffractiveDigits,
    DiffractiveMNIST,
    DiffractiveWorkload,
    optics,
)
from pnnbench.workloads.grid import Cell
from pnnbench.workloads.grid import test_devices as seeds_of_test_devices
from pnnbench.workloads.misaligned import ALONE

NOMINAL = MisalignmentEnvironment().as_dict()


def images(cls: type[DiffractiveWorkload], count: int) -> Tensor:
    found = DataModule(load("digits")).train_tensors()[0][:count]
    if cls.data == "digits":
        return found
    return F.interpolate(found, (28, 28), mode="bilinear").clamp(0, 1)


def offsets_of(environment: Environment) -> list[float]:
    found = environment.as_dict()
    return [round(found[k] - NOMINAL[k], 6) for k in FIELDS]


def offsets(cell: Cell) -> dict[str, float]:
    """What a cell misaligns, and by how much."""
    found = cell.environment.as_dict()
    return {k: round(found[k] - NOMINAL[k], 6) for k in FIELDS if found[k] != NOMINAL[k]}


@pytest.fixture(scope="module", params=[DiffractiveDigits, DiffractiveMNIST])
def workload(request: pytest.FixtureRequest) -> DiffractiveWorkload:
    return request.param(0)


def tiers(workload: DiffractiveWorkload) -> list[str]:
    return list(workload.tiers)


def test_they_are_registered(workload: DiffractiveWorkload) -> None:
    assert workload_class(workload.name) is type(workload)
    assert workload.platform == "diffractive"
    assert {"smoke", "quick"} <= set(tiers(workload))
    with pytest.raises(UserError, match="papper"):
        workload.tier("papper")


def test_the_tiers() -> None:
    assert list(DiffractiveDigits.tiers) == ["smoke", "quick"]
    assert list(DiffractiveMNIST.tiers) == ["smoke", "quick", "search", "standard", "paper"]
    for cls, tier, n, tested in [
        (DiffractiveDigits, "quick", 20, None),
        (DiffractiveMNIST, "standard", 20, 1_000),
        (DiffractiveMNIST, "paper", 100, None),
    ]:
        assert cls.tier(tier).n_devices == n
        assert cls.tier(tier).train_images is None
        assert cls.tier(tier).test_images == tested
    for cls in (DiffractiveDigits, DiffractiveMNIST):
        assert all(cls.tier(name).epochs >= 5 for name in cls.tiers if name != "smoke")


def groups(workload: DiffractiveWorkload) -> set[tuple[Any, ...]]:
    """What is measured on one device or several."""
    cells = workload.perturbation_grid("smoke")
    return {(c.axis, c.level, c.severity, c.environment, c.counts) for c in cells}


def displacement(workload: DiffractiveWorkload, cell: Cell) -> dict[str, float]:
    """How far a cell moves the positions on a mask by each parameter, in um, by counting them."""
    n, pixel, _ = workload.sampling
    line = torch.arange(n, dtype=torch.float64)
    found = {}
    for name, value in offsets(cell).items():
        place = MisalignmentEnvironment(**{name: NOMINAL[name] + value}).as_dict()
        fields = {k: torch.tensor([v], dtype=torch.float64) for k, v in place.items()}
        at_y, at_x = Misalignment(**fields).sources((n, n), line[:, None], line[None])
        square = (at_y[0] - line[:, None]) ** 2 + (at_x[0] - line) ** 2
        found[name] = pixel * float(square.mean().sqrt())
        if name == "scale":
            found[name] *= place["scale"]  # the mask moves, not the light
        if name == "rotation_deg":  # a chord is shorter than its arc
            half = math.radians(value) / 2
            found[name] *= abs(half) / abs(math.sin(half))
    return found


def test_the_grid_goes_both_ways_in_every_misalignment(workload: DiffractiveWorkload) -> None:
    places = {(g[0], g[4], *(offsets_of(g[3]))) for g in groups(workload)}
    assert {
        (axis, counts, *(-v if v else v for v in moved)) for axis, counts, *moved in places
    } == (places)
    for tier in tiers(workload):
        n = workload.tier(tier).n_devices
        cells = workload.perturbation_grid(tier)
        assert {c.device_seed for c in cells} == {None, *seeds_of_test_devices(n)}
        for cell in cells:
            moves = offsets(cell)
            if cell.axis == "device":
                assert moves == {}
                assert (cell.severity, cell.unit) == (cell.level, "x tolerance")
                assert cell.counts == (cell.level in SEVERITIES)
                continue
            by_devices = cell.counts and isinstance(workload, DiffractiveDigits)
            assert cell.severity == (ASSEMBLED if by_devices else 0.0)
            assert (cell.device_seed is None) == (not by_devices)
            if cell.axis == "rotation_and_shift":
                assert set(moves) == {"rotation_deg", "shift_y_px"}
            elif cell.axis != "beyond":
                field, _ = ALONE[cell.axis]
                level = cell.level / 100 if field == "scale" else cell.level
                assert moves == pytest.approx({field: level}, abs=1e-6)
        axes = {c.axis for c in cells if c.counts}
        assert axes == {*ALONE, "rotation_and_shift", "beyond", "device"}
        met = Counter((c.level, c.environment) for c in cells if c.device_seed is not None)
        assert set(met.values()) == {n}
        assert len({(c.severity, c.device_seed, c.environment) for c in cells}) == len(cells)


def test_training_covers_half_of_the_tests_and_no_level_is_its_end(
    workload: DiffractiveWorkload,
) -> None:
    end = workload.misalignments.end
    assert set(workload.environment_ranges) == set(FIELDS)
    for cell in workload.perturbation_grid("smoke"):
        if cell.axis == "device":
            continue
        moved = displacement(workload, cell)
        if cell.axis == "beyond":
            assert min(moved.values()) > 1.05 * end
            assert {round(v / end / cell.level, 2) for v in moved.values()} == {1.0}
        else:
            assert max(moved.values()) < 0.95 * end
        if cell.axis == "rotation_and_shift":
            assert list(moved.values()) == pytest.approx([cell.level] * 2, rel=2e-3)
        for name, value in offsets(cell).items():
            share = abs(value) / workload.environment_ranges[name]
            assert share == pytest.approx(moved[name] / end, rel=2e-3)


def test_every_misalignment_within_the_grid_leaves_the_light_to_the_masks(
    workload: DiffractiveWorkload,
) -> None:
    """Within the frame of a moved mask as much light gets through as when it is aligned."""

    @settings(max_examples=12, deadline=None)
    @given(
        rotation=st.floats(-30, 30),
        x=st.floats(-40, 40),
        y=st.floats(-40, 40),
        scale=st.floats(0.85, 1.15),
        seed=st.integers(0, 10**6),
    )
    def holds(rotation: float, x: float, y: float, scale: float, seed: int) -> None:
        n, pixel, _ = workload.sampling
        place = MisalignmentEnvironment(rotation, x / pixel, y / pixel, scale)
        condition = Condition(workload.draw_device(1.0, seed), place)
        stack: Any = workload.eval().network.stack
        with torch.no_grad(), operate(workload.network, [condition]):
            power = stack.transfer().abs().square()
        # What the mask covers wherever its own errors (severity 1) have put it.
        half = 128.0 * scale * 0.97 - 12.0
        at = (torch.arange(n * stack.samples) + 0.5) * pixel / stack.samples - 128.0
        c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
        dx, dy = at[None] - x, at[:, None] - y
        within = ((c * dx + s * dy).abs() < half) & ((c * dy - s * dx).abs() < half)
        assert float(within.float().mean()) > 0.2
        assert float((power[:, within].mean(-1) - 1.0).abs().max()) < 0.05
        assert float(power.max()) < 1 + 1e-4

    holds()


def test_every_cell_changes_every_mask(workload: DiffractiveWorkload) -> None:
    seeds = (None, seeds_of_test_devices(1)[0])
    cells = [c for c in workload.perturbation_grid("smoke") if c.device_seed in seeds]
    assert len(cells) == len(groups(workload))
    x = images(type(workload), 4)
    values = evaluate_grid(workload, x, torch.zeros(4, dtype=torch.long), cells)
    assert len(values) == len(cells)  # it refuses cells that leave a layer as it was
    (stack,) = workload.layers().values()
    conditions = [
        Condition(workload.draw_device(c.severity, c.device_seed), c.environment) for c in cells
    ]
    with torch.no_grad():
        ideal = stack.transfer()
        with operate(workload.network, conditions):
            transfers = stack.transfer()
    change = (transfers - ideal).abs().mean((-2, -1))  # (cells, masks)
    assert change.shape == (len(cells), 2)
    assert float(change.min()) > 0.1
    assert len({tuple(t.real.flatten().tolist()) for t in transfers}) == len(cells)


def test_devices_have_errors_of_every_kind(workload: DiffractiveWorkload) -> None:
    seed = seeds_of_test_devices(1)[0]
    device = workload.draw_device(0.5, seed)
    assert (device.seed, device.severity) == (seed, 0.5)
    errors = device.errors["stack"]
    kinds = {"phase", "rotation_deg", "shift_x_px", "shift_y_px", "log_scale", "gap_mm"}
    assert set(errors) == kinds
    assert float(errors["phase"].std()) == pytest.approx(0.3, rel=0.05)
    drawn = [workload.draw_device(1.0, seed + k).errors["stack"] for k in range(100)]
    shifts = torch.stack([d["shift_x_px"] for d in drawn]) * workload.sampling[1]
    assert float(shifts.std()) == pytest.approx(2.0, rel=0.2)  # um on either mask
    assert abs(float(torch.corrcoef(shifts.T)[0, 1])) < 0.3
    assert workload.training_device(1).severity == workload.training_severity == 0.5
    assert not workload.draw_device(0.0, None).errors


def test_the_description_is_plain_and_complete(workload: DiffractiveWorkload) -> None:
    other = type(workload)(1)
    for tier in tiers(workload):
        text = json.dumps(workload.describe(tier), allow_nan=False)
        found = json.loads(text)
        assert found["environment_ranges"] == dict(workload.environment_ranges)
        assert found["distances_mm"] == [5.0, 4.0, 2.0, 4.0, 5.0]
        assert found["focal_mm"] == 5.0
        assert found["training_severity"] == 0.5
        assert len(found["grid"]) == len({g[:4] for g in groups(workload)})
        assert found["test_devices"] == seeds_of_test_devices(workload.tier(tier).n_devices)
        assert found["tier"]["batch_size"] == workload.tier(tier).batch_size
        (stack,) = found["layers"].values()
        n, pixel, _ = workload.sampling
        assert stack["plane"]["n"] * stack["plane"]["pixel_um"] == n * pixel == 256.0
        assert stack["plane"]["padding"] >= 2
        assert stack["gaps_mm"] == [2.0]
        assert (stack["sampling"], stack["surroundings"]) == ("bilinear", "opaque")
        assert stack["samples"] == {"training": 1, "deployed": workload.deployed_samples}
        assert workload.deployed_samples >= 2
        assert stack["absorber"]["type"] == "SaturableAbsorber"
        assert found["n_controls"] == 2 * n * n
        assert found["n_digital"] == 0
        assert json.dumps(other.describe(tier), allow_nan=False) == text


def test_controls_are_the_phases_and_nothing_else(workload: DiffractiveWorkload) -> None:
    assert list(workload.controls()) == ["network.stack.phase"]
    assert not workload.digital_parameters()
    assert [n for n, _ in workload.named_parameters()] == ["network.stack.phase"]
    # Fixed optics are built, not stored with a checkpoint.
    assert set(workload.state_dict()) == {"network.stack.phase", "network.stack.full_scale"}


def test_the_forward_pass(workload: DiffractiveWorkload) -> None:
    x = images(type(workload), 5)
    workload.eval()
    with torch.no_grad():
        h = workload.prefix(x)
        out = workload(x)
        assert torch.equal(workload.physical(h), out)
        m = workload.sampling[0] // 2
        assert h.shape == (5, m, m)
        torch.testing.assert_close(h.square().sum((1, 2)), torch.ones(5))
        assert out.shape == (5, 10)
        # Logits are shares of the detected power, times ten.
        torch.testing.assert_close(out.sum(1), torch.full((5,), 10.0), rtol=0, atol=1e-4)
        assert float(out.min()) >= 0.0
        net: Any = workload.network
        for imaging in (net.imaging, net.fine_imaging):
            power = imaging(h).abs().square().sum((1, 2))
            assert bool((power <= 1 + 1e-4).all())
            assert bool((power > 0.9).all())  # the input fits through the optics
        # An image half as bright carries the same light, amplitudes being scaled to power 1.
        torch.testing.assert_close(workload(0.5 * x), out, rtol=1e-3, atol=1e-4)
        dark = workload(torch.zeros_like(x[:1]))
        assert bool(torch.isfinite(dark).all())


def test_images_in_reach_the_first_mask_as_light_would(workload: DiffractiveWorkload) -> None:
    n = workload.sampling[0]
    x = images(type(workload), 2)
    coarse = optics(*workload.sampling)
    plane, imaging = coarse.plane, coarse.imaging
    pixels = F.interpolate(x, (n // 2, n // 2), mode="bilinear", align_corners=False)[:, 0]
    field = torch.zeros(2, n, n, dtype=torch.complex128)
    field[:, n // 4 : 3 * n // 4, n // 4 : 3 * n // 4] = pixels.double().sqrt() + 0j
    field = field / field.abs().square().sum((1, 2), keepdim=True).sqrt()
    exact = torch.complex128
    for element in (plane.gap(5.0, exact), plane.lens(5.0, exact), plane.gap(4.0, exact)):
        field = element(field)
    mine: Any = workload.network.imaging
    found = mine(workload.prefix(x))
    # The workload may pad its fixed optics more than its planes.
    assert float((found - field).norm() / field.norm()) < 1e-2
    assert torch.equal(imaging.matrix, mine.matrix)
    assert imaging is not mine  # a change of one workload leaves the others alone


def test_gradients_reach_every_pixel_of_the_masks() -> None:
    workload = DiffractiveDigits(0)
    out = workload(images(DiffractiveDigits, 8))
    workload.loss(out, (out, torch.arange(8))).backward()
    gradient = workload.network.stack.phase.grad
    assert bool(gradient.isfinite().all())
    assert float((gradient != 0).float().mean()) == 1.0


def test_a_first_use_in_inference_mode_leaves_later_gradients() -> None:
    diffractive._optics.cache_clear()
    with torch.inference_mode():
        DiffractiveDigits(0)
    workload = DiffractiveDigits(0)
    out = workload(images(DiffractiveDigits, 2))
    workload.loss(out, (out, torch.arange(2))).backward()
    assert bool(workload.network.stack.phase.grad.any())


def test_detectors_are_the_published_ones_at_half_and_at_a_quarter_of_the_samples() -> None:
    assert [(r, c) for r, columns in ROWS for c in columns] == [
        (32, 32),
        (32, 59),
        (32, 86),
        (59, 32),
        (59, 50),
        (59, 68),
        (59, 86),
        (86, 32),
        (86, 59),
        (86, 86),
    ]
    # None lies on another, and each catches light: a detector not looked at is not a class.
    for cls, side in ((DiffractiveDigits, 3), (DiffractiveMNIST, 5)):
        n = cls.sampling[0]
        assert cls.sampling[2] == side
        corners = tuple((r * n // 128, c * n // 128) for r, columns in ROWS for c in columns)
        pixels = Detectors(corners, side).pixels(n)
        assert len(pixels.unique()) == 10 * side**2
    with torch.no_grad():
        out = DiffractiveDigits(0)(images(DiffractiveDigits, 50))
    assert len(set(out.argmax(1).tolist())) >= 2
    assert float(out.mean(0).min()) > 0.05


def test_hardware_is_the_deployed_stack_in_training_too() -> None:
    workload = DiffractiveDigits(0).train()
    x = images(DiffractiveDigits, 6)
    quiet: Any = workload.network.stack
    quiet.readout_noise = 0.0
    hardware = workload.hardware(Device.ideal())
    with torch.no_grad():
        h = workload.prefix(x)
        measured = hardware.measure(h).outputs
        trained = workload(x)
        assert workload.training
        deployed = workload.eval()(x)
    torch.testing.assert_close(measured, deployed)
    assert float((trained - deployed).abs().max()) > 0.1


def test_light_that_conditions_share_is_imaged_once_and_means_the_same() -> None:
    workload = DiffractiveDigits(0).eval()
    x = images(DiffractiveDigits, 3)
    h = workload.prefix(x)
    place = MisalignmentEnvironment(rotation_deg=1.0)
    conditions = [Condition(Device.ideal(), e) for e in (None, place)]
    with torch.no_grad(), operate(workload.network, conditions):
        same = workload.physical(h.repeat(2, 1, 1))
        other = workload.physical(torch.cat([h, h.flip(0)]))
    torch.testing.assert_close(same[:3], other[:3])
    torch.testing.assert_close(same[3:], other[3:].flip(0), rtol=1e-4, atol=1e-4)


def test_light_and_accuracy_without_absorbers_are_figures() -> None:
    workload = DiffractiveDigits(0)
    x = images(DiffractiveDigits, 40)
    stack: Any = workload.network.stack
    power: list[Tensor] = []
    with torch.no_grad():
        hook = stack.register_forward_hook(lambda _, a, out: power.append(out))
        chosen = workload.eval()(x).argmax(1)
        hook.remove()
        with stack.linear():
            linear = workload(x).argmax(1)
            # Masks alone: a field twice as strong is four times the power.
            h = torch.complex(torch.rand(1, 96, 96), torch.rand(1, 96, 96))
            torch.testing.assert_close(stack(2 * h), 4 * stack(h))
        assert isinstance(stack.absorber, SaturableAbsorber)
    light = float(power[0].sum(1).mean())
    assert 0.0 < light < 0.2
    for labels, accuracy in ((linear, 1.0), (chosen, float((linear == chosen).float().mean()))):
        assert workload.figures(x, labels) == pytest.approx(
            {"light_on_detectors": light, "accuracy_without_absorbers": accuracy}, rel=1e-5
        )


def trained(cls: type[DiffractiveWorkload], seed: int, epochs: int) -> Tensor:
    """Phases after some epochs of plain back-propagation on the model in training, on digits."""
    x, y = images(cls, 1437), DataModule(load("digits")).train_tensors()[1]
    workload = cls(seed).train()
    steps = epochs * math.ceil(len(x) / 32)
    optimizer = torch.optim.Adam(workload.parameters(), lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for some in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            workload.loss(workload(x[some]), (x[some], y[some])).backward()
            optimizer.step()
            schedule.step()
    phase: Any = workload.network.stack.phase
    return phase.detach()


class Finer:
    """The ideal deployed stack at more samples a pixel, light taken from plane to plane."""

    def __init__(self, cls: type[DiffractiveWorkload], phases: Tensor, samples: int) -> None:
        n, pixel, side = cls.sampling
        self.samples, self.plane = samples, Plane(n, pixel).finer(samples)
        fine = self.plane
        self.before = [
            fine.gap(5.0, areas=1, limited=True),
            fine.lens(5.0),
            fine.gap(4.0, areas=1, limited=True),
        ]
        self.between = fine.gap(2.0, areas=2, limited=True)
        self.behind = [
            fine.gap(4.0, areas=1, limited=True),
            fine.lens(5.0),
            fine.gap(5.0, limited=True),
        ]
        corners = tuple((r * n // 128, c * n // 128) for r, columns in ROWS for c in columns)
        self.pixels = Detectors(corners, side).finer(samples).pixels(fine.n)
        self.masks = self.onto(torch.polar(torch.ones_like(phases), phases))

    def onto(self, shown: Tensor) -> Tensor:
        return shown.repeat_interleave(self.samples, -2).repeat_interleave(self.samples, -1)

    def __call__(self, amplitude: Tensor) -> Tensor:
        absorber, edge = SaturableAbsorber(), self.plane.n // 4
        field = F.pad(self.onto(amplitude) / self.samples, (edge,) * 4).to(torch.complex64)
        for element in self.before:
            field = element(field)
        field = self.between(absorber(field * self.masks[0]))
        field = absorber(field * self.masks[1])
        for element in self.behind:
            field = element(field)
        power = field.abs().square().flatten(1)[:, self.pixels].unflatten(1, (10, -1)).sum(-1)
        return 10 * power / power.sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("cls", "networks"),
    [
        pytest.param(DiffractiveDigits, 4, marks=pytest.mark.slow),
        pytest.param(DiffractiveMNIST, 2, marks=pytest.mark.slow),
    ],
)
def test_twice_as_many_samples_change_the_accuracy_by_less_than_a_point(
    cls: type[DiffractiveWorkload], networks: int
) -> None:
    """Image by image, against light taken from plane to plane; one sample alone would not do."""
    x, y = images(cls, 500), DataModule(load("digits")).train_tensors()[1][:500]
    workload = cls(0)
    stack: Any = workload.network.stack
    changes = []
    for seed in range(networks):
        phases = trained(cls, seed, 6)
        stack.phase.data.copy_(phases)
        finer = Finer(cls, phases, 2 * workload.deployed_samples)
        with torch.no_grad():
            h = workload.eval().prefix(x)
            deployed = torch.cat([workload.physical(some) for some in h.split(50)])
            twice = torch.cat([finer(some) for some in h.split(50)])
            one = torch.cat([workload.train()(some) for some in x.split(50)])
        assert float((deployed.argmax(1) == y).float().mean()) > 0.5
        found = (deployed.argmax(1) == y).double() - (twice.argmax(1) == y).double()
        changes.append(100 * float(found.mean()))
        assert float((deployed - twice).square().mean().sqrt()) < 0.1
        assert float((one - twice).square().mean().sqrt()) > 0.2
    assert abs(sum(changes) / len(changes)) < 1.0
