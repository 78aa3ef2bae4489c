from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.drivers import MAX_BITS, Driver
from pnnbench.platforms.mrr import PUBLISHED_CALIBRATION
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.workloads.base import Workload
from pnnbench.workloads.convert import physical
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.export import export_controls
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZI3MNIST, MZIDigits

from ..pretended import pretended
from .networks_of_users import images, made

SHIPPED = [MRRDigits, MZIDigits, MZI3MNIST, FreeSpaceDigits, DiffractiveDigits]


def trained(workload: Workload) -> Workload:
    """A workload whose phases have wandered off, as in a training without limits."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in workload.controls().values():
            reach = 10.0 if workload._unit("control_unit") == "rad" else 0.1
            p.add_(reach * torch.randn(p.shape, generator=generator))
    workload.project_controls()
    return workload.eval()


def given(name: str) -> Workload:
    return physical(made(), name)


@pytest.mark.parametrize(
    "make", [*SHIPPED, lambda: given("mrr"), lambda: given("mzi")], ids=lambda m: m.__name__
)
@torch.no_grad()
def test_the_transfer_is_the_trained_one(make: type[Workload]) -> None:
    workload = trained(make())
    side = 28 if make is MZI3MNIST else 8
    x = nn.functional.interpolate(images(5)[0], (side, side))
    before, settings = workload(x), {n: p.clone() for n, p in workload.controls().items()}
    exported = export_controls(workload)
    assert list(exported.controls) == list(settings)
    assert all(torch.equal(p, settings[n]) for n, p in workload.controls().items())
    for name, p in workload.controls().items():
        low, high = exported.ranges[name]
        value = exported.controls[name]
        assert value.shape == p.shape
        assert bool(((value >= low) & (value <= high)).all())
        p.copy_(value)
    torch.testing.assert_close(workload(x), before, rtol=1e-4, atol=2e-5)
    assert exported.report == ()
    if exported.units[next(iter(settings))] == "rad":
        assert any((exported.controls[n] != settings[n]).any() for n in settings)


def test_limits_and_units_are_those_of_the_platform() -> None:
    rings = export_controls(MRRDigits())
    assert set(rings.units.values()) == {"mA"}
    assert set(rings.ranges.values()) == {(0.0, 5.0)}
    space = export_controls(FreeSpaceDigits())
    assert set(space.ranges.values()) == {(-1.0, 1.0)}
    assert set(space.units.values()) == {"full modulation"}
    mesh = export_controls(MZIDigits(), low=-math.pi, high=math.pi)
    assert set(mesh.units.values()) == {"rad"}
    assert set(mesh.ranges.values()) == {(-math.pi, math.pi)}


def test_what_does_not_fit_is_cut_and_told() -> None:
    exported = export_controls(trained(MZIDigits()), high=math.pi)
    assert exported.clipped["network.mesh.theta"] == 0
    cut = exported.clipped["network.mesh.phi"]
    assert 0 < cut < exported.controls["network.mesh.phi"].numel()
    line = next(line for line in exported.report if "mesh.phi" in line)
    assert line.startswith(f"network.mesh.phi: {cut} of ")
    assert line.endswith("cut to 0 to 3.14159 rad")


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_drivers_have_so_many_steps(bits: int) -> None:
    exported = export_controls(trained(MZIDigits()), low=0.0, bits=bits)
    step = 2 * math.pi / (2**bits - 1)
    exact = export_controls(trained(MZIDigits()), low=0.0)
    for name, value in exported.controls.items():
        steps = value / step
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
        off = (value - exact.controls[name]).abs().max() if value.numel() else torch.zeros(())
        assert float(off) <= step / 2 + 1e-5
    assert len(exported.controls["network.mesh.theta"].unique()) <= 2**bits


@pytest.mark.parametrize("bits", [1, 4, 7])
@pytest.mark.parametrize(
    "make", [*SHIPPED, lambda: given("mrr"), lambda: given("mzi")], ids=lambda m: m.__name__
)
@torch.no_grad()
def test_at_so_many_bits_the_transfer_is_that_of_the_axis(make: type[Workload], bits: int) -> None:
    workload = trained(make())
    side = 28 if make is MZI3MNIST else 8
    x = nn.functional.interpolate(images(5)[0], (side, side))
    layers = list(workload.layers().values())
    place = layers[0].environment_class(control_bits=float(bits))
    exact = workload(x)
    with operate(workload.network, [Condition(Device.ideal(), place)]):
        wanted = workload(x)
    exported = export_controls(workload, bits=bits)
    for name, p in workload.controls().items():
        p.copy_(exported.controls[name])
        assert len(p.unique()) <= 2**bits * (2 if make is FreeSpaceDigits else 1)
    scale = float(exact.abs().max())
    torch.testing.assert_close(workload(x), wanted, rtol=0, atol=1e-4 * scale)
    assert float((exact - wanted).abs().max()) > 1e-3 * scale


@pytest.mark.parametrize("make", [MRRDigits, MZIDigits])
def test_settings_in_bits_are_exported_from_a_gpu_too(make: type[Workload]) -> None:
    expected = export_controls(trained(make()), bits=4).controls
    with pretended() as device:
        workload = trained(make())
        workload.to(device)
        found = export_controls(workload, bits=4).controls
        assert {value.device for value in found.values()} == {device}
        here = {name: value.cpu() for name, value in found.items()}
    for name, value in expected.items():
        assert torch.equal(here[name], value)


def test_without_a_range_it_is_the_drivers() -> None:
    workload = trained(given("mzi"))
    exported = export_controls(workload)
    for name, layer in workload.layers().items():
        for control, driver in layer.drivers().items():
            assert exported.ranges[f"network.{name}.{control}"] == (driver.low, driver.high)


@torch.no_grad()
def test_what_has_no_drivers_is_exported_as_it_is() -> None:
    class Bare(MZIMesh):
        def drivers(self) -> dict[str, Driver]:
            return {}

    workload = MZIDigits()
    workload.network.mesh = Bare(16)
    exported = export_controls(workload)
    assert set(exported.ranges.values()) == {(-math.inf, math.inf)}
    for name, p in workload.controls().items():
        assert torch.equal(exported.controls[name], p)
    with pytest.raises(UserError, match="no driver of 'theta'"):
        export_controls(workload, bits=8)
    assert set(export_controls(workload, low=0.0, bits=8).ranges.values()) == {(0.0, 2 * math.pi)}


def test_a_safetensors_file_has_settings_and_units(tmp_path: Path) -> None:
    exported = export_controls(trained(given("mzi")), bits=12)
    path = exported.save(tmp_path / "settings.safetensors")
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(exported.controls)
        for name in file.keys():  # noqa: SIM118 - not a mapping
            assert torch.equal(file.get_tensor(name), exported.controls[name])
        notes = {name: json.loads(text) for name, text in file.metadata().items()}
    assert notes["units"] == exported.units
    assert notes["bits"] == 12
    assert notes["clipped"] == exported.clipped
    assert {n: tuple(ends) for n, ends in notes["ranges"].items()} == exported.ranges


def test_a_csv_file_has_a_row_for_each_setting(tmp_path: Path) -> None:
    exported = export_controls(given("mrr"))
    path = exported.save(str(tmp_path / "settings.csv"))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(value.numel() for value in exported.controls.values())
    for row in (rows[0], rows[40], rows[-1]):
        index = tuple(int(i) for i in row["index"].split(";"))
        assert float(row["value"]) == float(exported.controls[row["control"]][index])
        assert (row["unit"], row["low"], row["high"]) == ("mA", "0.0", "5.0")


def test_a_control_without_elements_has_no_rows(tmp_path: Path) -> None:
    workload = physical(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), "mzi")
    text = export_controls(workload).save(tmp_path / "settings.csv").read_text()
    assert text.count("u_theta") == 1


def test_what_cannot_be_exported_reads(tmp_path: Path) -> None:
    workload = MRRDigits()
    for options, words in (
        ({"low": 3.0, "high": 3.0}, "high"),
        ({"bits": 0}, "bits"),
        ({"bits": 2.5}, "bits"),
        ({"bits": MAX_BITS + 1}, "bits"),
    ):
        with pytest.raises(UserError, match=words):
            export_controls(workload, **options)  # type: ignore[arg-type]
    published = physical(made(), "mrr", calibration=PUBLISHED_CALIBRATION)
    with pytest.raises(UserError, match="has no levels"):
        export_controls(published, bits=8)
    exported = export_controls(published)
    with pytest.raises(UserError, match="no file of settings"):
        exported.save(tmp_path / "settings.txt")
    with pytest.raises(UserError, match="cannot be written"):
        exported.save(tmp_path / "nowhere" / "settings.csv")
