from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.records import index as module
from pnnbench.records.index import LOCK, NAME, Claim, read_claims, read_index, write_index
from pnnbench.records.store import write_whole

BOARD = ("mine", "pnnbench-2", "mrr-digits", "smoke")
OTHER = ("mine", "pnnbench-2", "mzi-digits", "smoke")


def test_an_index_reads_back_from_its_folder_and_from_the_folder_of_all(tmp_path: Path) -> None:
    several = {0: ("d" * 16, "e" * 16), 1: "f" * 16}  # a row on two training devices at seed 0
    index = {
        BOARD: {"SAT, ρ = 1": {0: "a" * 16, 10: "b" * 16}, "PAT": several},
        OTHER: {"BP": {0: "c" * 16}},
    }
    write_index(tmp_path / "mine", "mine", index)
    assert read_index(tmp_path) == read_index(tmp_path / "mine") == index
    assert read_index([tmp_path, tmp_path / "mine"]) == index
    assert read_index(tmp_path / "nowhere") == {}
    assert {p.name for p in (tmp_path / "mine").iterdir()} == {NAME, LOCK}


def test_a_run_of_some_rows_keeps_the_others_and_a_whole_run_does_not(tmp_path: Path) -> None:
    write_index(tmp_path, "mine", {BOARD: {"BP": {0: "a", 1: "b"}, "NAT": {0: "c"}}})
    some = {BOARD: {"BP": {1: "B", 2: "d"}, "SAT": {0: "e"}}}
    write_index(tmp_path, "mine", some, keep=True)
    assert read_index(tmp_path)[BOARD] == {
        "BP": {0: "a", 1: "B", 2: "d"},
        "NAT": {0: "c"},
        "SAT": {0: "e"},
    }
    write_index(tmp_path, "mine", some)
    assert read_index(tmp_path) == some


def test_a_row_keeps_no_seeds_of_another_kind(tmp_path: Path) -> None:
    old = {BOARD: {"BP": {0: "a", 1: "b"}, "NAT": {0: "c"}}}
    write_index(tmp_path, "mine", old, kinds={BOARD: {"BP": "k1", "NAT": "k2"}})
    some = {BOARD: {"BP": {2: "d"}}}
    write_index(tmp_path, "mine", some, keep=True, kinds={BOARD: {"BP": "k1"}})
    assert read_index(tmp_path)[BOARD]["BP"] == {0: "a", 1: "b", 2: "d"}
    edited = {BOARD: {"BP": {0: "A"}}}
    write_index(tmp_path, "mine", edited, keep=True, kinds={BOARD: {"BP": "k3"}})
    assert read_index(tmp_path)[BOARD] == {"BP": {0: "A"}, "NAT": {0: "c"}}


def test_an_index_that_says_no_kinds_is_added_to(tmp_path: Path) -> None:
    write_index(tmp_path, "mine", {BOARD: {"BP": {0: "a", 1: "b"}}})
    assert "kinds" not in (tmp_path / NAME).read_text()
    for kind in ("k1", "k2"):
        some = {BOARD: {"BP": {1: f"job of {kind}"}}}
        write_index(tmp_path, "mine", some, keep=True, kinds={BOARD: {"BP": kind}})
        first = {0: "a"} if kind == "k1" else {}
        assert read_index(tmp_path)[BOARD] == {"BP": {**first, 1: f"job of {kind}"}}


def test_a_job_is_of_one_row(tmp_path: Path) -> None:
    index = {BOARD: {"BP": {0: "a"}, "PAT": {0: ("b", "c"), 1: "d"}, "NAT": {0: "e"}}}
    write_index(tmp_path, "mine", index)
    write_index(tmp_path, "mine", {BOARD: {"Renamed": {0: "a", 1: "b"}}}, keep=True)
    assert read_index(tmp_path)[BOARD] == {
        "Renamed": {0: "a", 1: "b"},
        "PAT": {0: ("c",), 1: "d"},
        "NAT": {0: "e"},
    }


def test_folders_of_one_suite_are_put_together(tmp_path: Path) -> None:
    kinds = {BOARD: {"BP": "k1", "SAT": "k2"}}
    first = {BOARD: {"BP": {0: "a", 2: "c"}, "SAT": {0: "s"}}}
    write_index(tmp_path / "ra", "mine", first, kinds=kinds, claims=(Claim("SAT", "BP"),))
    second = {BOARD: {"BP": {1: "b", 2: "C"}, "SAT": {1: "S"}}, OTHER: {"NAT": {0: "n"}}}
    later = {BOARD: {"BP": "k1", "SAT": "k3"}}
    write_index(tmp_path / "rb", "mine", second, kinds=later, claims=(Claim("BP", "SAT"),))
    for name, time in (("ra", 1000), ("rb", 2000)):
        os.utime(tmp_path / name / NAME, (time, time))
    both = [tmp_path / "ra", tmp_path / "rb"]
    for sources in (both, both[::-1], tmp_path):
        assert read_index(sources) == {
            BOARD: {"BP": {0: "a", 1: "b", 2: "C"}, "SAT": {1: "S"}},  # edited since
            OTHER: {"NAT": {0: "n"}},
        }
        assert read_claims(sources) == {"mine": (Claim("BP", "SAT"),)}
    os.utime(tmp_path / "ra" / NAME, (3000, 3000))
    assert read_index(both)[BOARD] == {"BP": {0: "a", 1: "b", 2: "c"}, "SAT": {0: "s"}}
    assert read_claims(both) == {"mine": (Claim("SAT", "BP"),)}


def test_claims_travel_with_the_index(tmp_path: Path) -> None:
    claims = (Claim("SAT", "BP"), Claim("NAT", "BP"))
    write_index(tmp_path / "mine", "mine", {BOARD: {"BP": {0: "a"}}}, claims=claims)
    other = (OTHER[0] + "-2", *OTHER[1:])
    write_index(tmp_path / "other", other[0], {other: {"BP": {0: "a"}}})
    assert read_claims(tmp_path) == {"mine": claims}
    assert read_index(tmp_path)[BOARD] == {"BP": {0: "a"}}
    # Some jobs more leave them; a suite file without claims takes them away.
    write_index(tmp_path / "mine", "mine", {BOARD: {"BP": {1: "b"}}}, keep=True, claims=claims)
    assert read_claims(tmp_path / "mine") == {"mine": claims}
    write_index(tmp_path / "mine", "mine", {BOARD: {"BP": {0: "a"}}})
    assert read_claims(tmp_path) == {}


def test_an_equal_index_is_not_written_again(tmp_path: Path) -> None:
    write_index(tmp_path, "mine", {BOARD: {"BP": {0: "a"}}})
    before = (tmp_path / NAME).stat().st_mtime_ns
    write_index(tmp_path, "mine", {BOARD: {"BP": {0: "a"}}})
    assert (tmp_path / NAME).stat().st_mtime_ns == before


def test_rows_that_another_process_adds_at_the_same_time_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins while the first has read the index and not yet written it."""

    def write(row: str) -> None:
        write_index(tmp_path, "mine", {BOARD: {row: {0: row}}}, keep=True)

    second = threading.Thread(target=write, args=("second",))

    def slowly(path: Path, data: bytes) -> None:
        monkeypatch.setattr(module, "write_whole", write_whole)
        second.start()
        second.join(0.5)  # would have written by now
        write_whole(path, data)

    write("before")
    monkeypatch.setattr(module, "write_whole", slowly)
    write("first")
    second.join()
    assert set(read_index(tmp_path)[BOARD]) == {"before", "first", "second"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"suite": "x", "boards": [{"rows": {}}]}',
        '{"suite": "x", "boards": [{"protocol": "p", "workload": "w", "tier": "t", '
        '"rows": {"BP": {"0": []}}}]}',
        "\x00",
        '{"suite": "x", "boards": [], "claims": [{"better": "SAT"}]}',
    ],
)
def test_what_is_no_index_gives_one_readable_error(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(UserError, match="not the index of a suite"):
        read_index(tmp_path)
