"""The package as people install it: sdist, wheel, an environment of its own, an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

import pnnbench

from .scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
#: What a checkout has beside its folders.
FILES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CITATION.cff", "CHANGELOG.md")
FOLDERS = ("pnnbench", "benchmarks", "docs", "leaderboards", "scripts", "tests")


def run(*words: object, cwd: Path) -> str:
    """Runs a program without this process's settings of Python; returns its standard output."""
    settings = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env={**settings, "PYTHONDONTWRITEBYTECODE": "1", "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, built from a copy of the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in FOLDERS:
        left_out = shutil.ignore_patterns("__pycache__", "pictures", "pnnbench-1", "*.egg-info")
        shutil.copytree(ROOT / name, copy / name, ignore=left_out)
    for name in FILES:
        shutil.copyfile(ROOT / name, copy / name)
    build = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    run(sys.executable, "-c", build, cwd=copy)
    (built,) = (copy / "dist").glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def environment(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel that the source distribution builds.

    What the package depends on is too large to be installed for a test: it is looked up in the
    environment of this process, behind the new one's own packages.
    """
    folder = tmp_path_factory.mktemp("environment")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index", "--quiet")
    run(*pip, "wheel", "--no-build-isolation", *offline, "-w", folder, sdist, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    home = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=folder)
    run(*pip, "--python", home / "bin" / "python", "install", *offline, wheel, cwd=folder)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_the_source_distribution_is_whole(sdist: Path) -> None:
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert sdist.name == f"pnnbench-{pnnbench.__version__}.tar.gz"
    shipped = {str(path) for path in load_script("scripts/wheel.py").shipped(ROOT)}
    assert shipped <= names
    assert {*FILES, "scripts/wheel.py", "scripts/test", "tests/test_wheel.py"} <= names
    assert not any("__pycache__" in name for name in names)


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder_and_leaves_itself_alone(
    environment: Path, tmp_path: Path
) -> None:
    (packages,) = environment.glob("lib/python*/site-packages")
    package = packages / "pnnbench"
    before = contents(package)
    # What ships is what the sources have.
    shipped = contents(package / "shipped")
    paths = [*load_script("scripts/wheel.py").shipped(ROOT)]
    assert shipped == {str(path): (ROOT / path).read_bytes() for path in paths}
    assert any(path.startswith("leaderboards/quickstart/parameters/") for path in shipped)

    python, command = environment / "bin" / "python", environment / "bin" / "pnnbench"
    asked = (
        "import pnnbench, pnnbench.registry as r; print(pnnbench.__file__, r.IN_SOURCES, r.SUITES)"
    )
    found = run(python, "-c", asked, cwd=tmp_path).split()
    assert found == [str(package / "__init__.py"), "False", str(package / "shipped" / "benchmarks")]
    version = run(command, "--version", cwd=tmp_path)
    assert pnnbench.__version__ in version

    listed = run(command, "list", cwd=tmp_path)
    for name in ("sat-environment", "freespace-mnist", "quickstart", "runs: none"):
        assert name in listed
    board = run(command, "leaderboard", cwd=tmp_path)
    assert "quickstart · mrr-digits · quick" in board
    assert not any(tmp_path.iterdir())

    few = ("--seeds", "0", "--only", "BP", "--pictures", "false")
    shown = run(command, "run", "quickstart", *few, cwd=tmp_path)
    assert "quickstart · mrr-digits · quick" in shown
    own = run(command, "leaderboard", cwd=tmp_path)
    assert "NAT" in board
    assert "NAT" not in own
    loaded = "import pnnbench; print(pnnbench.load_network('quickstart/SAT').name)"
    assert run(python, "-c", loaded, cwd=tmp_path) == "mrr-digits\n"
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    assert contents(package) == before
