"""Every example of the guide to devices does what it says."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.platforms.measured import MeasuredDevices, names_of
from pnnbench.records.folders import read_records
from pnnbench.registry import resolve

from .command import command

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "devices.md"
BLOCKS = re.findall(r"```(\w+)(?: (\S+))?\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of the guide."""
    place = tmp_path_factory.mktemp("guide")
    for _, name, text in BLOCKS:
        if name:
            (place / name).write_text(text, encoding="utf-8")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("line", [text.strip() for kind, _, text in BLOCKS if kind == "console"])
def test_commands_run(folder: Path, line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "pnnbench"
    done = command(*words, cwd=folder)
    if words[0] == "run":
        records = read_records(folder / "runs" / words[1].removesuffix(".yaml"))
        assert records
        assert {record["status"] for record in records} == {"ok"}
    else:
        assert "0 failed" in done.out


def test_python_runs(folder: Path) -> None:
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        runpy.run_path("measured.py")
    assert "'detuning':" in out.getvalue()
    assert "source='measured'" in out.getvalue()


def test_rings_of_a_users_own_have_the_constants_of_their_curves(folder: Path) -> None:
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        found = runpy.run_path("own_rings.py")
    assert out.getvalue().endswith("half widths apart\nTrue\n")
    known = [(1.175, 2.203, 4.005, 4.82), (1.168, 2.216, 4.037, 3.95)]
    for fit, ring in zip(found["fits"], known, strict=True):
        assert (fit.bias, fit.depth, fit.dip_ma, fit.width_ma2) == pytest.approx(ring, rel=2e-3)
    assert found["bank"].hwhm_nm == pytest.approx(0.0545, rel=5e-3)


def test_a_platform_that_leaves_something_out_is_told(folder: Path) -> None:
    text = (folder / "attenuators.py").read_text()
    for old, new, words in (
        ("return self.read_out(y, 0.01)", "return y", "without noise"),
        ("clamp_(0.0, 30.0)", "clamp_(-1e9, 1e9)", "project() of Attenuators leaves"),
        (" + 0.02 * warmer", "", "ignores warmer_degc"),
        ('op.errors.get("offset", 0.0)', "0.0", "ignores the error 'offset'"),
        (", generator=generator", "", "from a global generator"),
    ):
        assert old in text
        (folder / "broken.py").write_text(text.replace(old, new))
        assert words in command("check", "broken.Attenuators", cwd=folder, status=1).out


@pytest.mark.parametrize("platform", ["mrr", "mzi", "freespace", "diffractive"])
def test_the_guide_names_every_column(platform: str) -> None:
    layer, _ = resolve("platforms", platform).example()
    row = re.search(rf"^\| `{platform}` \|(.*)$", GUIDE.read_text(encoding="utf-8"), re.M)
    assert row is not None
    assert set(names_of(layer)) <= set(re.findall(r"`(\w+)`", row[1]))


def test_the_four_rings_are_those_of_the_file(folder: Path) -> None:
    source = MeasuredDevices.read(folder / "rings.csv")
    assert [(d.name, d.role) for d in source.devices] == [("pair-a", "train"), ("pair-b", "test")]
    layer, _ = resolve("platforms", "mrr").example()
    with pytest.raises(UserError, match="no device for the seed"):
        source.device(layer, 1.0, 1_000_001, "fabrication")
