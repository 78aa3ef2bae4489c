"""Latent vectors as inputs: the same everywhere, standard normal, found again by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.utils import save_image

from pnnbench.data import Arrays, DataSet, load, reference_of, resolve_data
from pnnbench.data.latents import Latents, latent_vectors
from pnnbench.errors import UserError


class Floats(DataSet):
    """Images that are no 8-bit values."""

    def load(self, root: Any = None, download: bool = False) -> Arrays:
        x = torch.rand(20, 1, 4, 4)
        return Arrays("floats", x, torch.arange(20) % 2, x, torch.arange(20) % 2, 2)


def test_vectors_are_standard_normal() -> None:
    z = latent_vectors(20_000, 8, 0)
    assert (z.shape, z.dtype) == ((20_000, 8), torch.float32)
    assert float(z.mean().abs()) < 0.01
    assert torch.allclose(torch.cov(z.T), torch.eye(8), atol=0.04)
    assert float((z.abs() < 1.0).double().mean()) == pytest.approx(0.6827, abs=0.004)
    assert float(z.abs().max()) < 6.5


def test_vectors_are_the_same_on_every_machine_whatever_the_generators() -> None:
    torch.manual_seed(1)
    found = latent_vectors(2, 3, 0)
    assert found.flatten().tolist() == pytest.approx(
        [1.10413, 0.587954, -0.550608, -0.478184, -1.818789, 2.314144], abs=2e-6
    )


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 9), st.integers(0, 3))
def test_more_vectors_begin_with_the_same(count: int, more: int, size: int, stream: int) -> None:
    few = latent_vectors(count, size, stream)
    assert torch.equal(latent_vectors(count + more, size, stream)[:count], few)
    assert not torch.equal(latent_vectors(count, size, stream + 1), few)


def test_a_set_has_the_images_of_the_other_as_targets() -> None:
    found, digits = load("latents:digits,5"), load("digits")
    assert torch.equal(found.train_targets, digits.train_inputs)
    assert torch.equal(found.test_targets, digits.test_inputs)
    assert found.train_inputs.shape == (len(digits.train_inputs), 5)
    assert not torch.equal(found.train_inputs[: len(found.test_inputs)], found.test_inputs)
    made = resolve_data("latents:digits,5")
    assert (made.name, made.n_classes, made.input_shape) == ("latents-5-digits", None, (5,))
    assert isinstance(made, Latents)
    assert made.image_shape == (1, 8, 8)
    assert found.fingerprint == Latents("digits,5").read().fingerprint
    assert found.fingerprint != load("latents:digits,6").fingerprint


def test_a_set_is_found_again_by_its_name() -> None:
    made = resolve_data("latents:digits,16")
    assert reference_of(made) == "latents:digits,16"
    assert resolve_data(reference_of(made)) is made
    assert made.source() is resolve_data("digits").source()


def test_the_other_set_may_have_an_argument_itself(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(3):
                save_image(torch.rand(3, 4, 4), folder / f"{i}.png")
    made = resolve_data(f"latents:image-folder:{tmp_path},2")
    assert isinstance(made, Latents)
    assert (made.image_shape, made.arrays().train_inputs.shape) == ((3, 4, 4), (6, 2))
    assert reference_of(made) == f"latents:image-folder:{tmp_path},2"


@pytest.mark.parametrize("argument", ["digits", "digits,0", "digits,-1", "digits,x", ",3"])
def test_what_is_no_set_and_number_is_refused(argument: str) -> None:
    with pytest.raises(UserError, match="latents of"):
        resolve_data(f"latents:{argument}")


def test_sets_without_images_of_8_bits_are_refused() -> None:
    with pytest.raises(UserError, match="latents has no images"):
        resolve_data("latents").read()
    made = Latents(f"{__name__}.Floats,2")
    with pytest.raises(UserError) as refused:
        made.read()
    assert refused.value.allowed == "uint8 images (N, C, H, W)"


def test_images_that_are_in_training_and_tests_are_told() -> None:
    class Repeats(DataSet):
        """All tests are training images."""

        def load(self, root: Any = None, download: bool = False) -> Arrays:
            x = torch.arange(20 * 16, dtype=torch.uint8).view(20, 1, 4, 4)
            return Arrays("repeats", x, torch.arange(20) % 2, x[:5], torch.arange(5) % 2, 2)

    found = Latents()
    found.images, found.size = Repeats(), 3
    assert found.originals().remarks() == [
        "data 'repeats': 5 of 5 test inputs are training inputs too"
    ]
    assert resolve_data("latents:digits,4").originals().remarks() == []
