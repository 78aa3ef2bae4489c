from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.records.doctor import examine
from pnnbench.records.search_schema import validate_search
from pnnbench.records.searches import NAME, write_sealed

from ..record_factory import changed
from ..search_factory import digest, make_search

ROW = "rows.BP"
TRIAL = f"{ROW}.trials.0"


def test_a_search_that_is_whole_is_accepted() -> None:
    validate_search(make_search())
    begun = changed(changed(make_search(), f"{ROW}.trials", []), f"{ROW}.chosen", KeyError)
    validate_search(changed(changed(begun, f"{ROW}.beyond", KeyError), f"{ROW}.tried_before", 4))


def test_points_beyond_a_range_have_a_hash_too() -> None:
    more = [{"lr": 2.0}]
    beyond = {"winner": 1, "ends": {"lr": "high"}, "points": more, "points_sha256": digest(more)}
    found = changed(make_search(), f"{ROW}.beyond", beyond)
    validate_search(changed(changed(found, f"{TRIAL}.point", 2), f"{TRIAL}.params", more[0]))
    for other in ({**beyond, "points": [{"lr": 3.0}]}, {**beyond, "points_sha256": "0" * 64}):
        with pytest.raises(UserError, match=r"BP\.beyond: the points are not those of their hash"):
            validate_search(changed(found, f"{ROW}.beyond", other))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        *((key, KeyError, f"lacks {key}") for key in make_search()),
        ("colour", "red", "unknown key 'colour'"),
        ("format", True, "search.format"),
        ("tier", "a\x1b[31m", "search.tier"),
        ("suite", "a\nb", "search.suite"),
        ("metric", "accuracy", "search.metric"),
        ("metric.chance", 2.0, "search.metric.chance"),
        ("budget", None, "search.budget"),
        ("budget.devices", 10**400, "search.budget.devices"),
        ("deviates", 1, "search.deviates"),
        ("like", [], "search.like"),
        ("like", {"a\u202e": "BP"}, "a key of search.like"),
        ("not_tuned", "BP", "search.not_tuned"),
        ("made_by", "<script>", "search.made_by"),
        ("made_by", [{"versions": {"torch": "2\n"}, "git": {}}], "versions.torch"),
        ("rows", [], "search.rows"),
        (ROW, [1], "search.rows.BP"),
        (f"{ROW}.trials", KeyError, "lacks trials"),
        (f"{ROW}.definition", None, "search.rows.BP.definition"),
        (f"{ROW}.definition.rule", "any", "definition.rule"),
        (f"{ROW}.points", [], "search.rows.BP.points"),
        (f"{ROW}.points", [{"lr": 9.0}], "are not those of their hash"),
        (f"{ROW}.tried_before", 10**400, "tried_before"),
        (f"{ROW}.tried_before", -1000, "tried_before"),
        (f"{ROW}.chosen", [1], "search.rows.BP.chosen"),
        (f"{ROW}.chosen.params", {"lr": 77.0}, "search.rows.BP.chosen is"),
        (f"{ROW}.chosen.by_the_other_rule.point", 5, "by_the_other_rule is"),
        (f"{ROW}.chosen.edge", {"lr": "far"}, "edge.lr"),
        (f"{ROW}.chosen.edge", {"<img>": "low"}, "not searched is ['<img>']"),
        (f"{ROW}.definition.space", {}, "not searched is ['lr']"),
        (f"{ROW}.chosen.means", {"robust score": 1.5}, "chosen.means.robust score"),
        (f"{ROW}.failed", 3, "failed"),
        (f"{TRIAL}.point", KeyError, "lacks point"),
        (f"{TRIAL}.point", 2, "trials[0] is"),
        (f"{TRIAL}.params", {"lr": 77.0}, "trials[0] is"),
        (f"{TRIAL}.value", "1", "trials[0].value"),
        (f"{TRIAL}.value", 1e308, "trials[0].value"),
        (f"{TRIAL}.value", 0.75, "its validation.score"),
        (f"{TRIAL}.validation.score", 1.7, "trials[0]"),
        (f"{TRIAL}.test_never_chosen_by", KeyError, "lacks test_never_chosen_by"),
        (f"{TRIAL}.test_never_chosen_by.score", None, "test_never_chosen_by.score"),
        (f"{TRIAL}.test_never_chosen_by.score", 1.7, "accuracy in [0, 1]"),
        (f"{TRIAL}.test_never_chosen_by.axes.device", -0.1, "accuracy in [0, 1]"),
        (f"{TRIAL}.status", "fine", "trials[0].status"),
    ],
)
def test_what_is_no_search_is_refused(path: str, value: Any, words: str, tmp_path: Path) -> None:
    content = changed(make_search(), path, value)
    with pytest.raises(UserError) as caught:
        validate_search(content)
    assert words in str(caught.value)
    write_sealed(tmp_path / NAME, content)
    (finding,) = examine(tmp_path)[0]
    assert (finding.kind, finding.path) == ("corrupt", tmp_path / NAME)


def test_one_key_too_many_does_not_stand_for_one_that_is_missing() -> None:
    content = {**changed(make_search(), "like", KeyError), "colour": "red"}
    with pytest.raises(UserError, match="search lacks like"):
        validate_search(content)
