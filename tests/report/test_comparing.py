from __future__ import annotations

from dataclasses import replace

import pytest

from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.comparisons import Superiority
from pnnbench.leaderboard.resolution import Resolution
from pnnbench.records.index import Claim
from pnnbench.report import comparing
from pnnbench.report.render import render

from ..record_factory import METHODS, make_suite

CLAIMS = {"mrr_mnist": (Claim("SAT", "BP"), Claim("BP on weights", "SAT"), Claim("NAT", "gone"))}


@pytest.fixture(scope="module")
def table() -> ranking.Table:
    return ranking.build(make_suite([*METHODS, "BP 2x"]), claims=CLAIMS)[0]


def test_ranks_are_ranges(table) -> None:
    first = table.rows[0]
    assert comparing.rank(replace(first, rank_low=2, rank_high=2)) == "2"
    assert comparing.rank(replace(first, rank_low=1, rank_high=12)) == "1–12"
    assert comparing.rank(replace(first, rank_low=None, rank_high=None)) == "–"
    assert comparing.beats(Superiority(0.834, 0.4, 0.99)) == "83 (40 to 99)"
    assert comparing.beats(Superiority(1.0)) == "100"
    assert comparing.beats(None) == "–"


def test_ties_say_each_pair_once_and_truly(table) -> None:
    first, *lines = comparing.ties(table)
    apart = {frozenset((c.a, c.b)) for c in table.comparisons if c.separated}
    assert first == f"told apart: {len(apart)} of {len(table.comparisons)} pairs of complete rows"
    labels = {row.method for row in table.rows}
    said = set()
    for line in lines:
        head, _, rest = line.partition(": ")
        method = next((name for name in labels if head.endswith(f" {name}")), None)
        if method is None:
            assert head == "not told apart from any row"
            said |= set(rest.split("; "))
            for name in rest.split("; "):
                assert not any(name in pair for pair in apart)
            continue
        said.add(method)
        if rest.startswith("told apart only from "):
            found = set(rest.removeprefix("told apart only from ").split("; "))
        else:
            tied = set(rest.removeprefix("not told apart from ").split("; "))
            found = labels - tied - {method}
        assert {frozenset((method, other)) for other in found} == {p for p in apart if method in p}
    assert said == {row.method for row in table.rows if row.tied_with}


def test_an_order_of_all_rows_is_said(table) -> None:
    apart = tuple(replace(pair, separated=True) for pair in table.comparisons)
    rows = tuple(
        replace(row, tied_with=(), rank_low=i, rank_high=i) for i, row in enumerate(table.rows, 1)
    )
    known = replace(table, comparisons=apart, rows=rows)
    assert comparing.ties(known)[1:] == ["every row is told apart from every other"]
    page = render([known], "html")
    assert "every row is told apart from every other" in page.lower()
    assert "No order of any two rows is known" not in page
    none = tuple(replace(pair, separated=False) for pair in table.comparisons)
    page = render([replace(table, comparisons=none)], "html")
    assert "No order of any two rows is known" in page


def test_resolution_is_written_with_what_a_point_takes(table) -> None:
    seen = Resolution(pairs=15, smallest=0.0823, baseline=0.123, point={20: 34, 50: None})
    shown = comparing.resolution_text(replace(table, resolution=seen))
    assert "8.2 points between two rows of median spread, all 15 pairs at once" in shown
    assert "; 12 points to BP; " in shown
    assert "34 seeds on 20 devices, more than a thousand seeds on 50 devices" in shown
    one_seed = ranking.build([r for r in make_suite() if r["job"]["seed"] == 0])[0]
    assert "from one seed or" in comparing.resolution_text(one_seed)
    alone = ranking.build(make_suite(["BP"]))[0]
    assert comparing.resolution_text(alone) == ""
    assert comparing.ties(alone) == []


def test_claims_stand_in_every_format(table) -> None:
    assert [line.verdict for line in table.claims] == [
        "shown", "the other way round", "not measured",
    ]  # fmt: skip
    for form in ("table", "markdown", "html"):
        shown = render([table], form)
        for words in ("SAT better than BP", "the other way round", "not measured"):
            assert words in shown
    assert '"verdict": "shown"' in render([table], "json")
    plain = render(ranking.build(make_suite([*METHODS, "BP 2x"])), "table")
    assert "claim" not in plain


def test_claims_of_rows_that_are_left_out_are_not_shown_and_no_figure_changes() -> None:
    records = make_suite([*METHODS, "BP 2x"])
    for record in records:
        if record["job"]["method"]["label"] == "NAT":
            record["provenance"]["method"] = {"access": "in_silico", "knows": ["tested law"]}
    whole = ranking.build(records, claims=CLAIMS)[0]
    kept = ranking.without(whole, ("tested law",))
    assert kept.claims == whole.claims[:2]


@pytest.mark.parametrize(
    ("value", "share", "words"),
    [
        (0.0823, True, "8.2 points"),
        (0.345, True, "34 points"),
        (1.5, True, "more than 100 points"),
        (1e-9, True, "less than 0.01 points"),
        (0.0123, False, "0.012"),
    ],
)
def test_amounts_have_a_unit(value: float, share: bool, words: str) -> None:
    assert comparing.amount(value, share=share) == words
