"""The one source of devices: test grid, training, validation and sharpness alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.methods.pat import PAT
from pnnbench.platforms.base import Condition, Device
from pnnbench.platforms.measured import UNIT, MeasuredDevices
from pnnbench.platforms.sources import DRAWN
from pnnbench.running.measuring import measure_job_sharpness, measure_training_device
from pnnbench.seeds import FIRST_TEST_DEVICE, FIRST_VALIDATION_DEVICE
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

#: Device -> detuning in HWHM of all its rings.
CHIPS = {"one": ("train", 0.1), "two": ("validation", 0.2), "three": ("test", 0.3)}


def chips(folder: Path, **roles: tuple[str, float]) -> MeasuredDevices:
    lines = ["device,role,row,column,detuning_hwhm"]
    for name, (role, value) in (roles or CHIPS).items():
        lines.append(f"{name},{role},0,0,{value}")
    path = folder / "chips.csv"
    path.write_text("\n".join(lines) + "\n")
    return MeasuredDevices.read(path)


@pytest.fixture
def workload(tmp_path: Path) -> MRRDigits:
    workload = MRRDigits(0)
    workload.devices = chips(tmp_path)
    return workload


def detuning(device: Device) -> float:
    (value,) = {round(float(v), 6) for v in device.errors["fc1"]["detuning"].flatten()}
    return value


def test_devices_are_drawn_unless_they_are_measured() -> None:
    workload = MRRDigits(0)
    assert workload.devices is DRAWN
    drawn = Device.draw(workload.network, 1.0, FIRST_TEST_DEVICE)
    found = workload.draw_device(1.0, FIRST_TEST_DEVICE)
    assert bool((drawn.errors["fc1"]["detuning"] == found.errors["fc1"]["detuning"]).all())
    assert {"axes", "devices"}.isdisjoint(workload.describe("smoke"))


def test_grid_training_and_validation_meet_the_devices_of_their_role(workload: MRRDigits) -> None:
    assert detuning(workload.draw_device(1.0, FIRST_TEST_DEVICE)) == 0.3
    assert detuning(workload.draw_device(1.0, FIRST_VALIDATION_DEVICE)) == 0.2
    assert {detuning(workload.training_device(number)) for number in range(5)} == {0.1}
    method = PAT()
    method.attach(workload)
    workload.train()
    with pytest.raises(UserError, match="is a test device"):
        workload.draw_device(1.0, FIRST_TEST_DEVICE)


def test_the_grid_scales_what_was_measured_and_says_so(workload: MRRDigits) -> None:
    cells = workload.cells("smoke")
    assert {cell.source for cell in cells} == {"measured"}
    assert {cell.device_seed for cell in cells} == {FIRST_TEST_DEVICE}
    along = [cell for cell in cells if cell.axis == "device"]
    assert {cell.unit for cell in along} == {UNIT}
    assert 1.0 in {cell.level for cell in along}
    assert along[0].as_dict()["source"] == "measured"
    for cell in along:
        assert detuning(workload.draw_device(cell.severity, cell.device_seed)) == pytest.approx(
            0.3 * cell.severity, abs=2e-6
        )
    described = workload.describe("smoke")
    assert described["test_devices"] == [FIRST_TEST_DEVICE]
    assert described["devices"]["train"] == ["one"]


def test_the_axes_of_the_environment_keep_their_unit(workload: MRRDigits) -> None:
    """Of which one level is as large as the severity at which it is met."""
    found = [cell for cell in workload.cells("smoke") if cell.axis != "device"]
    assert any(cell.level == cell.severity for cell in found)
    drawn = {(c.axis, c.level): c.unit for c in MRRDigits(0).cells("smoke")}
    assert all(cell.unit == drawn[cell.axis, cell.level] for cell in found)


def test_where_severities_are_a_spread_one_is_the_training_devices(tmp_path: Path) -> None:
    path = tmp_path / "mesh.csv"
    rows = "\n".join(f"a,{i},0.01" for i in range(120))
    path.write_text(f"device,element,theta_rad\n{rows}\n")
    workload = MZIDigits(0)
    workload.devices = MeasuredDevices.read(path)
    cells = workload.cells("smoke")
    assert {cell.axis for cell in cells} == {"device"}
    assert {cell.level for cell in cells if not cell.severity - 1.0} == {1.0}
    assert not workload.has_training_device(0)
    with pytest.raises(UserError, match="0 for train"):
        workload.training_device(0)


def test_sharpness_and_training_device_are_measured_as_they_are(workload: MRRDigits) -> None:
    data = DataModule("digits", batch_size=32, limit_train=64, limit_test=20, holdout=20)
    found = measure_training_device(workload, *data.test_tensors(), 3)
    assert (found["severity"], found["unit"]) == (1.0, UNIT)
    config = {"tier": {"sharpness_images": 16}, "test_devices": [FIRST_TEST_DEVICE]}
    figures = measure_job_sharpness(workload, data, config)
    assert figures["device_increase"] is not None
    assert workload.sharpness_point == (1.0, UNIT)


def test_the_black_box_is_the_measured_device(workload: MRRDigits) -> None:
    data = DataModule("digits", batch_size=32, limit_test=8)
    images, _ = data.test_tensors()
    workload.eval()
    box = workload.hardware(workload.training_device(0))
    device = Device({n: {"detuning": 0 * x.current + 0.1} for n, x in workload.layers().items()})  # type: ignore[operator]
    other = workload.hardware(Condition(device).device)
    h = workload.prefix(images)
    for one, two in zip(box.measure(h).outputs, other.measure(h).outputs, strict=True):
        assert bool((one - two).abs().max() < 1e-4)


def test_devices_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown column 'detuning_hwhm'[\s\S]*theta_rad"):
        MZIDigits(0).devices = chips(tmp_path)
