from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.platforms.base import physical_layers
from pnnbench.published.mrr_checkpoint import Checkpoint, load_checkpoint
from pnnbench.published.printed import recorded

from .released import (
    SHAPES,
    as_currents,
    logits,
    lorentzian,
    positive_branch,
    random_model,
    write,
)

RINGS = ("conv1", "conv2", "fc1", "fc2", "fc3")


def currents_of(checkpoint: Checkpoint, *, signed: bool = False) -> dict[str, torch.Tensor]:
    layers = physical_layers(checkpoint.workload(signed=signed).network)
    return {name: layer.current.detach() for name, layer in layers.items()}


def tensors(model: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in model.items()}


@pytest.mark.parametrize("name", ["mine", "mine-lambda", "mine_Lorentz", "x_Lorentz-lambda"])
def test_network_computes_what_the_file_says(tmp_path: Path, name: str) -> None:
    weights = random_model(0)
    model = as_currents(weights, 1) if "Lorentz" in name else weights
    checkpoint = load_checkpoint(write(tmp_path / f"{name}.npz", model))
    assert checkpoint.name == name
    assert checkpoint.recorded == {}
    images = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    currents = {
        n: positive_branch(torch.from_numpy(weights[f"{n}.weight"]).double()) for n in RINGS
    }
    expected = logits(currents, tensors(weights), images, relu="-lambda" not in name)
    other = logits(currents, tensors(weights), images, relu="-lambda" in name)
    with torch.no_grad():
        measured = checkpoint.workload().double()(images.double())
    # Currents are kept in float32: 6e-8 of each, which sums of up to 400 weights make 1e-5.
    torch.testing.assert_close(measured, expected, rtol=1e-4, atol=1e-4)
    assert (measured - other).abs().max() > 0.1


def test_signed_currents_keep_their_sign_when_asked(tmp_path: Path) -> None:
    model = as_currents(random_model(2), 3)
    checkpoint = load_checkpoint(write(tmp_path / "a_Lorentz.npz", model))
    for name, current in currents_of(checkpoint, signed=True).items():
        np.testing.assert_array_equal(current, model[f"{name}.weight"].astype(np.float32))
        assert (current < 0).any()
    for name, current in currents_of(checkpoint).items():
        np.testing.assert_array_equal(current, np.abs(model[f"{name}.weight"]).astype(np.float32))


def test_weights_at_and_beyond_the_ends_of_the_range(tmp_path: Path) -> None:
    model = random_model(4)
    ends = np.array([-1.2, -1.0, -0.9999999, 0.9999999, 1.0, 1.5], np.float32)
    model["fc3.weight"][0, :6] = ends
    checkpoint = load_checkpoint(write(tmp_path / "ends.npz", model))
    current = currents_of(checkpoint)["fc3"][0, :6]
    assert torch.isfinite(current).all()
    assert (current >= 0).all()
    assert current[0] == current[1] == 0.0
    np.testing.assert_allclose(lorentzian(current.double()), ends.clip(-1, 1), atol=1e-7)
    assert checkpoint.over_range == 2


def test_released_sat_model_is_one_model_in_two_files(reference_dir: Path) -> None:
    folder = reference_dir / "checkpoints" / "mrr"
    weights = load_checkpoint(folder / "04-SAT.npz")
    currents = load_checkpoint(folder / "04-SAT_Lorentz.npz")
    assert weights.recorded == currents.recorded != {}
    assert not weights.signed_currents
    assert currents.signed_currents
    signed = currents_of(currents, signed=True)
    negative = sum(int((x < 0).sum()) for x in signed.values())
    assert negative / 61_470 == pytest.approx(0.345, abs=5e-4)
    for name, layer in physical_layers(currents.workload(signed=True).network).items():
        stored = weights.arrays[f"{name}.weight"]
        np.testing.assert_allclose(layer.ideal_weight().detach(), stored, atol=3e-7)


def test_the_record_overrides_the_name(reference_dir: Path, tmp_path: Path) -> None:
    # The lambda file of noise-injection training was trained with ReLU and raw images.
    model = random_model(5)
    for name, variant in (
        ("02-Standard_NJ-lambda", False),
        ("05-PAT-lambda", False),
        ("01-Standard_BP-lambda", True),
        ("04-SAT_Lorentz-lambda", True),
        ("99-New-lambda", True),
    ):
        checkpoint = load_checkpoint(write(tmp_path / f"{name}.npz", model))
        assert checkpoint.lambda_variant is variant


def test_wrong_files_are_user_errors(tmp_path: Path) -> None:
    model = random_model(6)
    missing = {k: v for k, v in model.items() if k != "fc2.bias"}
    with pytest.raises(UserError, match=r"no fc2\.bias"):
        load_checkpoint(write(tmp_path / "a.npz", missing))
    with pytest.raises(UserError, match=r"unknown fc4\.weight"):
        load_checkpoint(write(tmp_path / "b.npz", model | {"fc4.weight": np.ones(3)}))
    with pytest.raises(UserError, match=r"conv1\.weight has shape \(6, 5, 5\)"):
        load_checkpoint(write(tmp_path / "c.npz", model | {"conv1.weight": np.ones((6, 5, 5))}))
    negative = {"norm1.running_var": -model["norm1.running_var"]}
    with pytest.raises(UserError, match="negative variances"):
        load_checkpoint(write(tmp_path / "d.npz", model | negative))


def test_batch_counters_are_not_needed_and_byte_order_does_not_matter(tmp_path: Path) -> None:
    model = random_model(7)
    plain = load_checkpoint(write(tmp_path / "a.npz", model))
    swapped = {
        name: array.astype(array.dtype.newbyteorder(">"))
        for name, array in model.items()
        if not name.endswith("num_batches_tracked")
    }
    other = load_checkpoint(write(tmp_path / "b.npz", swapped))
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(plain.workload()(images), other.workload()(images))


def test_records_are_complete_and_their_images_the_recorded_ones(reference_dir: Path) -> None:
    known = recorded("mrr")
    indices = np.load(reference_dir / "series" / "mrr_lambda_images.npy", allow_pickle=False)
    assert known["lambda_images"] == indices.tolist()
    assert len(set(known["lambda_images"])) == 2000
    for name, entry in known["checkpoints"].items():
        assert {"clean_frozen", "clean_batch", "lambda_1"} <= set(entry), name
        assert set(entry) <= {*known["units"], "variant"}, name
        assert len(entry.get("drift", [0] * 21)) == 21, name
        assert "_Lorentz" not in name
    assert sum("drift" in entry for entry in known["checkpoints"].values()) == 5
    assert len(SHAPES) == 9
