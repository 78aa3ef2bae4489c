from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import torchvision

from pnnbench.data import DataModule, fetch, load, resolve_data
from pnnbench.data.arrays import Arrays
from pnnbench.data.downloaded import data_root
from pnnbench.data.manifest import manifest
from pnnbench.data.mnist import KMNIST, FashionMNIST, IDXSet
from pnnbench.errors import UserError

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
# md5 of the original raw files, from outside the project.
ORIGINAL_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.fixture(scope="module")
def mnist(mnist_root: Path) -> Arrays:
    return load("mnist", root=mnist_root)


@pytest.fixture
def copied_root(mnist_root: Path, tmp_path: Path) -> Path:
    """A data folder whose four files are links to the real ones."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).symlink_to(mnist_root / "MNIST" / "raw" / name)
    return tmp_path / "data"


def damage(root: Path, name: str, offset: int) -> Path:
    """Flips one bit of one byte in a real copy of one file."""
    path = root / "MNIST" / "raw" / name
    data = bytearray(path.read_bytes())
    path.unlink()  # it may be a link
    data[offset] ^= 1
    path.write_bytes(data)
    return path


def test_manifest_describes_the_original_files(mnist_root: Path):
    for name, md5 in ORIGINAL_MD5.items():
        data = (mnist_root / "MNIST" / "raw" / name).read_bytes()
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5


def test_reads_what_torchvision_reads(mnist: Arrays, mnist_root: Path):
    for part, train, n in (("train", True, 60_000), ("test", False, 10_000)):
        theirs = torchvision.datasets.MNIST(str(mnist_root), train=train, download=False)
        images = getattr(mnist, f"{part}_inputs")
        assert images.shape == (n, 1, 28, 28)
        assert torch.equal(images[:, 0], theirs.data)
        assert torch.equal(getattr(mnist, f"{part}_targets"), theirs.targets)
    # LeCun et al.: mean 0.1307 and standard deviation 0.3081 over the training pixels.
    pixels = mnist.train_inputs.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)
    assert mnist.remarks() == []


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("train-images-idx3-ubyte", 20_000_000),
        ("train-labels-idx1-ubyte", 60_007),
        ("t10k-images-idx3-ubyte", 16),
        ("t10k-labels-idx1-ubyte", 8),
    ],
)
def test_one_flipped_bit_is_caught(copied_root: Path, name: str, offset: int):
    path = damage(copied_root, name, offset)
    # torchvision itself takes the damaged file.
    torchvision.datasets.MNIST(str(copied_root), train=name.startswith("train"), download=False)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError) as caught:
        load("mnist", root=copied_root)
    text = str(caught.value)
    assert str(path) in text
    assert f"sha256:{found}" in text
    assert "allowed: sha256:" in text
    assert "pnnbench data mnist --download" in text


def test_old_processed_files_are_not_read_instead(copied_root: Path):
    # torchvision prefers MNIST/processed/*.pt over the raw files where they exist.
    processed = copied_root / "MNIST" / "processed"
    processed.mkdir()
    wrong = (torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    for name in ("training.pt", "test.pt"):
        torch.save(wrong, processed / name)
    assert len(torchvision.datasets.MNIST(str(copied_root), download=False)) == 3
    assert len(load("mnist", root=copied_root).train_targets) == 60_000


def test_missing_data_says_what_to_do(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        load("mnist", root=tmp_path)
    text = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in text
    assert "given as root" in text
    assert "<root>/MNIST/raw/" in text
    for name in FILES:
        assert name in text
    assert f"next:    PNNBENCH_DATA={tmp_path} pnnbench data mnist --download" in text
    assert list(tmp_path.iterdir()) == []


def test_one_missing_file_is_named(copied_root: Path):
    (copied_root / "MNIST" / "raw" / FILES[3]).unlink()
    with pytest.raises(UserError, match=rf"not there: {FILES[3]} not found in"):
        load("mnist", root=copied_root)


def test_first_named_root_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_root: Path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PNNBENCH_DATA", raising=False)
    assert data_root()[0] == tmp_path / "home" / ".cache" / "pnnbench" / "data"
    with pytest.raises(UserError, match=r"default, PNNBENCH_DATA is not set") as caught:
        load("mnist")
    assert "next:    pnnbench data mnist --download" in str(caught.value)
    monkeypatch.setenv("PNNBENCH_DATA", str(mnist_root))
    assert data_root() == (mnist_root, "from PNNBENCH_DATA")
    assert len(load("mnist").test_targets) == 10_000
    assert data_root("~/x") == (tmp_path / "home" / "x", "given as root")


@pytest.fixture
def mirror(
    mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """A mirror on this machine that torchvision downloads from; yields its folder and requests."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    resources = []
    for name in FILES:
        packed = folder / f"{name}.gz"
        source = mnist_root / "MNIST" / "raw" / name
        with source.open("rb") as raw, gzip.open(packed, "wb", compresslevel=1) as out:
            shutil.copyfileobj(raw, out, 1 << 20)
        md5 = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
        resources.append((packed.name, md5))
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            requests.append(self.path)

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """torchvision first looks for redirects and hangs up; that is no error here."""

    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    yield folder, requests
    server.shutdown()
    server.server_close()


def test_fetch_downloads_repairs_and_then_rests(
    mirror: tuple[Path, list[str]],
    tmp_path: Path,
    mnist: Arrays,
    monkeypatch: pytest.MonkeyPatch,
):
    folder, requests = mirror
    root = tmp_path / "new" / "data"
    monkeypatch.setenv("PNNBENCH_DOWNLOAD", "1")
    assert load("mnist", root=root).fingerprint == mnist.fingerprint
    assert sorted(path.name for path in root.iterdir()) == ["MNIST"]  # no temporary folder
    assert sorted(path.name for path in (root / "MNIST" / "raw").iterdir()) == sorted(FILES)
    n_requests = len(requests)
    assert n_requests >= 4

    assert fetch("mnist", root) == root
    assert len(requests) == n_requests  # nothing to do

    damage(root, FILES[1], 100)
    with pytest.raises(UserError, match=r"not the original MNIST file"):
        load("mnist", root=root)  # a download is allowed, but only of missing files
    fetch("mnist", root)
    assert load("mnist", root=root).fingerprint == mnist.fingerprint

    # A mirror that offers other files: refused, and what is there stays.
    other = folder / f"{FILES[3]}.gz"
    other.write_bytes(gzip.compress(b"\0" * 10_008))
    md5 = hashlib.md5(other.read_bytes(), usedforsecurity=False).hexdigest()
    resources = [*torchvision.datasets.MNIST.resources[:3], (other.name, md5)]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    (root / "MNIST" / "raw" / FILES[3]).unlink()
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte is not the original"):
        fetch("mnist", root)
    assert sorted(path.name for path in (root / "MNIST" / "raw").iterdir()) == sorted(
        set(FILES) - {FILES[3]}
    )


def test_failed_download_reads_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Nothing listens on the discard port.
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match=r"could not be downloaded") as caught:
        fetch("mnist", tmp_path)
    assert f"copy the four IDX files to {tmp_path / 'MNIST' / 'raw'}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Packed(IDXSet):
    """A small set whose files are known by the hashes of the packed ones."""

    name = "small"
    title = "FashionMNIST"
    input_shape = (1, 5, 4)
    n_classes = 3
    entry: ClassVar[dict] = {}


def idx(values: np.ndarray) -> bytes:
    """The format of the files: a magic number, big-endian lengths, bytes."""
    sizes = b"".join(n.to_bytes(4, "big") for n in values.shape)
    return (0x0800 + values.ndim).to_bytes(4, "big") + sizes + values.astype(np.uint8).tobytes()


@pytest.fixture
def small(tmp_path: Path) -> tuple[IDXSet, Path, list[np.ndarray]]:
    """A set of packed IDX files, its data folder and what the files hold."""
    rng = np.random.default_rng(0)
    parts = [
        rng.integers(0, 256, (7, 5, 4)),
        np.arange(7) % 3,
        rng.integers(0, 256, (4, 5, 4)),
        np.arange(4) % 3,
    ]
    raw = tmp_path / "data" / Packed.title / "raw"
    raw.mkdir(parents=True)
    known = {}
    for name, values in zip(FILES, parts, strict=True):
        packed = raw / f"{name}.gz"
        packed.write_bytes(gzip.compress(idx(values), mtime=0))
        md5 = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
        known[packed.name] = {"md5": f"md5:{md5}"}
    made = Packed()
    made.entry = {"files": known}
    return made, tmp_path / "data", parts


def test_packed_files_are_checked_and_read(small: tuple[IDXSet, Path, list[np.ndarray]]):
    data, root, parts = small
    found = data.load(root)
    for name, values in zip(("train_inputs", "test_inputs"), parts[::2], strict=True):
        assert (getattr(found, name)[:, 0].numpy() == values).all()
    for name, values in zip(("train_targets", "test_targets"), parts[1::2], strict=True):
        assert (getattr(found, name).numpy() == values).all()
    assert (found.name, found.n_classes, found.input_shape) == ("small", 3, (1, 5, 4))
    damaged = root / Packed.title / "raw" / f"{FILES[2]}.gz"
    damaged.write_bytes(gzip.compress(idx(parts[2] ^ 1), mtime=0))
    with pytest.raises(UserError, match=r"not the original FashionMNIST file: its hash is md5:"):
        data.load(root)
    damaged.unlink()
    with pytest.raises(UserError, match=rf"FashionMNIST is not there: {FILES[2]}.gz not found"):
        data.load(root)


def test_packed_files_are_downloaded_checked_and_kept(
    small: tuple[IDXSet, Path, list[np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    data, root, _ = small
    folder = root / Packed.title / "raw"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """torchvision first looks for redirects and hangs up; that is no error here."""

    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    theirs = torchvision.datasets.FashionMNIST
    monkeypatch.setattr(theirs, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    resources = [(name, known["md5"][4:]) for name, known in data.entry["files"].items()]
    monkeypatch.setattr(theirs, "resources", resources)
    try:
        new = tmp_path / "new"
        assert data.load(new, download=True).fingerprint == data.load(root).fingerprint
        kept = sorted(path.name for path in (new / Packed.title / "raw").iterdir())
        assert kept == sorted(data.entry["files"])
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("cls", [FashionMNIST, KMNIST])
def test_shipped_sets_are_known_by_the_hashes_of_their_publishers(cls: type[IDXSet]):
    theirs = getattr(torchvision.datasets, cls.title)
    told = {name: {"md5": f"md5:{md5}"} for name, md5 in theirs.resources}
    assert manifest(cls.name)["files"] == told
    assert [name.removesuffix(".gz") for name in told] == FILES


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist", "FASHION_MNIST"])
def test_missing_sets_say_what_to_do(name: str, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        load(name, root=tmp_path)
    told = name.casefold().replace("_", "-")
    assert f"pnnbench data {told} --download" in str(caught.value)
    assert "train-images-idx3-ubyte.gz" in str(caught.value)


def test_the_first_tests_are_harder_than_the_last_and_a_sample_is_taken(mnist: Arrays) -> None:
    """The figures that `IDXSet` quotes."""
    draws = torch.Generator().manual_seed(0)
    weights = torch.randn(784, 600, generator=draws) / 28

    def features(images: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(images.flatten(1).float() / 255 @ weights)
        return torch.cat([hidden, torch.ones(len(images), 1)], 1)

    chosen = torch.randperm(55_000, generator=draws)[:12_000]
    x = features(mnist.train_inputs[chosen])
    y = torch.nn.functional.one_hot(mnist.train_targets[chosen], 10).float()
    read_out = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(601), x.T @ y)

    def error(images: torch.Tensor, labels: torch.Tensor) -> float:
        return float(((features(images) @ read_out).argmax(1) != labels).float().mean())

    tests = mnist.test_inputs, mnist.test_targets
    whole = error(*tests)
    assert whole == pytest.approx(0.075, abs=0.002)
    assert error(*(part[:2000] for part in tests)) == pytest.approx(0.099, abs=0.003)
    assert error(*(part[5000:] for part in tests)) == pytest.approx(0.051, abs=0.003)
    held_out = mnist.train_inputs[55_000:], mnist.train_targets[55_000:]
    assert error(*held_out) == pytest.approx(0.064, abs=0.003)

    some = mnist.some_tests(2000)
    assert error(*some) == pytest.approx(whole, abs=0.012)  # two standard errors of 2,000 images
    assert all(torch.equal(a, b[:1000]) for a, b in zip(mnist.some_tests(1000), some, strict=True))
    for count in (None, 10_000, 20_000):
        assert torch.equal(mnist.some_tests(count)[0], mnist.test_inputs)
    module = DataModule(mnist, limit_test=2000)
    assert torch.equal(module.test_tensors()[1], some[1])


def test_latent_vectors_meet_the_images_in_mixed_order(mnist_root: Path, mnist: Arrays) -> None:
    """Halves of them are compared, as of a set in random order."""
    found = resolve_data("latents:mnist,4").read(mnist_root)
    same = (found.test_targets[:500].flatten(1) == mnist.test_inputs[:500].flatten(1)).all(1)
    assert int(same.sum()) < 10
    assert not found.ordered
    assert found.test_targets.sum() == mnist.test_inputs.sum()
