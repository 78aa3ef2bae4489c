from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Device
from pnnbench.platforms.mzi import MZIMesh


def test_a_file_of_measured_errors_is_checked_against_a_network(tmp_path: Path) -> None:
    network, path = nn.Sequential(MZIMesh(4)), tmp_path / "measured.safetensors"
    save_file({"0/e_l": torch.full((6,), 0.1, dtype=torch.float64)}, path)
    assert set(Device.load(path, network).errors["0"]) == {"e_l"}
    for tensors, text in (
        ({"0/e_l": torch.full((6,), 1.5)}, "physically impossible"),
        ({"0/e_l": torch.zeros(5)}, r"shape \(5,\)"),
        ({"0/e": torch.zeros(6)}, "unknown device error"),
        ({"mesh/e_l": torch.zeros(6)}, "layer 'mesh', which the network lacks"),
    ):
        save_file(tensors, path)
        with pytest.raises(UserError, match=text):
            Device.load(path, network)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", b"\x08" + bytes(40)])
def test_what_is_no_device_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "device.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable device file"):
        Device.load(path)


@pytest.mark.parametrize("meta", [{"severity": "much"}, {"seed": "first"}])
def test_a_file_with_odd_metadata_is_refused(meta: dict[str, str], tmp_path: Path) -> None:
    save_file({"0/theta": torch.zeros(6)}, tmp_path / "d.safetensors", meta)
    with pytest.raises(UserError, match="not a readable device file"):
        Device.load(tmp_path / "d.safetensors")


def test_a_tensor_that_names_no_layer_is_refused(tmp_path: Path) -> None:
    save_file({"theta": torch.zeros(6)}, tmp_path / "d.safetensors")
    with pytest.raises(UserError, match="'theta' names no layer"):
        Device.load(tmp_path / "d.safetensors")


@pytest.mark.parametrize("severity", [-1.0, math.nan, 1e4])
def test_a_device_has_a_severity_that_can_be_drawn(severity: float) -> None:
    with pytest.raises(UserError, match="device severity"):
        Device({}, severity=severity)
