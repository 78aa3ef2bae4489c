"""What all tests share: one thread, no settings of the user, where references and data are."""

from __future__ import annotations

import gc
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is imported, and for the processes that tests start: as many workers as there are
# cores (pytest -n) need one thread each.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# What a user may have set for runs of their own.
for _name in [n for n in os.environ if n.startswith("WANDB_")]:
    del os.environ[_name]
for _name in ("PNNBENCH_DOWNLOAD", "COLUMNS", "FORCE_COLOR", "MPLBACKEND"):
    os.environ.pop(_name, None)

# The same examples on every machine, however busy it is. New ones: --hypothesis-profile=search.
settings.register_profile("pnnbench", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("pnnbench")

REPO_ROOT = Path(__file__).resolve().parents[1]


def pytest_collection() -> None:
    """Nothing that collecting makes is garbage: it is not looked through while it grows."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor while the tests run: of the 700,000 objects that are there by now none goes."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Before the interpreter ends, which clears up in its own order."""
    gc.unfreeze()


#: What there is of a set under a data folder.
_SIGNS = {
    "mnist": ("MNIST/raw/train-images-idx3-ubyte",),
    "cifar10": ("cifar-10-batches-py/test_batch", "cifar10/test/truck"),
}


def _data_folder(name: str, archive: str, made: pytest.TempPathFactory) -> Path:
    """A data folder that holds a set, unpacked from ``shared/data`` if it is nowhere else."""

    def has(root: Path) -> bool:
        return any((root / sign).exists() for sign in _SIGNS[name])

    if named := os.environ.get("PNNBENCH_DATA"):
        if has(Path(named)):
            return Path(named)
        pytest.skip(f"needs {name}, and PNNBENCH_DATA={named} does not have it")
    cached = Path.home() / ".cache" / "pnnbench" / "data"
    if has(cached):
        return cached
    packed = REPO_ROOT.parent / "shared" / "data" / archive
    if not packed.is_file():
        pytest.skip(f"needs {name}: set PNNBENCH_DATA or run 'pnnbench data {name} --download'")
    root = made.mktemp(name)
    with tarfile.open(packed, "r:xz") as opened:
        opened.extractall(root, filter="data")
    return root


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
    return _data_folder("mnist", "mnist-idx.tar.xz", tmp_path_factory)


@pytest.fixture(scope="session")
def cifar10_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds CIFAR-10, batches or folders; read it, never write."""
    return _data_folder("cifar10", "cifar10-jpeg.tar.xz", tmp_path_factory)
