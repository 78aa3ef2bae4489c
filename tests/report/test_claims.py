"""The claims as they are shown: in words, as Markdown, JSON and a page."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pnnbench.leaderboard.claims import Claim, Claims, Comparison, Found
from pnnbench.leaderboard.ranking import build
from pnnbench.leaderboard.verdicts import Decided, decide
from pnnbench.report import claims_page, claims_text
from pnnbench.report.claims_view import counts, views

from ..record_factory import make_mesh_suite

EVIL = "<script>alert(1)</script> | `x`"
MESH = "mzi_mnist"
CLAIMS = Claims(
    "pnnbench-2",
    "standard",
    0.95,
    {"holds": "rule of <holding>"},
    (
        Claim(
            1, "SAT is above BP", "92.31 and 68.64 %", "fresh devices",
            tests=(
                Comparison(MESH, "fresh_devices", "higher", "SAT", "BP", published=(92.0, 68.64)),
                Comparison(MESH, "lambda_max", "lower", "SAT", "BP", published=(0.3, 93.5)),
                Comparison(MESH, "transfer", "keeps", "SAT", margin=5.0, beside=True),
                Comparison(MESH, "gradient_evaluations", "at_most", "SAT", "BP", tolerance=1.1,
                           published=(513.8, 356.1), beside=True),
            ),
        ),
        Claim(2, EVIL, EVIL, waits_for=EVIL),
        Claim(3, "there is a row X", "", tests=(
            Comparison(MESH, "robust", "higher", EVIL, "BP"),
        )),
        Claim(4, "the chip is warm", "text", not_testable="there is no chip"),
        Claim(5, "SAT differs from itself", "text", tests=(
            Comparison(MESH, "robust", "higher", "PAT", "BP"),
        )),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def decided() -> tuple[Decided, ...]:
    return decide(CLAIMS, build(make_mesh_suite(["SAT", "BP", "PAT"], range(4))), Found({}, {}))


def test_words_say_what_was_measured(decided) -> None:
    first, _, third, fourth, fifth = views(decided)
    fresh, eigenvalue, transfer, gradients = first.tests
    assert fresh.published == "92.0 against 68.64 %"
    outcome = decided[0].outcomes[0]
    assert fresh.measured == f"{outcome.values[0]:.1f} against {outcome.values[1]:.1f} %"
    assert re.fullmatch(r"\+\d+\.\d \([+−]\d+\.\d to \+\d+\.\d\) points", fresh.difference)
    assert fresh.over == "4 seeds × 20 devices, revision 1"
    assert re.fullmatch(r"× 0\.\d+ \(\S+ to \S+\)", eigenvalue.difference)
    assert transfer.verdict.startswith("beside: ")
    assert transfer.measured.endswith(" points")
    assert gradients.difference == "× 2 (2 to 2)"
    assert gradients.figure == "gradient evaluations: at most 1.1 times the published ratio"
    assert third.reason == f"mzi_mnist has no row {EVIL!r}"
    assert not third.tests[0].measured_at_all
    assert fourth.reason == "there is no chip"
    seen = fifth.tests[0].seen
    assert re.fullmatch(r"\d+(\.\d+)? points", seen) if fifth.verdict == "not shown" else seen == ""


def test_what_keeps_neither_within_its_margin_nor_beyond_says_what_would_have_been_told() -> None:
    board = build(make_mesh_suite(["SAT", "BP", "PAT"], range(4)))

    def one(margin: float) -> Decided:
        test = Comparison(MESH, "transfer", "keeps", "SAT", margin=margin)
        claims = (Claim(1, "SAT keeps", "", tests=(test,)),)
        return decide(dataclasses.replace(CLAIMS, claims=claims), board, Found({}, {}))[0]

    loss = -one(1e-6).outcomes[0].bounds.mean
    near = one(abs(loss))
    assert near.verdict == "not shown"
    (view,) = views((near,))
    assert re.fullmatch(r"\d+(\.\d+)? points from the margin", view.tests[0].seen)
    outcome = near.outcomes[0]
    bounds = dataclasses.replace(outcome.bounds, seen=2908.7)
    wide = dataclasses.replace(outcome, bounds=bounds)
    (view,) = views((dataclasses.replace(near, outcomes=(wide,)),))
    assert view.tests[0].seen == "more than 100 points from the margin"
    assert views((one(99.0),))[0].tests[0].seen == ""


@pytest.mark.parametrize(
    ("axis", "levels", "words"),
    [
        ("temperature_fine", (-0.25, 0.25), "temperature at −0.25, +0.25"),
        ("rotation", (-1.0,), "rotation at −1"),
        ("device", (1.0,), "device errors at severity 1"),
        ("phase", (0.2, 0.25), "phase errors at 0.2, 0.25"),
        ("device", (), "device errors"),
    ],
)
def test_offsets_have_a_sign_and_amounts_have_none(
    axis: str, levels: tuple[float, ...], words: str
) -> None:
    test = Comparison(MESH, "cells", "higher", "SAT", "BP", axes=(axis,), levels=levels)
    claim = Claim(1, "SAT is above BP", "text", tests=(test,))
    claims = dataclasses.replace(CLAIMS, claims=(claim,))
    (view,) = views(decide(claims, [], Found({}, {})))
    assert view.tests[0].figure == f"accuracy under {words}: higher"


def test_every_claim_is_counted_once(decided) -> None:
    assert sum(counts(decided).values()) == len(decided)
    assert counts(decided)["not measured yet"] == 2


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_keeps_to_its_width(decided, width: int) -> None:
    lines = claims_text.render_table(CLAIMS, decided, width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.startswith(" 1  ") for line in lines) == 1


def test_json_is_plain_and_complete(decided) -> None:
    content = json.loads(claims_text.render_json(CLAIMS, decided))
    assert content["family"] == 6
    assert [claim["number"] for claim in content["claims"]] == [1, 2, 3, 4, 5]
    test = content["claims"][0]["tests"][1]
    assert (test["scale"], test["published"]) == ("ratio", [0.3, 93.5])
    assert test["difference"]["low"] <= test["plain"]["low"] <= test["plain"]["mean"]
    assert content["claims"][2]["tests"][0]["difference"] is None


def test_markdown_escapes_and_names_every_claim(decided) -> None:
    text = claims_text.render_markdown(CLAIMS, decided)
    assert "<script>" not in text.replace("\\<script\\>", "")
    for claim in CLAIMS.claims:
        assert f"### {claim.number}. " in text
    widths = [line.count("|") - line.count("\\|") for line in text.splitlines() if "|" in line[:1]]
    assert set(widths) == {4, 8}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("href", "src")]


def test_the_page_loads_nothing_and_links_the_boards_that_decide(decided) -> None:
    text = claims_page.render_html(CLAIMS, decided)
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert set(page.links) == {"#rules", f"{MESH}/index.html"}
    assert page.tags.count("article") == len(CLAIMS.claims)
    assert "prefers-color-scheme: dark" in text
    assert "rule of &lt;holding&gt;" in text


def test_files_are_written_whole_and_say_the_same(decided, tmp_path: Path) -> None:
    page = claims_page.write_claims(tmp_path / "new", CLAIMS, decided)
    assert {p.name for p in page.parent.iterdir()} == {"claims.html", "claims.md", "claims.json"}
    again = claims_page.write_claims(tmp_path / "again", CLAIMS, decided)
    for path in page.parent.iterdir():
        assert path.read_bytes() == (again.parent / path.name).read_bytes()
    other = dataclasses.replace(CLAIMS, protocol="pnnbench-3")
    assert claims_text.render_markdown(other, decided) != page.with_suffix(".md").read_text()
