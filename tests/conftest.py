"""What all tests share: one thread, no settings of the user, where references and MNIST are."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import struct
import sys
import tarfile
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
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


class Said(NamedTuple):
    """What a command wrote."""

    out: str
    err: str


def command(*words: object) -> int:
    """Runs a command line in this process and gives its exit status."""
    from pnnbench.cli import main

    try:
        return main([str(word) for word in words])
    except SystemExit as stop:  # --help
        return int(stop.code or 0)


@pytest.fixture
def pnnbench(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """A command line with the exit status that it must have: ``pnnbench("list", status=0)``."""

    def run(*words: object, status: int = 0) -> Said:
        capsys.readouterr()
        found = command(*words)
        said = Said(*capsys.readouterr())
        assert found == status, said.out + said.err
        assert "Traceback" not in said.err
        return said

    return run


@contextlib.contextmanager
def terminal(columns: int) -> Iterator[tuple[io.TextIOWrapper, list[str]]]:
    """A terminal of some width: its text stream, and what was written to it once it is closed."""
    screen, keyboard = pty.openpty()
    fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    written: list[str] = []
    data = b""

    def read() -> None:
        nonlocal data
        with contextlib.suppress(OSError):  # the other end is closed
            while some := os.read(screen, 65536):
                data += some

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with os.fdopen(keyboard, "w", encoding="utf-8") as stream:
            yield stream, written
    finally:
        reader.join()
        os.close(screen)
        written.append(data.decode().replace("\r\n", "\n"))


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A command line on a terminal of some width: ``on_terminal(40, "list")`` gives its output."""

    def run(columns: int, *words: object) -> str:
        with monkeypatch.context() as patch, terminal(columns) as (stream, written):
            patch.setenv("COLUMNS", str(columns))
            patch.setattr(sys, "stdout", stream)
            assert command(*words) == 0
        return written[0]

    return run


class Tiny(NamedTuple):
    """A finished suite ``tiny``: methods ``bp`` and ``nat``, seeds 0 and 1.

    Its file, ``tiny.yaml``, and the folder ``runs`` stand in ``folder``; ``said`` is what the run
    wrote. Read it; copy it to change something.
    """

    folder: Path
    said: Said


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """One tiny suite through ``pnnbench run``; bp at seed 0 with pictures and offline mirror."""
    folder = tmp_path_factory.mktemp("tiny")
    suite = {
        "suite": "tiny",
        "protocol": "pnnbench-1",
        "tier": "smoke",
        "workloads": ["mrr-digits"],
        "seeds": [0, 1],
        "methods": ["bp", "nat"],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(suite))
    out, err = io.StringIO(), io.StringIO()
    first = ["--only", "bp", "--seeds", "0"]
    rest = ["--pictures", "false", "--wandb", "disabled"]
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for part in (first, rest):
            out.truncate(0)
            out.seek(0)
            assert command("run", "tiny.yaml", *part) == 0, err.getvalue()
    return Tiny(folder, Said(out.getvalue(), err.getvalue()))


@pytest.fixture
def in_tiny(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """The finished suite, its folder being the working folder."""
    monkeypatch.chdir(tiny.folder)
    return tiny
