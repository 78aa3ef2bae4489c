from __future__ import annotations

from typing import get_args

import pytest

from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.knowledge import KNOWLEDGE, knowledge_text, knows, phrase

from ..record_factory import make_failure, make_later_record, make_suite


def told(*names: str) -> dict:
    return {"provenance": {"method": {"access": "in_silico", "knows": list(names)}}}


def test_names_are_those_of_the_methods() -> None:
    from pnnbench.methods.base import Knowledge

    assert set(KNOWLEDGE) == set(get_args(Knowledge))


@pytest.mark.parametrize("method", ["bp", "nat", "sat", "pat", "nat-in-situ", "sat-in-situ"])
def test_what_a_class_tells_is_what_its_row_shows(method: str) -> None:
    """From the class over the provenance of a job to the column."""
    from pnnbench.registry import method_class

    names = method_class(method).told()
    record = make_later_record("BP")
    record["provenance"]["method"]["knows"] = list(names)
    (row, _) = ranking.rows([record])
    assert row.knows is not None
    assert set(row.knows) == set(names)
    assert row.as_dict()["knows"] == list(row.knows)


def test_records_that_do_not_say_are_no_records_of_knowing_nothing() -> None:
    assert knows([{"provenance": {}}]) is None
    assert knows([{"provenance": {}}, told()]) == ()
    assert {row.knows for row in ranking.rows(make_suite())} == {None}
    assert knowledge_text(None, "–") == "–"
    assert knowledge_text((), "–") == "nothing"


def test_what_is_known_comes_in_one_order_and_from_failures_too() -> None:
    assert knows([told("one device", "gaussian on controls"), told()]) == (
        "gaussian on controls",
        "one device",
    )
    assert knowledge_text(("gaussian on controls", "one device"), "–") == "Gaussian, one device"
    assert phrase(["tested law", "one device"]) == "the tested law or one device"
    failure = make_failure("SAT")
    failure["provenance"]["method"] = {"access": "in_silico", "knows": ["tested law"]}
    (row,) = ranking.rows([failure])
    assert row.knows == ("tested law",)
