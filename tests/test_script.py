"""Scripts of the repository end a user's mistake with a sentence."""

from __future__ import annotations

import runpy
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


def run(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str, str]:
    """Runs a script in this process, from the root of the repository."""
    path = ROOT / command[0]
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.setattr(sys, "argv", [str(path), *command[1:]])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    return stop.value.code, *capsys.readouterr()


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
    ],
    ids=lambda command: Path(command[0]).stem,
)
def test_without_mnist_a_script_says_so_before_it_works(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pnnbench.data.sets._MADE", {})  # what other tests have read
    monkeypatch.delenv("PNNBENCH_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    status, out, said = run(command, monkeypatch, capsys)
    assert (status, out) == (2, "")
    assert said.startswith(f"{Path(command[0]).name}: MNIST is not there")
    assert "pnnbench data mnist --download" in said
