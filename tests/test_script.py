"""Scripts of the repository end a user's mistake with a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.script import run_script

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "scripts")
    for path in (ROOT / folder).rglob("*.py")
    if "__main__" in path.read_text("utf-8")
)


def ended(main: object, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as stop:
        run_script(main)  # type: ignore[arg-type]
    return stop.value.code, capsys.readouterr().err


def test_a_script_ends_with_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    def mistaken() -> None:
        raise UserError("no such file", next_step="make one")

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert ended(lambda: None, capsys) == (0, "")
    assert ended(lambda: 3, capsys) == (3, "")
    status, said = ended(mistaken, capsys)
    assert status == 2
    assert said.endswith(": no such file\n  next:    make one\n")
    assert ended(interrupted, capsys)[0] == 130
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 // 0)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_runs_through_it(script: str) -> None:
    assert "    run_script(main)\n" in (ROOT / script).read_text("utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ["benchmarks/speed/step.py"],
        ["benchmarks/speed/grid.py"],
        ["benchmarks/speed/misalignment.py"],
        ["benchmarks/dat_margins.py"],
        ["benchmarks/beside_figure_4.py"],
        ["scripts/search.py", "benchmarks/search/mrr_mnist.yaml"],
    ],
    ids=lambda command: Path(command[0]).stem,
)
def test_without_mnist_a_script_says_so_before_it_works(command: list[str], tmp_path: Path) -> None:
    cleared = {k: v for k, v in os.environ.items() if k != "PNNBENCH_DATA"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**cleared, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "MNIST is not there" in done.stderr
    assert "pnnbench data mnist --download" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_search_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/search.py", str(tmp_path / "none.yaml")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "none.yaml: there is no such file" in done.stderr
