from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pnnbench.data import ImageDataModule, load
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import evaluate_grid
from pnnbench.platforms.absorbers import Transparent
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.diffractive import Detectors
from pnnbench.platforms.misalignment import FIELDS, MisalignmentEnvironment
from pnnbench.registry import workload_class
from pnnbench.workloads.diffractive import (
    JOINT,
    ROTATIONS_DEG,
    ROWS,
    SCALES,
    SEVERITIES,
    SHIFTS_PX,
    DiffractiveDigits,
    DiffractiveMNIST,
    DiffractiveWorkload,
    optics,
)
from pnnbench.workloads.grid import Cell
from pnnbench.workloads.grid import test_devices as seeds_of_test_devices

#: Points of the grid, of which those of the device axis stand for several devices each.
N_CELLS = (
    2 * (len(ROTATIONS_DEG) + 2 * len(SHIFTS_PX) + len(SCALES))
    + 4 * len(JOINT) ** 2
    + len(SEVERITIES)
)
NOMINAL = MisalignmentEnvironment().as_dict()


def images(cls: type[DiffractiveWorkload], count: int) -> Tensor:
    found = ImageDataModule(load("digits")).train_tensors()[0][:count]
    if cls.data == "digits":
        return found
    return F.interpolate(found, (28, 28), mode="bilinear").clamp(0, 1)


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
    assert list(DiffractiveMNIST.tiers) == ["smoke", "quick", "standard", "paper"]
    for cls, tier, n, tested in [
        (DiffractiveDigits, "quick", 20, None),
        (DiffractiveMNIST, "standard", 20, 2_000),
        (DiffractiveMNIST, "paper", 100, None),
    ]:
        assert cls.tier(tier).n_devices == n
        assert cls.tier(tier).train_images is None
        assert cls.tier(tier).test_images == tested
    for cls in (DiffractiveDigits, DiffractiveMNIST):
        assert all(cls.tier(name).epochs >= 5 for name in cls.tiers if name != "smoke")


def test_the_grid_goes_both_ways_in_every_misalignment(workload: DiffractiveWorkload) -> None:
    for tier in tiers(workload):
        n = workload.tier(tier).n_devices
        cells = workload.perturbation_grid(tier)
        assert Counter((c.axis, c.level) for c in cells) == {
            **{("rotation", s * r): 1 for r in ROTATIONS_DEG for s in (1, -1)},
            **{
                (axis, s * d): 1
                for axis in ("shift_x", "shift_y")
                for d in SHIFTS_PX
                for s in (1, -1)
            },
            **{("scale", round(100 * s * k, 6)): 1 for k in SCALES for s in (1, -1)},
            **{("rotation_and_shift", x): 4 for x in JOINT},
            **{("device", x): n for x in SEVERITIES},
        }
        assert {c.device_seed for c in cells} == {None, *seeds_of_test_devices(n)}
        for cell in cells:
            moves = offsets(cell)
            if cell.axis == "device":
                assert moves == {}
                assert (cell.severity, cell.unit) == (cell.level, "x tolerance")
                continue
            assert (cell.severity, cell.device_seed) == (0.0, None)
            fields = {
                "rotation": {"rotation_deg": cell.level},
                "shift_x": {"shift_x_px": cell.level},
                "shift_y": {"shift_y_px": cell.level},
                "scale": {"scale": cell.level / 100},
            }
            if cell.axis in fields:
                assert moves == pytest.approx(fields[cell.axis])
        joint = [offsets(c) for c in cells if c.axis == "rotation_and_shift"]
        signed = [s * x for x in JOINT for s in (1, -1)]
        assert {(m["rotation_deg"], m["shift_y_px"]) for m in joint} == {
            (r, d) for r in signed for d in signed
        }
        assert len({(c.severity, c.device_seed, c.environment) for c in cells}) == len(cells)


def test_the_ranges_are_those_of_the_grid(workload: DiffractiveWorkload) -> None:
    cells = workload.perturbation_grid("smoke")
    for name in FIELDS:
        moves = [offsets(c).get(name, 0.0) for c in cells]
        width = workload.environment_ranges[name]
        assert (min(moves), max(moves)) == pytest.approx((-width, width))


def test_every_cell_changes_every_mask(workload: DiffractiveWorkload) -> None:
    seeds = (None, seeds_of_test_devices(1)[0])
    cells = [c for c in workload.perturbation_grid("smoke") if c.device_seed in seeds]
    assert len(cells) == N_CELLS
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
        assert len(found["grid"]) == N_CELLS
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


def test_light_on_the_detectors_is_a_figure() -> None:
    workload = DiffractiveDigits(0)
    x = images(DiffractiveDigits, 20)
    light = workload.figures(x)["light_on_detectors"]
    power: list[Tensor] = []
    with torch.no_grad():
        hook = workload.network.stack.register_forward_hook(lambda _, a, out: power.append(out))
        workload.eval()(x)
        hook.remove()
    assert light == pytest.approx(float(power[0].sum(1).mean()), rel=1e-5)
    assert 0.0 < light < 0.2


def trained(epochs: int) -> Tensor:
    """Phases after some epochs of plain back-propagation on the model in training."""
    data = ImageDataModule(load("digits"))
    x, y = data.train_tensors()
    workload = DiffractiveDigits(0).train()
    optimizer = torch.optim.Adam(workload.parameters(), lr=0.2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for some in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            workload.loss(workload(x[some]), (x[some], y[some])).backward()
            optimizer.step()
    return workload.network.stack.phase.detach()


def clean(phases: Tensor, samples: int, linear: bool = False) -> float:
    """Accuracy in percent on 1,000 digits of the deployed stack at so many samples a pixel."""
    data = ImageDataModule(load("digits"))
    x, y = (torch.cat(both) for both in zip(data.test_tensors(), data.train_tensors(), strict=True))
    x, y = x[:1000], y[:1000]
    cls = type("Sampled", (DiffractiveDigits,), {"deployed_samples": samples})
    workload = cls(0).eval()
    stack: Any = workload.network.stack
    stack.phase.data.copy_(phases)
    if linear:
        stack.absorber = Transparent()
    with torch.no_grad():
        found = torch.cat([workload(some).argmax(1) for some in x.split(200)])
    return 100 * float((found == y).float().mean())


@pytest.mark.slow
def test_more_samples_of_a_pixel_change_little_but_one_alone_would_change_much() -> None:
    phases = trained(22)
    samples = DiffractiveDigits.deployed_samples
    deployed = clean(phases, samples)
    assert deployed > 70
    assert abs(clean(phases, samples + 1) - deployed) < 1.5
    assert abs(clean(phases, 1) - deployed) > 2.0


@pytest.mark.slow
def test_the_stack_is_weakly_nonlinear() -> None:
    """Without absorbers, untrained for that, it recognises about as much."""
    phases = trained(22)
    samples = DiffractiveDigits.deployed_samples
    with_absorbers, without = clean(phases, samples), clean(phases, samples, linear=True)
    assert with_absorbers > 70
    assert abs(with_absorbers - without) < 10.0
