"""Reconstruction and generation: several figures in one pass, whatever the batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from pnnbench.data import load
from pnnbench.errors import UserError
from pnnbench.metrics import real_side
from pnnbench.metrics.extractors import DigitsExtractor, extractor
from pnnbench.metrics.fidelity import frechet_unbiased, kernel_distance
from pnnbench.metrics.images import Generation, Reconstruction, generation_names


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PNNBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(real_side, "_MEMORY", type(real_side._MEMORY)())


def pictures() -> Tensor:
    return load("digits").test_inputs.float() / 255.0


def noisy(x: Tensor) -> Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x + 0.1 * noise).clamp(0, 1)


@pytest.mark.parametrize("batch", [360, 50, 1])
def test_reconstruction_is_that_of_all_images_at_once(batch: int) -> None:
    inputs = pictures()[:101]
    outputs = noisy(inputs)
    metric = Reconstruction(side=8)
    for a, b in zip(outputs.split(batch), inputs.split(batch), strict=True):
        metric.update(a, b)
    found = metric.compute()
    assert list(found) == ["mse", "psnr_db", "ssim"]
    mse = float((outputs - inputs).square().mean())
    assert float(found["mse"]) == pytest.approx(mse, rel=1e-5)
    psnr = float(peak_signal_noise_ratio(outputs, inputs, data_range=1.0))
    assert float(found["psnr_db"]) == pytest.approx(psnr, rel=1e-5)
    ssim = structural_similarity_index_measure(
        outputs, inputs, gaussian_kernel=False, kernel_size=7, data_range=1.0
    )
    assert float(found["ssim"]) == pytest.approx(float(ssim), rel=1e-4)


def test_psnr_is_that_of_the_error_over_all_images_and_ssim_a_mean_of_images() -> None:
    """Half of the images come out nearly right: the mean of their PSNR would be far above."""
    inputs = pictures()[:40]
    outputs = torch.where((torch.arange(40) % 2 == 0)[:, None, None, None], inputs, noisy(inputs))
    outputs = outputs * 0.999
    metric = Reconstruction(side=8)
    metric.update(outputs, inputs)
    found = metric.compute()
    assert float(found["psnr_db"]) == pytest.approx(-10 * math.log10(found["mse"]), rel=1e-5)
    pairs = [(outputs[i : i + 1], inputs[i : i + 1]) for i in range(40)]
    single = [float(peak_signal_noise_ratio(*pair, data_range=1.0)) for pair in pairs]
    assert sum(single) / 40 > float(found["psnr_db"]) + 5.0
    like = [
        float(
            structural_similarity_index_measure(
                *pair, gaussian_kernel=False, kernel_size=7, data_range=1.0
            )
        )
        for pair in pairs
    ]
    assert float(found["ssim"]) == pytest.approx(sum(like) / 40, rel=1e-4)


def test_ssim_has_the_usual_window_where_it_fits() -> None:
    inputs = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    metric = Reconstruction(side=32)
    metric.update(noisy(inputs), inputs)
    expected = structural_similarity_index_measure(noisy(inputs), inputs, data_range=1.0)
    assert float(metric.compute()["ssim"]) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(UserError, match="2 pixels"):
        Reconstruction(side=2)


@pytest.mark.parametrize("batch", [360, 77])
def test_generation_is_that_of_all_images_at_once(batch: int) -> None:
    real, made = pictures(), noisy(pictures().flip(0))
    metric = Generation("digits")
    for a, b in zip(made.split(batch), real.split(batch), strict=True):
        metric.update(a, b)
    found = metric.compute()
    x, y = (extractor("digits").features(v) for v in (made, real))
    full = DigitsExtractor.full_name()
    fid, kid = generation_names(full)
    assert list(found) == [fid, kid, f"precision-{full}-n360", f"recall-{full}-n360"]
    assert found[fid] == pytest.approx(frechet_unbiased(x, y), rel=1e-4)
    assert found[kid] == pytest.approx(kernel_distance(x, y), rel=1e-3, abs=1e-6)


def test_a_metric_starts_anew() -> None:
    real = pictures()
    metric = Generation("digits")
    metric.update(noisy(real), real)
    metric.compute()
    metric.reset()
    metric.update(real, real)
    assert abs(next(iter(metric.compute().values()))) < 1e-6


def test_real_features_are_computed_once_and_by_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = DigitsExtractor()
    calls: list[int] = []
    inner = seen.features

    def counted(images: Tensor, batch_size: int = 250) -> Tensor:
        calls.append(len(images))
        return inner(images, batch_size)

    monkeypatch.setattr(seen, "features", counted)
    stored = load("digits").test_inputs
    first = real_side.real_features(stored, seen)
    assert torch.equal(real_side.real_features(stored.float() / 255.0, seen), first)
    real_side._MEMORY.clear()
    assert torch.equal(real_side.real_features(stored, seen), first)
    assert calls == [360]
    other = stored.clone()
    other[0, 0, 0, 0] += 1
    real_side.real_features(other, seen)
    assert calls == [360, 360]
    assert len(list((tmp_path / "features").iterdir())) == 2


def kept_as(features: Tensor, told: Tensor | None) -> bytes:
    """A file of features that tells the digest of others, or none."""
    metadata = None if told is None else {real_side.DIGEST: real_side._digest(told)}
    return save({"features": features}, metadata)


DAMAGE: dict[str, Callable[[bytes, Tensor], bytes]] = {
    "cut": lambda whole, _: whole[:100],
    "bytes flipped": lambda whole, _: whole[:-400] + bytes(b ^ 0x40 for b in whole[-400:]),
    "digest flipped": lambda whole, x: kept_as(x, x + 1.0),
    "of an older version": lambda whole, x: kept_as(x, None),
    "other precision": lambda whole, x: kept_as(x.double(), x.double()),
    "not finite": lambda whole, x: kept_as(x / 0.0, x / 0.0),
    "other shape": lambda whole, x: kept_as(x[1:], x[1:]),
    "other name": lambda whole, x: save({"others": x}, {real_side.DIGEST: real_side._digest(x)}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again(damage: str, tmp_path: Path) -> None:
    stored, seen = load("digits").test_inputs[:40], extractor("digits")
    first = real_side.real_features(stored, seen)
    (file,) = (tmp_path / "features").iterdir()
    whole = file.read_bytes()
    damaged = DAMAGE[damage](whole, first)
    assert damaged != whole
    file.write_bytes(damaged)
    real_side._MEMORY.clear()
    assert torch.equal(real_side.real_features(stored, seen), first)
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("PNNBENCH_CACHE", str(blocked))
    found = real_side.real_features(load("digits").test_inputs[:9], extractor("digits"))
    assert found.shape == (9, 32)
