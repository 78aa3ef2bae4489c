"""The page beside Figure 3: published curves alone until there are boards, then ours below."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from pnnbench.report.copies import known_copies

from .alike import differing
from .record_factory import IMAGE_SUITES, make_image_suite, write_job

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "beside_figure_3.py"
BOARDS = SCRIPT.parents[1] / "leaderboards"
LABELS = ("BP", "SAT")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def run(script, boards: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict]:
    monkeypatch.setattr("sys.argv", [str(SCRIPT), str(boards), "--out", str(out)])
    out.mkdir(exist_ok=True)
    script["main"]()
    text = (out / "figure_3.md").read_text(encoding="utf-8")
    return text, json.loads((out / "figure_3.json").read_text(encoding="utf-8"))


def board(folder: Path, suite: str, fingerprint: str | None = None) -> None:
    for record in make_image_suite(LABELS, (0, 1), suite=suite):
        record.pop("checksum")
        record["config"] = {
            "network": "ResNet",
            "n_controls": 699_000,
            "layers": {"conv": {"shape": [16, 3, 3, 3]}},
            "tier": {"epochs": 6, "batch_size": 128},
        }
        if fingerprint is not None:
            record["data"]["fingerprint"] = fingerprint
        write_job(folder / suite, record)


def test_without_boards_nothing_is_measured(script, tmp_path, monkeypatch) -> None:
    text, plain = run(script, tmp_path, tmp_path / "out", monkeypatch)
    assert text.count("not measured yet") == 3
    for suite in IMAGE_SUITES:
        assert f"pnnbench run {suite}" in text
    assert [part["measured"] for part in plain.values()] == [None] * 3
    assert not (tmp_path / "out" / "figure_3.svg").exists()


def test_ends_of_the_published_curves_are_those_of_the_claims(script) -> None:
    from pnnbench.leaderboard.claims import read_claims

    panels = {panel.board: panel for panel in script["PANELS"]}
    levels = script["LEVELS"]
    compared = 0
    for claim in read_claims().claims:
        for test in claim.tests:
            if test.board not in panels or test.published is None or len(test.levels) != 1:
                continue
            curves = panels[test.board].curves
            at = levels.index(test.levels[0])
            row = "BP" if test.row.startswith("BP") else "SAT"
            other = curves["BP"][at] if test.against else curves[row][levels.index(0.0)]
            assert test.published == pytest.approx((curves[row][at], other), rel=6e-3)
            compared += 1
    assert compared >= 9


def test_a_board_stands_below_the_published_curves(script, tmp_path, monkeypatch) -> None:
    board(tmp_path, "cifar10_generate")
    board(tmp_path, "cifar10_classify", fingerprint=next(iter(known_copies())))
    text, plain = run(script, tmp_path, tmp_path / "out", monkeypatch)
    assert text.count("not measured yet") == 1
    assert (tmp_path / "out" / "figure_3.svg").is_file()
    measured = plain["3j"]["measured"]
    assert list(measured) == ["SAT", "BP"]
    assert len(measured["SAT"]) == len(script["LEVELS"])
    mean = measured["BP"]["0.25"]["mean"]
    below = text.partition("## Figure 3j")[2].splitlines()
    (row,) = (line for line in below if line.startswith("| BP |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[11].split(" ±")[0]) == pytest.approx(mean, rel=1e-3)
    factor = mean / measured["BP"]["0"]["mean"]
    assert float(cells[13].removeprefix("× ")) == pytest.approx(factor, rel=5e-3)
    different = "\n".join(plain["3j"]["different"])
    for words in (
        "ResNet of 699,000 controls",
        "the first [16, 3, 3, 3]",
        "6 epochs of 60,000 training images",
        "2,000 test images",
        "320 features of efficientnet-lite0 at 64 pixels, weights 57934424",
    ):
        assert words in different
    assert "JPEG-coded" not in different
    assert "a JPEG-coded copy" in "\n".join(plain["3b"]["different"])


def test_the_committed_page_is_that_of_the_committed_boards(script, tmp_path, monkeypatch) -> None:
    text, plain = run(script, BOARDS, tmp_path / "out", monkeypatch)
    committed = json.loads((BOARDS / "figure_3" / "figure_3.json").read_text(encoding="utf-8"))
    assert differing(committed, plain) == []
    assert text == (BOARDS / "figure_3" / "figure_3.md").read_text(encoding="utf-8"), (
        "write it again: python benchmarks/beside_figure_3.py --out leaderboards/figure_3"
    )
