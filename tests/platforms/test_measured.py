"""Measured devices: both kinds of files, roles, tiles, units, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import FABRICATION, OFFSETS, Condition, operate
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.interferometer import MAX_IMBALANCE
from pnnbench.platforms.measured import MeasuredDevice, MeasuredDevices, split
from pnnbench.platforms.mrr import MRRConv2d, MRRLinear, RingCalibration
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.platforms.mzi_layers import MZILinear
from pnnbench.seeds import (
    FIRST_TEST_DEVICE,
    FIRST_TRAINING_DEVICE,
    FIRST_VALIDATION_DEVICE,
)

#: The four measured tuning curves: b, d, I0 in mA and h in mA^2 of w = b - d / (1 + ((I^2 - I0^2) /
#: h)^2).
RINGS = {
    "00": (1.021, 1.995, 4.573, 4.57),
    "03": (1.100, 2.053, 4.737, 5.98),
    "12": (1.175, 2.203, 4.005, 4.82),
    "15": (1.168, 2.216, 4.037, 3.95),
}
HEAD = "device,role,row,column,resonance_nm,hwhm_nm,bias,depth"


def ring_rows(device: str, role: str) -> list[str]:
    """The four rings as a bank of two by two."""
    c = RingCalibration()
    rows = []
    for i, (b, d, dip, width) in enumerate(RINGS.values()):
        resonance = c.rest_detuning_nm - c.tuning * dip**2
        numbers = (resonance, c.tuning * width, b - c.bias, d - c.depth)
        rows.append(",".join([device, role, str(i // 2), str(i % 2), *map(repr, numbers)]))
    return rows


def written(folder: Path, *lines: str, name: str = "rings.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def transfer(network: nn.Module, source: MeasuredDevices, seed: int, severity: float = 1.0) -> Any:
    device = source.device(network, severity, seed, FABRICATION)
    with torch.no_grad(), operate(network, [Condition(device)]):
        return [layer.transfer() for layer in network.children()]  # type: ignore[operator]


def test_four_measured_rings_have_their_curves_on_every_tile(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD, *ring_rows("chip", "test"))
    source = MeasuredDevices.read(path)
    network = nn.Sequential(MRRLinear(5, 3), MRRConv2d(1, 2, 3))
    source.check(network)
    curves = list(RINGS.values())
    for layer, weight in zip(
        network.children(), transfer(network, source, FIRST_TEST_DEVICE), strict=True
    ):
        current = layer.get_parameter("current").detach().flatten(1)
        for i, row in enumerate(weight.flatten(1)):
            for j, found in enumerate(row):
                b, d, dip, width = curves[2 * (i % 2) + j % 2]
                expected = b - d / (1 + ((float(current[i, j]) ** 2 - dip**2) / width) ** 2)
                assert float(found) == pytest.approx(expected, abs=1e-4)


def test_a_bank_of_the_calibration_may_be_a_flat_list_and_each_weight_may_be_measured(
    tmp_path: Path,
) -> None:
    bank = torch.arange(16.0) / 100
    lines = ["device,role,layer,element,detuning_hwhm"]
    lines += [f"a,test,0,{i},{float(v)!r}" for i, v in enumerate(bank)]
    lines += [f"a,test,1,{i},{i / 100!r}" for i in range(6)]
    source = MeasuredDevices.read(written(tmp_path, *lines))
    network = nn.Sequential(MRRLinear(6, 5), MRRLinear(3, 2))
    errors = source.device(network, 1.0, FIRST_TEST_DEVICE, FABRICATION).errors
    tiled = bank.view(4, 4).repeat(2, 2)[:5, :6]
    torch.testing.assert_close(errors["0"]["detuning"], tiled)
    torch.testing.assert_close(errors["1"]["detuning"], (torch.arange(6.0) / 100).view(2, 3))


def test_npz_and_csv_and_python_are_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    theta, loss = rng.normal(size=(3, 6)), rng.uniform(0, 0.5, (3, 6))
    np.savez(
        tmp_path / "mesh.npz",
        devices=np.array(["a", "b", "c"]),
        roles=np.array(["test", "train", "test"]),
        theta_rad=theta,
        **{"0/loss_db": loss},
    )
    lines = ["device,role,layer,element,theta,loss_db", "units,,,,rad,dB"]
    for device, role, t, x in zip("abc", ("test", "train", "test"), theta, loss, strict=True):
        lines += [
            f"{device},{role},0,{i},{a!r},{b!r}"
            for i, (a, b) in enumerate(zip(t.tolist(), x.tolist(), strict=True))
        ]
    devices = [
        MeasuredDevice(
            name,
            role,  # type: ignore[arg-type]
            {"0": {"theta_rad": torch.tensor(t), "loss_db": torch.tensor(x)}},
        )
        for name, role, t, x in zip("abc", ("test", "train", "test"), theta, loss, strict=True)
    ]
    sources = [
        MeasuredDevices.read(tmp_path / "mesh.npz"),
        MeasuredDevices.read(written(tmp_path, *lines, name="mesh.csv")),
        MeasuredDevices(devices),
    ]
    network = nn.Sequential(MZIMesh(4))
    for seed in (FIRST_TEST_DEVICE, FIRST_TEST_DEVICE + 1, FIRST_TRAINING_DEVICE + 5):
        found = [s.device(network, 1.0, seed, FABRICATION).errors["0"] for s in sources]
        for errors in found[1:]:
            assert {k: v.tolist() for k, v in errors.items()} == {
                k: v.tolist() for k, v in found[0].items()
            }
    # They say it in other layers and with other names of columns.
    assert len({source.fingerprint for source in sources}) == 3


@given(count=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_the_split_has_tests_first_of_all_and_every_device_one_role(count: int) -> None:
    roles = split(count)
    assert len(roles) == count
    assert roles.count("test") >= max(1, roles.count("train"), roles.count("validation"))
    assert (roles.count("train") > 0) == (count > 1)
    assert (roles.count("validation") > 0) == (count > 2)
    assert roles == sorted(roles, key=["train", "validation", "test"].index)


def test_no_training_device_is_a_test_device(tmp_path: Path) -> None:
    lines = ["device,element,crosstalk"] + [f"d{i},0,{i / 100}" for i in range(8)]
    source = MeasuredDevices.read(written(tmp_path, *lines))
    network = nn.Sequential(MRRLinear(2, 2))

    def met(first: int, count: int) -> set[float]:
        seeds = source.having(range(first, first + count))
        drawn = [source.device(network, 1.0, seed, FABRICATION) for seed in seeds]
        return {round(float(d.errors["0"]["crosstalk"]), 6) for d in drawn}

    assert met(FIRST_TRAINING_DEVICE, 50) == {0.0, 0.01}  # they go round
    assert met(FIRST_VALIDATION_DEVICE, 50) == {0.02, 0.03}
    assert met(FIRST_TEST_DEVICE, 50) == {0.04, 0.05, 0.06, 0.07}
    with pytest.raises(UserError, match=r"no device for the seed[\s\S]*2 for train"):
        source.device(network, 1.0, FIRST_TEST_DEVICE + 4, FABRICATION)


def test_severity_scales_what_was_measured_and_cuts_only_more_of_it(tmp_path: Path) -> None:
    lines = ["device,role,element,linewidth,detuning_hwhm"]
    lines += [f"a,test,{i},{(-0.8, 0.5, -0.2, 0.1)[i]},{i / 10}" for i in range(4)]
    source = MeasuredDevices.read(written(tmp_path, *lines))
    network = nn.Sequential(MRRLinear(2, 2))

    def errors(severity: float) -> dict[str, Tensor]:
        return dict(source.device(network, severity, FIRST_TEST_DEVICE, FABRICATION).errors["0"])

    one = errors(1.0)
    torch.testing.assert_close(one["linewidth"], torch.tensor([[-0.8, 0.5], [-0.2, 0.1]]))
    torch.testing.assert_close(errors(0.5)["linewidth"], one["linewidth"] / 2)
    torch.testing.assert_close(errors(3.0)["detuning"], one["detuning"] * 3)
    torch.testing.assert_close(errors(3.0)["linewidth"], torch.tensor([[-0.7, 1.5], [-0.6, 0.3]]))
    assert not any(bool(value.count_nonzero()) for value in errors(0.0).values())
    with pytest.raises(UserError, match="no errors of the kind 'offsets'"):
        source.device(network, 1.0, FIRST_TEST_DEVICE, OFFSETS)


@pytest.mark.parametrize(("layer", "name"), [(MZIMesh(4), "e_l"), (MZILinear(4, 4), "u_e_l")])
def test_imbalances_that_are_scaled_up_are_cut_on_meshes_and_tiles(layer: Any, name: str) -> None:
    network = nn.Sequential(layer)
    measured = MeasuredDevice("a", "test", {"0": {name: torch.full((6,), 0.6)}})
    source = MeasuredDevices([measured])
    device = source.device(network, 2.0, FIRST_TEST_DEVICE, FABRICATION)
    assert torch.equal(device.errors["0"][name].flatten(), torch.full((6,), MAX_IMBALANCE))
    with torch.no_grad(), operate(network, [Condition(device)]):
        assert bool(torch.isfinite(torch.view_as_real(layer.transfer() + 0j)).all())


def test_units_may_be_in_a_line_and_comments_and_blanks_are_left_out(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "# measured on a bench",
        "device,element,rotation_deg,weight",
        "",
        "units,,deg,full modulation",
        *(f"a,{i},{'0.5' if i == 0 else ''},0.01" for i in range(8)),
    )
    network = nn.Sequential(FreeSpaceLayer(4, 2))
    source = MeasuredDevices.read(path)
    errors = source.device(network, 1.0, FIRST_TEST_DEVICE, FABRICATION).errors["0"]
    assert errors["rotation_deg"].shape == ()
    assert errors["weight"].shape == (2, 4)


def test_only_what_a_file_says_is_in_its_fingerprint(tmp_path: Path) -> None:
    head, *rows = "device,role,element,bias", "a,train,0,1", "b,test,0,2"

    def fingerprint(*lines: str) -> str:
        return MeasuredDevices.read(written(tmp_path, *lines)).fingerprint

    plain = fingerprint(head, *rows)
    assert fingerprint("# measured on a bench", head, "", rows[0], "b, test,0,2.00") == plain
    assert fingerprint("element,role,device,bias", "0,train,a,1", "0,test,b,2") == plain
    assert fingerprint(head, rows[0], "b,test,0,2.01") != plain
    assert fingerprint(head, rows[0], "c,test,0,2") != plain
    assert fingerprint(head, "a,validation,0,1", rows[1]) != plain


def test_one_value_a_device_may_stand_in_the_first_line_of_many(tmp_path: Path) -> None:
    lines = ["device,bias,crosstalk", *(f"a,{i},{'0.1' if i == 0 else ''}" for i in range(16))]
    (device,) = MeasuredDevices.read(written(tmp_path, *lines)).devices
    assert {name: len(values) for name, values in device.columns["*"].items()} == {
        "bias": 16,
        "crosstalk": 1,
    }


def test_a_role_without_devices_is_named(tmp_path: Path) -> None:
    source = MeasuredDevices.read(
        written(tmp_path, "device,role,element,crosstalk", "a,test,0,0.1")
    )
    with pytest.raises(UserError, match="no device has the role 'train', which methods in situ"):
        source.device(nn.Sequential(MRRLinear(2, 2)), 1.0, FIRST_TRAINING_DEVICE, FABRICATION)


RING = nn.Sequential(MRRLinear(8, 8))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["device,element,detunning_hwhm", "a,0,1"], r"unknown column 'detunning_hwhm'; did you"),
        (["device,element,detuning", "a,0,1"], r"says no unit[\s\S]*detuning_hwhm"),
        (["device,element,detuning", "units,,nm", "a,0,1"], r"is in 'nm'[\s\S]*HWHM"),
        (["device,element,bias", "a,0,1", "a,1,1", "a,2,1"], r"3 elements[\s\S]*a bank of 4 x 4"),
        (["device,element,bias", "a,0,1", "a,2,1"], r"2 of 3 elements[\s\S]*missing is 1"),
        (["device,row,column,bias", "a,0,0,1", "a,1,1,1"], r"missing is row 0, column 1"),
        (["device,row,column,bias", "a,0,0,1", "a,999999,999999,1"], r"2 of 10{12} elements"),
        (["device,element,bias", "a,0,nan"], r"line 2, column 'bias': 'nan' is no finite"),
        (["device,element,bias", "a,0,big"], r"'big' is no finite number"),
        (["device,element,bias", "a,x,1"], r"column 'element' is 'x'[\s\S]*whole number"),
        (["device,element,bias", "a,0,1", "a,0,2"], r"line 3: the element 0 comes twice"),
        (["device,element,bias", "a,0"], r"line 2 has 2 cells[\s\S]*3"),
        (["device,element,bias,bias", "a,0,1,1"], r"'bias' comes twice"),
        (["element,bias", "0,1"], r"the column 'device' is missing"),
        (["device,row,bias", "a,0,1"], r"numbered by row[\s\S]*'row' and 'column'"),
        (["device,element", "a,0"], r"no column holds a measurement"),
        (["device,role,element,bias", "a,tests,0,1"], r"unknown role 'tests'; did you mean 'tes"),
        (["device,role,element,bias", "a,train,0,1"], r"no device is for tests"),
        (["device,role,element,bias", "a,test,0,1", "a,train,1,1"], r"one role for each device"),
        (["device,layer,element,bias", "a,fc9,0,1"], r"unknown layer 'fc9'"),
        (["device,element,crosstalk", "a,0,2"], r"column 'crosstalk' holds 2, which is physical"),
        (["device,element,resonance_nm,detuning_hwhm", *(f"a,{i},1,1" for i in range(16))],
         r"'detuning' is there already"),
        ([], r"is empty"),
        (["device,element,bias"], r"no device in it"),
        (["device,bias", '"a', 'b",1', "c,2"], r"line 2 is no line of CSV"),
        (["device,bias", "a,1_000"], r"line 2, column 'bias': '1_000' is no finite number"),
        (["device,bias,depth", "a,1,1", "# one failed", "a,,2", "a,3,3"],
         r"'bias': 2 of 3 elements[\s\S]*missing is 1, in line 4"),
        (["device,element,bias", "a,0,1", "b,0,1", "b,1,2"],
         r"device 'b' has 2 elements in column 'bias'[\s\S]*device 'a' has 1"),
        (["device,row,column,bias", "a,0,0,1", "a,0,1,1", "b,0,0,1", "b,1,0,2"],
         r"device 'b' has 2 x 1 elements[\s\S]*device 'a' has 1 x 2"),
        (["device,role,element,bias", "a,train,0,1", "b,validation,0,2", "c,test,0,1"],
         r"devices 'a' \(train\) and 'c' \(test\) have the same values"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_once_and_where(tmp_path: Path, lines: list[str], words: str) -> None:
    path = written(tmp_path, *lines)
    with pytest.raises(UserError, match=words):
        MeasuredDevices.read(path).check(RING)


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "a.npz"
    np.savez(path, **arrays)
    return path


def single(folder: Path) -> Path:
    """One array, under the name of an archive of several."""
    with (path := folder / "a.npz").open("wb") as file:
        np.save(file, np.zeros((2, 16)))
    return path


def damaged(folder: Path) -> Path:
    """Packed arrays of which some bytes are wrong."""
    path = folder / "a.npz"
    np.savez_compressed(path, devices=NAMES, bias=np.random.default_rng(0).normal(size=(2, 400)))
    content = bytearray(path.read_bytes())
    for place in range(600, 1200, 7):
        content[place] ^= 0xFF
    path.write_bytes(content)
    return path


NAMES = np.array(["a", "b"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: f / "none.csv", "cannot be read"),
        (lambda f: written(f, "x", name="a.txt"), r"\.csv or \.npz"),
        (lambda f: written(f, "x", name="a.npz"), "is no npz file"),
        (lambda f: damaged(f), "is no npz file"),
        (lambda f: single(f), "not a zip archive"),
        (lambda f: saved(f, bias=np.zeros((2, 16))), "'devices' is missing"),
        (lambda f: saved(f, devices=NAMES), "no array holds a measurement"),
        (lambda f: saved(f, devices=NAMES, bias=np.zeros((3, 16))), "of 2 devices"),
        (lambda f: saved(f, devices=NAMES, bias=np.array([["x"], ["y"]])), "holds <U1"),
        (lambda f: saved(f, devices=NAMES, bias=np.full((2, 16), np.inf)), "not finite"),
        (lambda f: saved(f, devices=NAMES, bias=np.eye(2, 3)), "3 elements"),
        (lambda f: saved(f, devices=NAMES, roles=np.array(["test", ""]), bias=np.zeros((2, 16))),
         "one of train"),
        (lambda f: saved(f, devices=np.array(["a", "a"]), bias=np.zeros((2, 16))), "comes twice"),
        (lambda f: saved(f, devices=np.array([{}]), bias=np.zeros((1, 16))), "plain arrays"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MeasuredDevices.read(make(tmp_path)).check(RING)
