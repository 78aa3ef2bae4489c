from __future__ import annotations

import json
import math

import pytest

from pnnbench.errors import UserError
from pnnbench.published.printed import Printed
from pnnbench.published.report import Report, Row, render

ROWS = (
    Row("m1", "drift", "drift", 100.0, "%", 100, 0.0, 0.0, "degC"),
    Row("m1", "drift", "drift", 90.0, "%", 91, 0.0, -0.1, "degC"),
    Row("m1", "clean", "accuracy", 99.12, "%", 99.1, 0.02),
    Row("m1", "lambda_1", "lambda", 968.9, "", 969, 19.38),
    Row("m2", "drift", "drift", 55.0, "%", None, 0.0, 0.0, "degC"),
    Row("m2", "drift", "drift", 54.0, "%", None, 0.0, -0.1, "degC"),
    Row("m2", "lambda_1", "lambda", 1.25),
)
REPORT = Report("mrr", ROWS, {"mnist": "sha256:0"}, ("m2: a note",))


def test_a_row_is_within_up_to_its_tolerance() -> None:
    def row(value: float, recorded: float | None, tolerance: float) -> Row:
        return Row("m", "q", "q", value, recorded=recorded, tolerance=tolerance)

    assert row(99.12, 99.10, 0.02).within is True
    assert row(99.13, 99.10, 0.02).within is False
    assert row(99.07, 99.10, 0.02).within is False
    assert row(91.0, 91, 0.0).within is True
    assert row(90.0, 91, 0.0).within is False
    assert row(90.0, 91, 0.0).difference == -1.0
    assert row(math.nan, 91, 100.0).within is False
    assert row(5.0, None, 0.0).within is None
    assert row(5.0, None, 0.0).difference is None


def test_the_rounding_of_what_was_printed_is_allowed_beside_the_tolerance() -> None:
    def row(value: float, printed: str) -> Row:
        number = Printed(printed)
        return Row("m", "q", "q", value, recorded=number, tolerance=0.01 * number)

    assert row(0.1011, "0.1").within is True
    assert row(0.1499, "0.1").within is True
    assert row(0.1511, "0.1").within is False
    assert row(0.1011, "0.100").within is True
    assert row(0.1016, "0.100").within is False
    assert row(0.1011, "0.1000").within is False
    assert row(969.0 * 1.01 + 0.5, "969").within is True
    assert row(969.0 * 1.01 + 0.6, "969").within is False
    assert row(0.1011, "0.1").allowed == pytest.approx(0.051)
    assert row(0.1011, "0.1").as_dict()["allowed"] == pytest.approx(0.051)
    exact = Row("m", "q", "q", 0.1011, recorded=0.1, tolerance=0.001)
    assert exact.within is False
    line = render(Report("m", (row(97.9, "97.90"),)), "markdown").splitlines()[2]
    assert "| 97.9 | 97.90 | 0 | 0.98 | yes |" in line


def test_counts_and_verdict() -> None:
    assert (REPORT.compared, REPORT.agreeing, REPORT.ok) == (4, 3, False)
    good = Report("mrr", ROWS[:1] + ROWS[2:])
    assert (good.compared, good.agreeing, good.ok) == (3, 3, True)
    assert Report("mrr", ROWS[4:]).ok
    assert "3 of 4 recorded values reproduced, 3 values without a record, 2 checkpoints" in (
        REPORT.summary
    )


def test_json_holds_every_row() -> None:
    told = json.loads(render(REPORT, "json"))
    assert told["platform"] == "mrr"
    assert told["protocol"] == "published"
    assert (told["ok"], told["compared"], told["within"]) == (False, 4, 3)
    assert told["data"] == {"mnist": "sha256:0"}
    assert told["notes"] == ["m2: a note"]
    assert len(told["rows"]) == len(ROWS)
    assert told["rows"][1] == {
        "checkpoint": "m1",
        "quantity": "drift",
        "label": "drift",
        "value": 90.0,
        "unit": "%",
        "recorded": 91,
        "tolerance": 0.0,
        "level": -0.1,
        "level_unit": "degC",
        "difference": -1.0,
        "allowed": 0.0,
        "within": False,
    }
    assert told["rows"][-1]["within"] is None


def test_json_stays_json_with_values_that_are_not_finite() -> None:
    row = Row("m", "q", "q", math.nan, recorded=1.0, tolerance=math.inf)
    told = json.loads(render(Report("mrr", (row,)), "json"))["rows"][0]
    assert (told["value"], told["tolerance"], told["within"]) == ("nan", "inf", False)


def test_table_shows_series_whole_and_marks_what_is_off() -> None:
    lines = render(REPORT).splitlines()
    drift = next(i for i, line in enumerate(lines) if line.startswith("m1") and "drift" in line)
    assert "0 to -0.1 degC [%]" in lines[drift]
    assert lines[drift].endswith("NO (1/2)")
    assert lines[drift + 1].split() == ["value", "100", "90"]
    assert lines[drift + 2].split() == ["recorded", "100", "91"]
    accuracy = next(line for line in lines if "accuracy" in line)
    assert accuracy.split()[-5:] == ["99.12", "99.1", "0.02", "0.02", "yes"]
    unknown = [line for line in lines if line.startswith("m2 ")]
    assert len(unknown) == 2
    assert all(line.split()[-4:] == ["-", "-", "-", "-"] for line in unknown)
    assert "m2: a note" in lines
    assert lines[-1] == REPORT.summary


def test_markdown_is_one_table() -> None:
    lines = render(REPORT, "markdown").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 5
    assert {line.count("|") for line in table} == {8}
    assert "| 100 90 | 100 91 | 1 | 0 | NO (1/2) |" in table[2]
    assert "- m2: a note" in lines


def test_a_difference_that_is_not_a_number_shows() -> None:
    row = Row("m", "q", "q", math.nan, recorded=1.0, tolerance=0.5)
    line = render(Report("mrr", (row,)), "markdown").splitlines()[2]
    assert "| nan | 1 | inf | 0.5 | NO |" in line


def test_unknown_format_is_a_user_error() -> None:
    with pytest.raises(UserError, match="did you mean 'json'"):
        render(REPORT, "jsn")
