from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.platforms.base import Device
from pnnbench.published.measure import batch_statistics
from pnnbench.published.mzi_checkpoint import (
    at_couplers,
    load_checkpoint,
    load_error_device,
)
from pnnbench.published.printed import recorded

from .released import write
from .released_mzi import outputs, random_errors, random_model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ports", [10, 64])
@pytest.mark.parametrize("batch", [False, True])
def test_network_computes_what_the_files_say(
    tmp_path: Path, images: torch.Tensor, ports: int, batch: bool
) -> None:
    model, errors = random_model(0), random_errors(1)
    workload = load_checkpoint(write(tmp_path / "mine.npz", model)).workload(ports)
    device = load_error_device(write(tmp_path / "device.npz", errors))
    ideal = outputs(model, images, batch_statistics=batch)[:, :ports]
    expected = outputs(model, images, errors, batch_statistics=batch)[:, :ports]
    assert (ideal - expected).abs().max() > 0.1

    def found(device: Device) -> torch.Tensor:
        with torch.no_grad(), workload.operating(device):
            if not batch:
                return workload(images).double()
            with batch_statistics(workload):
                return workload(images).double()

    torch.testing.assert_close(found(Device.ideal()), ideal, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found(device), expected, rtol=1e-4, atol=1e-4)


def test_couplers_are_listed_column_by_column() -> None:
    columns, slots = np.indices((64, 32))
    values = 100 * columns + slots
    listed = at_couplers(values).tolist()
    assert len(listed) == 64 * 63 // 2
    assert listed[:33] == [*range(32), 100]
    assert listed[32 : 32 + 31] == [*range(100, 131)]
    assert listed == sorted(listed)
    assert not {100 * column + 31 for column in range(1, 64, 2)} & set(listed)


def test_entries_that_stand_for_nothing_change_nothing(
    tmp_path: Path, images: torch.Tensor
) -> None:
    model, errors = random_model(2), random_errors(3)
    first = load_checkpoint(write(tmp_path / "a.npz", model)).workload()
    device = load_error_device(write(tmp_path / "d.npz", errors))
    for name in ("mesh.theta", "mesh.phi"):
        model[name][1::2, 31] = 2.5
    model["mesh.phi"][63] = 0.7  # behind the last interferometer of its waveguides
    for name in ("d_theta", "d_phi", "e_l", "e_r"):
        errors[name][1::2, 31] = 3.0
    for name in ("epp", "enn", "epn", "enp"):
        del errors[name]
    second = load_checkpoint(write(tmp_path / "b.npz", model)).workload()
    other = load_error_device(write(tmp_path / "e.npz", errors))
    model["mesh.phi"][62] = 0.7
    third = load_checkpoint(write(tmp_path / "c.npz", model)).workload()
    with torch.no_grad():
        with first.operating(device):
            expected = first(images)
        with second.operating(other):
            assert torch.equal(second(images), expected)
        with third.operating(device):
            assert (third(images) - expected).abs().max() > 0.01


def test_recorded_values_are_found_by_name(tmp_path: Path) -> None:
    model = random_model(4)
    assert load_checkpoint(write(tmp_path / "mine.npz", model)).recorded == {}
    known = load_checkpoint(write(tmp_path / "bp.npz", model)).recorded
    assert known["error_batch"] == 68.64
    entries = recorded("mzi")
    assert entries["source"]
    quantities = set(entries["units"])
    assert all(set(entry) == quantities for entry in entries["checkpoints"].values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mesh.theta": None}, "no mesh.theta"),
        ({"fc2.bias": None, "norm3.running_var": None}, "no fc2.bias, norm3.running_var"),
        ({"mesh.theta": np.ones((32, 64))}, r"mesh.theta has shape \(32, 64\)"),
        ({"mesh.gamma": np.ones((1, 64))}, r"mesh.gamma has shape \(1, 64\)"),
        ({"mesh.phi": np.full((64, 32), np.nan)}, "mesh.phi holds values that are not finite"),
        ({"norm1.running_var": -np.ones(6)}, "norm1.running_var has negative variances"),
        ({"fc3.weight": np.ones((10, 64))}, "unknown fc3.weight"),
    ],
)
def test_wrong_models_are_user_errors(
    tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    model = {k: v for k, v in (random_model(5) | change).items() if v is not None}
    with pytest.raises(UserError, match=message) as raised:
        load_checkpoint(write(tmp_path / "m.npz", model))
    assert "m.npz" in raised.value.what


def test_batch_counts_may_be_absent(tmp_path: Path) -> None:
    model = {k: v for k, v in random_model(6).items() if "num_batches" not in k}
    assert set(load_checkpoint(write(tmp_path / "m.npz", model)).arrays) == set(model)


def shifted(name: str, by: float) -> dict[str, np.ndarray]:
    array = random_errors(7)[name].copy()
    array[4, 4] += by
    return {name: array}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"e_l": None}, "no e_l"),
        ({"d_phi": np.zeros((64, 31))}, r"d_phi has shape \(64, 31\)"),
        ({"e_r": np.full((64, 32), np.inf)}, "e_r holds values that are not finite"),
        (shifted("e_l", 1.5), r"e_l is up to 1\.\d+ in magnitude"),
        (shifted("e_r", -1.5), r"e_r is up to 1\.\d+ in magnitude"),
        (shifted("e_r", 0.01), "contradicts e_l and e_r"),
        (shifted("enp", 0.01), "enp contradicts e_l and e_r by up to 0.01"),
        ({"epp": random_errors(7)["epp"].T}, "epp contradicts e_l and e_r"),
        ({"severity": np.array(0.15)}, "unknown severity"),
    ],
)
def test_odd_devices_are_user_errors(
    tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    errors = {k: v for k, v in (random_errors(7) | change).items() if v is not None}
    with pytest.raises(UserError, match=message) as raised:
        load_error_device(write(tmp_path / "d.npz", errors))
    assert "d.npz" in raised.value.what
