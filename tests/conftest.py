"""Fixtures for everybody: where reference files and MNIST are, if they are on this machine."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parents[1]


def _has_mnist(root: Path) -> bool:
    return (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The ``shared`` folder beside the repository; the test is skipped where there is none."""
    folder = REPO_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared' beside the repository (reference files)")
    return folder


@pytest.fixture(scope="session")
def reference_dir(shared_dir: Path) -> Path:
    """``shared/reference``: published parameters and figure series."""
    folder = shared_dir / "reference"
    if not folder.is_dir():
        pytest.skip("needs shared/reference beside the repository")
    return folder


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds ``MNIST/raw`` with the four IDX files; read it, never write."""
    if named := os.environ.get("PNNBENCH_DATA"):
        if _has_mnist(Path(named)):
            return Path(named)
        pytest.skip(f"needs MNIST, and PNNBENCH_DATA={named} has no MNIST/raw")
    cached = Path.home() / ".cache" / "pnnbench" / "data"
    if _has_mnist(cached):
        return cached
    archive = REPO_ROOT.parent / "shared" / "data" / "mnist-idx.tar.xz"
    if not archive.is_file():
        pytest.skip("needs MNIST: set PNNBENCH_DATA or run 'pnnbench data mnist --download'")
    root = tmp_path_factory.mktemp("mnist")
    with tarfile.open(archive, "r:xz") as packed:
        packed.extractall(root, filter="data")
    return root
