from __future__ import annotations

import functools
import hashlib
import http.server
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from pnnbench.data import DataModule, load
from pnnbench.data.cifar10 import CIFAR10, CLASSES
from pnnbench.data.latents import Latents
from pnnbench.data.manifest import manifest
from pnnbench.errors import UserError

THEIRS = torchvision.datasets.CIFAR10
BATCHES = "cifar-10-batches-py"


class Small(CIFAR10):
    """A few images of each class, in files of the same layout."""

    per_class: ClassVar[dict] = {"train": 6, "test": 2}
    entry: ClassVar[dict] = {}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A data folder with images of each class, written in no order."""
    rng = np.random.default_rng(0)
    for part, count in reversed(Small.per_class.items()):
        for name in reversed(CLASSES):
            folder = tmp_path / "cifar10" / part / name
            folder.mkdir(parents=True)
            for i in rng.permutation(count):
                values = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(values).save(folder / f"{i:04}.jpg")
    return tmp_path


def batch(values: np.ndarray, labels: list[int]) -> bytes:
    """A file of the original set: rows of 3072 bytes, red, green, blue."""
    return pickle.dumps({"data": values.reshape(len(values), -1), "labels": labels})


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict]:
    """A data folder with six batches in the format of the originals, and what they hold."""
    rng = np.random.default_rng(1)
    folder = tmp_path / BATCHES
    folder.mkdir()
    held, known = {}, []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        held[name] = rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 4)
        (folder / name).write_bytes(batch(held[name][0], held[name][1].tolist()))
        known.append([name, md5(folder / name)])
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    meta = {**THEIRS.meta, "md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(THEIRS, "train_list", known[:5])
    monkeypatch.setattr(THEIRS, "test_list", known[5:])
    monkeypatch.setattr(THEIRS, "meta", meta)
    files = {
        name: {"md5": f"md5:{digest}"} for name, digest in [*known, ["batches.meta", meta["md5"]]]
    }
    monkeypatch.setattr(Small, "entry", {"files": files})
    return tmp_path, held


class Backwards:
    """The entries of a folder from the last name to the first."""

    def __init__(self, entries: Iterator[os.DirEntry]) -> None:
        self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __iter__(self) -> Iterator[os.DirEntry]:
        return self.entries

    def __next__(self) -> os.DirEntry:
        return next(self.entries)

    def __enter__(self) -> Backwards:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_folders_hold_the_images_of_their_files_in_a_mixed_order(pictures: Path):
    found = Small().read(pictures)
    assert (found.name, found.n_classes, found.input_shape) == ("cifar10", 10, (3, 32, 32))
    assert found.train_inputs.dtype == torch.uint8
    for part, inputs, targets in (
        ("train", found.train_inputs, found.train_targets),
        ("test", found.test_inputs, found.test_targets),
    ):
        expected = {}
        for path in (pictures / "cifar10" / part).glob("*/*.jpg"):
            with Image.open(path) as image:
                expected[np.asarray(image).tobytes()] = CLASSES.index(path.parent.name)
        read = inputs.permute(0, 2, 3, 1).contiguous().numpy()
        assert {image.tobytes(): int(y) for image, y in zip(read, targets, strict=True)} == expected
    # The last ones, which are held out, are of several classes.
    assert len(set(found.train_targets[-10:].tolist())) > 3


def test_folders_elsewhere_are_the_same_set_in_whatever_order_they_are_listed(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    before = Small().read(pictures).fingerprint
    assert load(f"image-folder:{pictures / 'cifar10'}").fingerprint == before
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(pictures / "cifar10", other / "cifar10")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path=".": Backwards(scandir(path)))
    assert Small().read(other).fingerprint == before
    some = other / "cifar10" / "test" / "frog" / "0001.jpg"
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(some)
    assert Small().read(other).fingerprint != before


def test_a_folder_that_is_a_link_keeps_the_name_of_the_set(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory
):
    direct = Small().read(pictures)
    linked = tmp_path_factory.mktemp("linked")
    (pictures / "cifar10").rename(linked / "photos-jpg")
    (pictures / "cifar10").symlink_to(linked / "photos-jpg")
    found = Small().read(pictures)
    assert (found.name, found.fingerprint) == ("cifar10", direct.fingerprint)


def test_original_batches_are_read_in_their_order(original: tuple[Path, dict]):
    root, held = original
    found = Small().read(root)
    parts = list(held.values())
    assert (found.train_inputs.numpy() == np.concatenate([x for x, _ in parts[:5]])).all()
    assert (found.train_targets.numpy() == np.concatenate([y for _, y in parts[:5]])).all()
    assert (found.test_inputs.numpy() == parts[5][0]).all()
    assert (found.test_targets.numpy() == parts[5][1]).all()


def test_batches_come_before_folders_and_damage_is_no_reason_to_read_the_other(
    pictures: Path, original: tuple[Path, dict]
):
    root, held = original
    assert root == pictures
    batches = Small().read(root)
    assert (batches.test_inputs.numpy() == held["test_batch"][0]).all()
    images = load(f"image-folder:{root / 'cifar10'}")
    assert images.fingerprint != batches.fingerprint
    third = root / BATCHES / "data_batch_3"
    whole = third.read_bytes()
    third.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"data_batch_3 is not the original CIFAR10 file") as caught:
        Small().read(root)
    assert "pnnbench data cifar10 --download" in str(caught.value)
    third.unlink()
    with pytest.raises(UserError, match=r"CIFAR10 is not there: data_batch_3 not found in"):
        Small().read(root)
    shutil.rmtree(root / BATCHES)
    assert Small().read(root).fingerprint == images.fingerprint


def test_batches_are_downloaded_checked_and_kept(
    original: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root, _ = original
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / THEIRS.filename, "w:gz") as packed:
        packed.add(root / BATCHES, BATCHES)

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """torchvision first looks for redirects and hangs up; that is no error here."""

    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{THEIRS.filename}"
    monkeypatch.setattr(THEIRS, "url", address)
    monkeypatch.setattr(THEIRS, "tgz_md5", md5(served / THEIRS.filename))
    try:
        new = tmp_path / "new"
        assert load(Small(), new, download=True).fingerprint == Small().read(root).fingerprint
        assert sorted(path.name for path in new.iterdir()) == [BATCHES]  # no archive is left
        assert sorted(p.name for p in (new / BATCHES).iterdir()) == sorted(Small.entry["files"])
    finally:
        server.shutdown()
        server.server_close()


def test_failed_download_reads_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Nothing listens on the discard port.
    monkeypatch.setattr(THEIRS, "url", f"http://127.0.0.1:9/{THEIRS.filename}")
    with pytest.raises(UserError, match=r"CIFAR10 could not be downloaded") as caught:
        CIFAR10().fetch(tmp_path)
    assert f"copy its batches to {tmp_path / BATCHES}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_originals_are_known_by_the_hashes_of_their_publishers():
    listed = [*THEIRS.train_list, *THEIRS.test_list, [THEIRS.meta["filename"], THEIRS.meta["md5"]]]
    assert manifest("cifar10")["files"] == {name: {"md5": f"md5:{md5}"} for name, md5 in listed}
    assert CIFAR10().folder == THEIRS.base_folder


def test_missing_data_says_what_to_do(tmp_path: Path):
    with pytest.raises(UserError, match=r"CIFAR10 is not there: data_batch_1, ") as caught:
        CIFAR10().read(tmp_path)
    text = str(caught.value)
    assert "pnnbench data cifar10 --download" in text
    assert "<root>/cifar10/train/CLASS/IMAGE" in text


def test_incomplete_and_damaged_folders_are_refused(pictures: Path):
    folder = pictures / "cifar10"

    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            Small().read(pictures)
        assert "next:" in str(caught.value)

    one = folder / "train" / "cat" / "0003.jpg"
    whole = one.read_bytes()
    one.unlink()
    refused(r"train has 5 of cat\n  allowed: 6 images of each class")
    one.write_bytes(whole[: len(whole) // 2])
    refused(r"0003.jpg cannot be read as an image")
    Image.fromarray(np.zeros((31, 32, 3), dtype=np.uint8)).save(one)
    refused(r"0003.jpg is torch.uint8 of 31 x 32")
    one.write_bytes(whole)
    shutil.rmtree(folder / "test" / "deer")
    refused(r"test has the classes airplane, automobile, bird, cat, dog, ")
    shutil.rmtree(folder / "test")
    refused(r"test has the classes \(none\)")


def test_sizes_other_than_those_of_the_set_are_refused(pictures: Path):
    for path in (pictures / "cifar10").glob("*/*/*.jpg"):
        Image.fromarray(np.zeros((28, 28, 3), dtype=np.uint8)).save(path)
    with pytest.raises(UserError, match=r"has images of shape \(3, 28, 28\)"):
        Small().read(pictures)


def test_latent_vectors_with_its_images(pictures: Path):
    images = Small().read(pictures)
    latents = Latents("cifar10,64")
    latents.images = Small()
    assert (latents.name, latents.input_shape) == ("latents-64-cifar10", (64,))
    assert (latents.image_shape, latents.n_classes) == ((3, 32, 32), None)
    found = latents.read(pictures)
    assert found.train_inputs.shape == (60, 64)
    assert found.train_inputs.dtype == torch.float32
    assert found.train_targets.dtype == torch.uint8
    assert torch.equal(found.train_targets, images.train_inputs)
    assert torch.equal(found.test_targets, images.test_inputs)


@pytest.mark.slow
def test_the_whole_set(cifar10_root: Path):
    found = load("cifar10", cifar10_root)
    assert found.train_inputs.shape == (50_000, 3, 32, 32)
    assert found.test_inputs.shape == (10_000, 3, 32, 32)
    assert found.train_inputs.dtype == torch.uint8
    assert found.train_targets.bincount().tolist() == [5000] * 10
    assert found.test_targets.bincount().tolist() == [1000] * 10
    assert found.seen == 0
    # Mean of the training pixels, by channel, as it is widely given for the originals.
    means = [float(found.train_inputs[:, c].double().mean()) / 255 for c in range(3)]
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
    # Held out are the last: 500 of each class are expected, give or take 20.
    assert (found.train_targets[-5000:].bincount(minlength=10) - 500).abs().max() < 110
    data = DataModule(found, batch_size=128, holdout=5000)
    images, _ = next(iter(data.train_dataloader()))
    assert images.dtype == torch.float32
    assert data._part("train").inputs.untyped_storage().nbytes() == 50_000 * 3072  # no copy
    latents = load("latents:cifar10,64", cifar10_root)
    assert torch.equal(latents.train_targets, found.train_inputs)
