from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from pnnbench.errors import UserError
from pnnbench.running.selection import find_rows, labels_of, not_searched, select, supported
from pnnbench.running.suites import Suite, load_suite, suite_path

LABELS = ["BP", "BP, equal gradients", "SAT", "SAT, adaptive"]


def suite(folder: Path, *methods: object, workload: str = "mzi-digits") -> Suite:
    content = {
        "suite": "some",
        "protocol": "pnnbench-2",
        "tier": "smoke",
        "workloads": [workload],
        "seeds": [0, 1],
        "methods": list(methods),
    }
    path = folder / "some.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_suite(path)


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (["bp"], ["BP"]),
        (["BP, equal gradients"], ["BP, equal gradients"]),
        (["SAT, adaptive, bp"], ["BP", "SAT, adaptive"]),
        (["sat,BP"], ["BP", "SAT"]),
        (["BP", "sat"], ["BP", "SAT"]),
        ([], []),
    ],
)
def test_labels_may_hold_commas(given: list[str], rows: list[str]) -> None:
    assert find_rows(given, LABELS) == rows


def test_a_row_that_is_not_there_gets_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean 'SAT, adaptive'"):
        find_rows(["SAT, adaptiv"], ["BP", "SAT, adaptive"])


@pytest.mark.parametrize("given", [[","], [" , "], [",", ",,"]])
def test_a_choice_without_a_row_is_refused(given: list[str]) -> None:
    with pytest.raises(UserError, match=r"--only is .*: no row") as error:
        find_rows(given, LABELS)
    assert error.value.allowed == "; ".join(LABELS)


def test_chosen_parts_are_partial_and_keep_their_hashes(tmp_path: Path) -> None:
    whole = suite(tmp_path, "bp", "nat")
    part = select(whole, only=["nat"], seeds=[1, 5])
    assert (whole.partial, part.partial, select(whole).partial) == (False, True, False)
    assert [(j.method.label, j.seed) for j in part.jobs] == [("nat", 1), ("nat", 5)]
    hashes = {job.spec()["hash"] for job in whole.jobs}
    assert [job.spec()["hash"] in hashes for job in part.jobs] == [True, False]


def test_added_methods_are_rows_at_every_seed(tmp_path: Path) -> None:
    more = select(suite(tmp_path, "bp"), add=["SAT"])
    assert labels_of(more) == ["bp", "sat"]
    assert [j.seed for j in more.jobs] == [0, 0, 1, 1]
    with pytest.raises(UserError, match="has a row 'bp' already"):
        select(suite(tmp_path, "bp"), add=["bp"])
    # Under another label it is that row as well, run this time or not.
    named = suite(tmp_path, {"method": "bp", "label": "Plain, BP"}, "nat")
    for only in ((), ("nat",)):
        with pytest.raises(UserError, match="'bp' at its defaults is the row 'Plain, BP'") as error:
            select(named, add=["bp"], only=only, seeds=[7])
    run = ["pnnbench", "run", str(tmp_path / "some.yaml"), "--only", "Plain, BP"]
    assert error.value.next_step == shlex.join(run)


def test_a_seed_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"seeds\[0\] is 3") as error:
        select(suite(tmp_path, "bp"), seeds=[3, 1, 3])
    assert error.value.allowed == "different integers"
    with pytest.raises(UserError, match=r"seeds\[1\] is -1"):
        select(suite(tmp_path, "bp"), seeds=(3, -1))


def test_what_cannot_be_trained_is_left_out_and_what_has_another_unit_refused(
    tmp_path: Path,
) -> None:
    kept, lines = supported(suite(tmp_path, "bp", "sat-environment"))
    assert labels_of(kept) == ["bp"]
    assert lines == ["skipped: sat-environment cannot train mzi-digits"]
    wrong = {"method": "sat", "label": "mine", "params": {"rho": "1 mA"}}
    with pytest.raises(UserError, match=r"mine: rho is '1\.0 mA' on mzi-digits"):
        supported(suite(tmp_path, wrong))


def test_a_label_to_the_letter_comes_first_and_one_that_may_be_several_is_refused() -> None:
    labels = ["BP", "rho -1", "rho 1", "SAT A", "sat a"]
    for label in labels:
        assert find_rows([label], labels) == [label]
    assert find_rows(["rho -1,bp"], labels) == ["BP", "rho -1"]
    with pytest.raises(UserError, match="'Sat A' may be several rows") as error:
        find_rows(["Sat A"], labels)
    assert error.value.allowed == "SAT A; sat a"


def test_rows_that_are_to_be_searched_are_named_until_they_are(tmp_path: Path) -> None:
    rows = [
        {"method": "bp", "label": "BP"},
        {"method": "nat", "label": "NAT", "tune": True},
        {"method": "sat", "label": "SAT", "tune": True, "tuned": {"lr": 0.1, "rho": 0.1}},
    ]
    (line,) = not_searched(suite(tmp_path, *rows))
    tune = shlex.join(["pnnbench", "tune", str(tmp_path / "some.yaml")])
    assert line == f"not searched yet, at defaults: NAT ({tune} searches them)"
    assert not_searched(suite(tmp_path, rows[0], rows[2])) == []


def test_a_suite_is_named_in_commands_as_it_was_given(tmp_path: Path) -> None:
    assert suite(tmp_path, {"method": "bp", "label": "BP"}).word == str(tmp_path / "some.yaml")
    assert load_suite(suite_path("quickstart")).word == "quickstart"
