from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pnnbench.cli import main
from pnnbench.errors import UserError
from pnnbench.published import mrr, mzi
from pnnbench.published.protocols import find_protocol


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    """Makes a distribution with one published protocol, as an installed package has it."""
    info = folder / "otherlab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otherlab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pnnbench.published]\n{entry}\n")
    monkeypatch.syspath_prepend(folder)


def test_built_ins_come_through_the_door() -> None:
    assert find_protocol("mrr") is mrr.reproduce
    assert find_protocol("mzi") is mzi.reproduce


def test_other_packages_come_through_the_same_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "otherlab_published.py").write_text(
        "from pnnbench.published.report import Report, Row\n"
        "def reproduce(checkpoints, *, data_root=None, progress=None):\n"
        "    progress(1, 1)\n"
        "    value = float(checkpoints.name)\n"
        "    return Report('otherlab', (Row('a', 'q', 'a number', value, recorded=3.0),))\n"
    )
    install(tmp_path, monkeypatch, "otherlab = otherlab_published")
    assert main(["reproduce", "otherlab", "--checkpoints", "3"]) == 0
    assert "1 of 1 recorded values reproduced" in capsys.readouterr().out
    assert main(["reproduce", "otherlab", "--checkpoints", "4"]) == 1
    del sys.modules["otherlab_published"]


def test_an_unknown_name_gives_one_error_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reproduce", "mzzi", "--checkpoints", "nowhere"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "unknown published protocol 'mzzi'; did you mean 'mzi'?" in captured.err
    allowed = captured.err.split("allowed: ")[1].splitlines()[0].split(", ")
    assert {"mrr", "mzi"} <= set(allowed)
    assert "Traceback" not in captured.err


def test_two_packages_with_one_name_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "mzi = otherlab.published")
    with pytest.raises(UserError, match="two packages register the published protocol 'mzi'"):
        find_protocol("mrr")


def test_what_cannot_reproduce_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "odd = pnnbench.published.report")
    with pytest.raises(UserError, match=r"pnnbench\.published\.report, which has no reproduce"):
        find_protocol("odd")


def test_the_parser_loads_no_protocol() -> None:
    code = (
        "import sys; from pnnbench.cli import build_parser; build_parser();"
        "print([m for m in sys.modules if m.startswith('pnnbench.published') or m == 'torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
