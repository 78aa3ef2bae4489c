from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pnnbench.data import load, reference_of, resolve_data
from pnnbench.data.folders import ImageFolder
from pnnbench.errors import UserError

SIZE = (6, 4)  # height and width


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Grey images of three classes, under train and test, written in no order."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "flowers"
    for part, count in (("test", 2), ("train", 4)):
        for name in ("tulip", "aster", "rose"):
            for i in reversed(range(count)):
                write(folder / part / name / f"{i}.png", rng.integers(0, 256, SIZE, dtype=np.uint8))
    return folder


def test_images_come_in_the_order_of_their_names(flowers: Path):
    found = ImageFolder(flowers).load()
    assert (found.name, found.n_classes, found.input_shape) == ("flowers", 3, (1, 6, 4))
    assert found.train_targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for i, path in enumerate(sorted((flowers / "train").glob("*/*.png"))):
        with Image.open(path) as image:
            assert (found.train_inputs[i, 0].numpy() == np.asarray(image)).all()


def test_the_fingerprint_is_that_of_the_contents(flowers: Path, tmp_path: Path):
    before = load(f"image-folder:{flowers}").fingerprint
    elsewhere = tmp_path / "copies" / "of flowers"
    shutil.copytree(flowers, elsewhere)
    assert load(f"image-folder:{elsewhere}").fingerprint == before
    write(elsewhere / "test" / "rose" / "0.png", np.zeros(SIZE, dtype=np.uint8))
    assert load(f"image-folder:{elsewhere}").fingerprint != before


def test_colours_anywhere_give_three_channels(flowers: Path):
    grey = ImageFolder(flowers).load().train_inputs
    coloured = np.zeros((*SIZE, 3), dtype=np.uint8)
    coloured[..., 2] = 7
    write(flowers / "test" / "rose" / "9.png", coloured)
    found = ImageFolder(flowers).load()
    assert found.input_shape == (3, 6, 4)
    assert torch.equal(found.train_inputs, grey.repeat(1, 3, 1, 1))
    assert found.test_inputs[4].sum((1, 2)).tolist() == [0, 0, 7 * 24]


def test_val_is_the_test_where_there_is_no_other_and_held_out_beside_one(flowers: Path):
    test = ImageFolder(flowers).load()
    shutil.copytree(flowers / "test", flowers / "val")
    both = ImageFolder(flowers).load()
    assert both.validation_inputs is not None
    assert torch.equal(both.validation_inputs, test.test_inputs)
    assert torch.equal(both.train_inputs, test.train_inputs)
    shutil.rmtree(flowers / "test")
    assert ImageFolder(flowers).load().fingerprint == test.fingerprint


def test_mistakes_read(flowers: Path):
    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match):
            load(f"image-folder:{flowers}")

    write(flowers / "train" / "rose" / "x.png", np.zeros((5, 4), dtype=np.uint8))
    refused(r"x.png is torch.uint8 of 5 x 4, and \S+0.png is torch.uint8 of 6 x 4")
    (flowers / "train" / "rose" / "x.png").write_bytes(b"no image")
    refused(r"x.png cannot be read as an image")
    (flowers / "train" / "rose" / "x.png").unlink()
    shutil.rmtree(flowers / "test" / "rose")
    refused(r"has the classes aster, tulip")
    shutil.rmtree(flowers / "test")
    refused(r"flowers is no folder of images")
    for name in ("image-folder", "image-folder:"):
        with pytest.raises(UserError, match=r"allowed: image-folder:PATH") as error:
            load(name)
        assert "image-folder:flowers" in str(error.value)


def test_it_is_found_again_by_its_text(flowers: Path):
    text = f"image-folder:{flowers}"
    assert reference_of(ImageFolder(flowers)) == reference_of(resolve_data(text)) == text
