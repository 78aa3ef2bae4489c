"""What a record calls things never reaches whoever reads a page as something to obey."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pnnbench.leaderboard.model import Table
from pnnbench.leaderboard.ranking import build
from pnnbench.report.figures import draw_suite
from pnnbench.report.render import render
from pnnbench.report.visible import visible

from ..record_factory import make_suite

LABELS = {
    "\x1b[31mBP": r"\x1b[31mBP",
    "B\x00P": r"B\x00P",
    "B\x9bP\x7f": r"B\u009bP\u007f",
    "PB\u202eTAS": r"PB\u202eTAS",
    "B\rP": r"B\x0dP",
}


def tables(*labels: str) -> list[Table]:
    rows = dict(zip(labels, ("SAT", "NAT", "Pruning", "BP 2x", "BP on weights"), strict=False))
    records = make_suite(["BP", *rows.values()], (0, 1))
    named = {row: label for label, row in rows.items()}
    for record in records:
        method = record["job"]["method"]
        method["label"] = named.get(method["label"], "BP")
    return build(records)


@pytest.mark.parametrize("label", LABELS)
def test_a_sign_that_is_obeyed_is_written_as_its_code(label: str) -> None:
    assert visible(label) == LABELS[label]


def test_what_can_be_read_stays() -> None:
    text = "λmax ±1 − “ü”\u00a0\u2007…\n\tend"
    assert visible(text) == text


@pytest.mark.parametrize("label", LABELS)
def test_json_stays_the_json_of_the_same(label: str) -> None:
    text = json.dumps({"label": label}, ensure_ascii=False)
    assert json.loads(visible(text)) == {"label": label}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("form", ["html", "markdown"])
def test_pages_show_the_code(label: str, form: str) -> None:
    page = render(tables(label), form)
    signs = [sign for sign in label if visible(sign) != sign]
    assert signs
    assert not any(sign in page for sign in signs)
    assert LABELS[label] in page.replace("\\[", "[")
    if form == "html":
        found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
        assert found is not None
        assert label in {row["method"] for row in json.loads(found[1])["rows"]}


def test_pictures_hold_no_sign_that_is_obeyed(tmp_path: Path) -> None:
    for path in draw_suite(tables(*LABELS), tmp_path).values():
        text = path.read_text(encoding="utf-8")
        assert visible(text) == text, path.name
