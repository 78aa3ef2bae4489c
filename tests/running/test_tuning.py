"""The search: what it runs, what it chooses by, and that it can be stopped and shared at will."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pnnbench.errors import UserError
from pnnbench.records.search_schema import TEST
from pnnbench.records.searches import read_search
from pnnbench.registry import SUITES
from pnnbench.running import tuning
from pnnbench.running.search_file import Budget, SearchFile, search_path, searched_rows
from pnnbench.running.suites import load_suite
from pnnbench.running.tuning import missing, require_chosen, tune
from pnnbench.seeds import FIRST_FINAL, FIRST_TUNING, final_seeds, trial_seed

SMALL = Budget(trials=6, finalists=2, more_seeds=2, beyond=2)
#: A score by settings and seed.
Score = Callable[[Mapping[str, Any], int], float]


def opened(folder: Path, *methods: Any, budget: Budget = SMALL, **kw: Any) -> SearchFile:
    path = folder / "own.yaml"
    rows = list(methods) or [{"method": "bp", "label": "BP", "tune": True}]
    suite = {"suite": "own", "protocol": "pnnbench-2", "seeds": [0], "tier": "smoke"}
    path.write_text(yaml.safe_dump({**suite, "workloads": ["mrr-digits"], "methods": rows}))
    loaded = load_suite(path)
    search = SearchFile(search_path(path, "own"), loaded, folder / "runs", budget)
    search.open(searched_rows(loaded), **kw)
    return search


def fake(monkeypatch: pytest.MonkeyPatch, score: Score, test: Score | None = None) -> list[Any]:
    """Puts records of that score in the place of training; returns the trials in their order."""
    ran: list[Any] = []

    def run_jobs(jobs: Sequence[Any], folders: Sequence[Path], **kw: Any) -> None:
        for job, folder in zip(jobs, folders, strict=True):
            ran.append(job)
            value = score(job.method.params, job.seed)
            record: dict[str, Any] = {"job": job.spec(), "status": "ok", "cost": {}}
            if value < 0:
                record |= {"status": "error", "error": {"type": "E", "message": "broken"}}
            else:
                own = 1.0 - value
                record["validation"] = {"score": value, "clean": value, "own_device": own}
                reached = (test or score)(job.method.params, job.seed)
                record[TEST] = {"score": reached, "clean": reached}
            kw["finished"](job, record, folder)

    monkeypatch.setattr(tuning, "run_jobs", run_jobs)
    return ran


def searched(search: SearchFile) -> dict[str, Any]:
    tune(search, searched_rows(search.suite), say=lambda line: None)
    return read_search(search.path)


def near(best: float) -> Score:
    """A score that falls with the distance to the best step."""
    return lambda params, seed: 1.0 / (1.0 + abs(params["lr"] - best))


def test_spaces_and_points_stand_in_the_file_before_the_first_trial(tmp_path: Path) -> None:
    row = read_search(opened(tmp_path).path)["rows"]["BP"]
    assert row["trials"] == []
    assert row["points"][0] == {"lr": 0.1}
    assert len(row["points"]) == 6
    assert row["definition"]["space"]["lr"] == {"low": 0.003, "high": 3.0, "scale": "log"}


def test_searches_with_runs_in_different_folders_share_one_record(tmp_path: Path) -> None:
    one = opened(tmp_path)
    two = SearchFile(one.path, one.suite, tmp_path / "other_runs", SMALL)

    def note(name: str) -> Callable[[dict[str, Any]], None]:
        return lambda content: content["not_tuned"].append(name)

    second = threading.Thread(target=two.update, args=(note("two"),))

    def slowly(content: dict[str, Any]) -> None:
        second.start()
        second.join(0.5)  # would have written by now
        note("one")(content)

    one.update(slowly)
    second.join()
    assert read_search(one.path)["not_tuned"] == ["one", "two"]
    kept = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert kept == [".own.tuning.json.lock", "own.tuning.json", "own.yaml"]


def test_every_point_once_then_the_best_with_the_same_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nat = {"method": "nat", "label": "NAT", "tune": True}
    search = opened(tmp_path, {"method": "bp", "label": "BP", "tune": True}, nat)
    ran = fake(monkeypatch, near(0.1))
    content = searched(search)
    # All rows progress together, each trial with a seed of its own, the same for every row.
    assert [(j.method.label, j.seed) for j in ran[:4]] == [
        ("BP", FIRST_TUNING),
        ("NAT", FIRST_TUNING),
        ("BP", FIRST_TUNING + 1),
        ("NAT", FIRST_TUNING + 1),
    ]
    for row in content["rows"].values():
        first = [t for t in row["trials"] if t["round"] == "first"]
        assert [t["seed"] for t in first] == [trial_seed(i) for i in range(6)]
        assert [t["params"] for t in first] == row["points"]
        finals = [(t["point"], t["seed"]) for t in row["trials"] if t["round"] == "final"]
        best = sorted(first, key=lambda t: (-t["value"], t["point"]))[:2]
        assert set(finals) == {(t["point"], s) for t in best for s in final_seeds(2)}
        assert row["chosen"]["params"] == {**best[0]["params"]}
        assert row["chosen"]["edge"] == {}
    for job in ran:
        assert job.method.params["lr"] in {p["lr"] for p in points(content, job.method.label)}
        assert job.device == job.seed >= FIRST_TUNING


def points(content: Mapping[str, Any], label: str) -> list[dict[str, float]]:
    found: list[dict[str, float]] = content["rows"][label]["points"]
    return found


def test_the_mean_over_the_seeds_decides_and_of_equal_ones_the_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, lambda params, seed: 0.5)
    assert searched(opened(tmp_path))["rows"]["BP"]["chosen"]["point"] == 0

    def lucky(params: Mapping[str, Any], seed: int) -> float:
        """The defaults win with their first seed alone."""
        if params["lr"] == 0.1:
            return 0.9 if seed < FIRST_FINAL else 0.2
        return 0.8 if 0.1 < params["lr"] < 1.0 else 0.1

    other = tmp_path / "other"
    other.mkdir()
    fake(monkeypatch, lucky)
    chosen = searched(opened(other))["rows"]["BP"]["chosen"]
    assert chosen["point"] != 0
    assert chosen["value"] == pytest.approx(0.8)
    assert chosen["seeds"] == 3


def test_changed_test_figures_change_no_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for i, test in enumerate((near(0.1), near(3.0), lambda params, seed: 0.0)):
        folder = tmp_path / str(i)
        folder.mkdir()
        fake(monkeypatch, near(0.3), test)
        content = searched(opened(folder))
        for trial in content["rows"]["BP"]["trials"]:
            del trial[TEST]
        found.append(content["rows"])
    assert found[0] == found[1] == found[2]


def test_methods_made_for_one_device_are_chosen_by_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"method": m, "label": m, "tune": True} for m in ("bp", "pat")]
    fake(monkeypatch, near(0.1))  # the own device is the better the worse the score is
    content = searched(opened(tmp_path, *rows, budget=Budget(6, 6, 0, 0)))
    bp, pat = (content["rows"][m]["chosen"] for m in ("bp", "pat"))
    assert (bp["rule"], pat["rule"]) == ("robust score", "own device")
    assert bp["params"] == {"lr": 0.1}
    assert pat["params"] == max(points(content, "pat"), key=lambda p: p["lr"])
    assert pat["by_the_other_rule"]["params"] == {"lr": 0.1}
    assert bp["by_the_other_rule"]["rule"] == "own device"


def test_a_winner_on_the_edge_is_looked_for_beyond_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(16, 2, 2, 4)
    fake(monkeypatch, lambda params, seed: params["lr"] / (1.0 + params["lr"]))
    row = searched(opened(tmp_path, budget=budget))["rows"]["BP"]
    beyond = row["beyond"]
    assert beyond["ends"] == {"lr": "high"}
    assert beyond["space"]["lr"]["high"] == pytest.approx(3000.0)
    assert all(3.0 <= p["lr"] <= 3000.0 for p in beyond["points"])
    tried = [t for t in row["trials"] if t["round"] == "beyond"]
    assert [t["seed"] for t in tried] == [trial_seed(16 + i) for i in range(4)]
    best = max(range(4), key=lambda i: beyond["points"][i]["lr"])
    assert row["chosen"]["point"] == 16 + best
    assert sum(t["point"] == 16 + best for t in row["trials"]) == 3  # as many seeds as any
    on_edge = beyond["points"][best]["lr"] > 3.0 * 1000**0.8
    assert row["chosen"]["edge"] == ({"lr": "high"} if on_edge else {})


def test_a_failed_trial_counts_as_guessing_and_a_row_of_failures_is_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, lambda params, seed: -1.0 if params["lr"] > 0.2 else 0.3)
    row = searched(opened(tmp_path))["rows"]["BP"]
    failed = [t for t in row["trials"] if t["status"] == "error"]
    assert failed
    assert all(t["value"] == t[TEST]["score"] == 0.1 for t in failed)
    assert row["chosen"]["value"] == pytest.approx(0.3)

    other = tmp_path / "other"
    other.mkdir()
    fake(monkeypatch, lambda params, seed: -1.0)
    search = opened(other)
    assert "chosen" not in searched(search)["rows"]["BP"]
    with pytest.raises(UserError, match=r"BP: no trial could be trained.*broken"):
        require_chosen(search, ["BP"])


def test_a_stopped_search_goes_on_to_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for name, stops in (("whole", 0), ("parts", 3)):
        folder = tmp_path / name
        folder.mkdir()
        calls = 0

        def score(params: Mapping[str, Any], seed: int) -> float:
            nonlocal calls, stops
            calls += 1
            if stops and calls % 4 == 0:
                stops -= 1
                raise KeyboardInterrupt
            return near(2.9)(params, seed)

        ran = fake(monkeypatch, score)
        for _ in range(4):
            search = opened(folder)
            try:
                files.append(searched(search))
                break
            except KeyboardInterrupt:
                files.clear() if name == "whole" else None
        done = [(j.seed, j.method.params["lr"]) for j in ran]
        assert len(set(done)) == len(done) - (3 if name == "parts" else 0)
    assert files[0] == files[-1]


def test_finished_trials_are_not_run_again_on_a_bare_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, near(0.1))
    whole = searched(opened(tmp_path))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "own.tuning.json").write_text((tmp_path / "own.tuning.json").read_text())
    ran = fake(monkeypatch, near(0.1))
    assert searched(opened(bare)) == whole
    assert ran == []


def test_two_processes_add_to_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps what the other has written, whatever it had read before."""
    one, two = opened(tmp_path), opened(tmp_path)
    fake(monkeypatch, near(0.1))
    mine = searched(one)
    assert missing("BP", two.content["rows"]["BP"], two)  # it has not looked again yet
    ran = fake(monkeypatch, near(0.1))
    assert searched(two) == mine
    assert ran == []


@pytest.mark.parametrize(
    ("row", "budget"), [({"epochs_factor": 2}, SMALL), ({}, Budget(2, 1, 1, 0))]
)
def test_what_one_process_trains_is_not_of_a_search_that_another_began_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], budget: Budget
) -> None:
    first = {"method": "bp", "label": "BP", "tune": True}
    one = opened(tmp_path, first)
    rows = searched_rows(one.suite)
    fake(monkeypatch, near(0.1))
    begun = tuning.run_jobs
    written: list[bytes] = []

    def run_jobs(jobs: Sequence[Any], folders: Sequence[Path], **kw: Any) -> None:
        begun(jobs[:1], folders[:1], **kw)
        opened(tmp_path, {**first, **row}, budget=budget, anew=True)
        written.append(one.path.read_bytes())
        begun(jobs[1:], folders[1:], **kw)

    monkeypatch.setattr(tuning, "run_jobs", run_jobs)
    with pytest.raises(UserError, match="another process has begun the search of 'BP' anew"):
        tune(one, rows, say=lambda line: None)
    assert one.path.read_bytes() == written[0]
    assert read_search(one.path)["rows"]["BP"]["trials"] == []


def test_a_record_that_cannot_be_read_is_kept_beside_and_begun_anew_when_asked(
    tmp_path: Path,
) -> None:
    search = opened(tmp_path)
    bad = search.path.read_bytes().replace(b'"deviates": true', b'"deviates": false')
    search.path.write_bytes(bad)
    with pytest.raises(UserError, match=r"(?s)its checksum does not match.*--anew"):
        opened(tmp_path)
    again = opened(tmp_path, anew=True)
    assert read_search(again.path)["rows"]["BP"]["trials"] == []
    assert (tmp_path / "own.tuning.1.json").read_bytes() == bad


def test_lucky_points_beyond_an_edge_displace_no_winner_of_several_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beyond reaches more with its first seed alone."""
    budget = Budget(16, 2, 2, 4)
    single = {trial_seed(i) for i in range(16, 20)}

    def score(params: Mapping[str, Any], seed: int) -> float:
        if seed in single:
            return 0.9
        value = params["lr"] / (1.0 + params["lr"])
        return value if params["lr"] <= 3.0 else 0.2

    fake(monkeypatch, score)
    row = searched(opened(tmp_path, budget=budget))["rows"]["BP"]
    winner = row["beyond"]["winner"]
    tried = {t["point"] for t in row["trials"] if t["round"] == "final"}
    assert len(tried) == 2 + 2
    assert row["chosen"]["point"] == winner
    assert row["chosen"]["value"] > 0.5


def without_own_device(monkeypatch: pytest.MonkeyPatch, lost: Callable[[float], bool]) -> None:
    """Trials of some steps have no value on their own device."""
    begun = tuning.run_jobs

    def run_jobs(jobs: Sequence[Any], folders: Sequence[Path], **kw: Any) -> None:
        told = kw.pop("finished")

        def finished(job: Any, record: dict[str, Any], folder: Path) -> None:
            if lost(job.method.params["lr"]):
                record["validation"]["own_device"] = None
            told(job, record, folder)

        begun(jobs, folders, finished=finished, **kw)

    monkeypatch.setattr(tuning, "run_jobs", run_jobs)


def test_a_trial_without_a_value_of_the_other_rule_is_chosen_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, near(0.1))
    without_own_device(monkeypatch, lambda lr: lr == 0.1)
    chosen = searched(opened(tmp_path, budget=Budget(6, 2, 2, 0)))["rows"]["BP"]["chosen"]
    assert chosen["params"] == {"lr": 0.1}
    assert chosen["means"].keys() == {"robust score"}
    other = chosen["by_the_other_rule"]
    assert other["rule"] == "own device"
    assert other["point"] != chosen["point"]


def test_where_no_trial_has_a_value_of_the_other_rule_it_chooses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = opened(tmp_path, budget=Budget(6, 2, 2, 0))
    fake(monkeypatch, near(0.1))
    without_own_device(monkeypatch, lambda lr: True)
    row = copy.deepcopy(search.content["rows"]["BP"])
    row["trials"] = [
        {
            "point": w.point,
            "seed": w.seed,
            "round": w.round,
            "status": "ok",
            "validation": {"score": near(0.1)(w.params, w.seed), "own_device": None},
            "value": near(0.1)(w.params, w.seed),
        }
        for w in missing("BP", row, search)
    ]
    (job,) = searched_rows(search.suite).values()
    tuning.decide(row, job, search)
    assert row["chosen"]["params"] == {"lr": 0.1}
    assert "by_the_other_rule" not in row["chosen"]


def test_a_trial_without_a_value_of_its_rows_rule_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = opened(tmp_path, {"method": "pat", "label": "PAT", "tune": True})
    fake(monkeypatch, near(0.1))
    without_own_device(monkeypatch, lambda lr: True)
    with pytest.raises(UserError, match="no value by the rule 'own device'"):
        searched(search)
    assert read_search(search.path)["rows"]["PAT"]["trials"] == []


def test_what_remains_of_a_row_is_what_then_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped anywhere, in the points beyond an edge too."""
    budget = Budget(16, 2, 2, 4)
    told: list[int] = []
    stop = 0

    def score(params: Mapping[str, Any], seed: int) -> float:
        if len(ran) > stop:
            raise KeyboardInterrupt
        return float(params["lr"] / (1.0 + params["lr"]))

    for total in (0, 7, 16, 18, 20, 22, 24, 100):
        ran = fake(monkeypatch, score)
        search = opened(tmp_path, budget=budget)
        (job,) = searched_rows(search.suite).values()
        row = search.content["rows"]["BP"]
        told.append(tuning.remaining("BP", row, job, search) + len(row["trials"]))
        stop = total - len(row["trials"])
        with contextlib.suppress(KeyboardInterrupt):
            searched(search)
    whole = len(search.content["rows"]["BP"]["trials"])
    first = 16 + 2 * 2
    assert whole == first + 4 + 2 * 2
    # What is beyond the edge is known once the finalists are done.
    assert told == [first] * 5 + [whole] * 3
    (job,) = searched_rows(search.suite).values()
    assert tuning.remaining("BP", search.content["rows"]["BP"], job, search) == 0


def test_a_searched_row_beside_the_same_at_its_defaults(tmp_path: Path) -> None:
    def rows(**more: Any) -> list[Any]:
        return [
            {"method": "bp", "label": "BP", "tune": True, **more},
            {"method": "bp", "label": "BP, untuned"},
        ]

    path = tmp_path / "own.yaml"

    def load(methods: list[Any], **kw: Any) -> Any:
        suite = {"suite": "own", "protocol": "pnnbench-2", "seeds": [0], "tier": "smoke"}
        path.write_text(yaml.safe_dump({**suite, "workloads": ["mrr-digits"], "methods": methods}))
        return load_suite(path, **kw)

    assert len(load(rows(), searching=True).jobs) == 2
    assert len(load(rows(tuned={"lr": 0.3})).jobs) == 2
    with pytest.raises(UserError, match=r"(?s)same method with the same settings.*pnnbench tune"):
        load(rows())
    with pytest.raises(UserError, match="what the search chose is what the other one has"):
        load(rows(tuned={"lr": 0.1}))
    with pytest.raises(UserError, match="same method with the same settings"):
        load([{"method": "bp", "label": "A"}, {"method": "bp", "label": "B"}], searching=True)


@pytest.mark.parametrize(
    ("row", "budget", "said"),
    [
        ({"tune": ["lr", "lr_digital"]}, SMALL, "space of lr_digital none -> 0.0001 to 0.3"),
        ({"params": {"optimizer": "sgd"}}, SMALL, "0.003 to 3 (log) -> 0.03 to 300 (log)"),
        ({"epochs_factor": 2}, SMALL, "epochs_factor 1.0 -> 2.0"),
        ({"method": "bp-weights"}, SMALL, "method bp -> bp-weights"),
        ({}, Budget(), "trials 6 -> 16"),
    ],
)
def test_another_search_is_refused_and_begun_anew_only_when_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    row: dict[str, Any],
    budget: Budget,
    said: str,
) -> None:
    fake(monkeypatch, near(0.1))
    first = {"method": "bp", "label": "the first", "tune": True}
    search = opened(tmp_path, first)
    before = searched(search)
    text = search.path.read_text()
    changed = {**first, **row}
    with pytest.raises(UserError) as error:
        opened(tmp_path, changed, budget=budget)
    assert said in str(error.value)
    assert "--anew" in str(error.value)
    assert search.path.read_text() == text
    again = opened(tmp_path, changed, budget=budget, anew=True)
    assert again.content["rows"]["the first"]["trials"] == []
    assert again.content["rows"]["the first"]["tried_before"] == 6
    assert read_search(tmp_path / "own.tuning.1.json") == before


def test_rows_of_one_record_have_one_budget_and_one_workload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, near(0.1))
    bp, nat = ({"method": m, "label": m, "tune": True} for m in ("bp", "nat"))
    search = opened(tmp_path, bp, nat)
    before = searched(search)
    suite, rows = search.suite, searched_rows(search.suite)
    only = {"nat": rows["nat"]}
    larger = SearchFile(search.path, suite, tmp_path / "runs", Budget())
    for anew in (False, True):
        with pytest.raises(UserError, match="trials 6 -> 16"):
            larger.open(only, anew=anew)
    moved = dataclasses.replace(
        suite, jobs=tuple(dataclasses.replace(job, tier="quick") for job in suite.jobs)
    )
    with pytest.raises(UserError, match="tier smoke -> quick"):
        SearchFile(search.path, moved, tmp_path / "runs", SMALL).open(only, anew=True)
    assert read_search(search.path) == before
    # Begun anew alone, a row leaves the others as they are.
    SearchFile(search.path, suite, tmp_path / "runs", SMALL).open(only, anew=True)
    after = read_search(search.path)["rows"]
    assert after["bp"] == before["rows"]["bp"]
    assert after["nat"]["trials"] == []


def test_a_row_that_comes_later_is_added_and_the_others_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bp = {"method": "bp", "label": "BP", "tune": True}
    fake(monkeypatch, near(0.1))
    before = searched(opened(tmp_path, bp))["rows"]["BP"]
    ran = fake(monkeypatch, near(0.1))
    content = searched(opened(tmp_path, {**bp, "tuned": {"lr": 0.4}}, {**bp, "label": "SGD",
                              "params": {"optimizer": "sgd"}}))  # fmt: skip
    assert content["rows"]["BP"] == before
    assert {j.method.label for j in ran} == {"SGD"}


def test_rows_that_share_a_trial_run_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"method": "sat", "label": "both", "tune": True},
        {"method": "sat", "label": "one", "tune": ["rho"], "tuned": {"rho": 0.02}},
    ]
    ran = fake(monkeypatch, near(0.1))
    content = searched(opened(tmp_path, *rows))
    hashes = [j.spec()["hash"] for j in ran]
    assert len(set(hashes)) == len(hashes)
    assert all("chosen" in content["rows"][r["label"]] for r in rows)


def test_changed_points_are_refused(tmp_path: Path) -> None:
    search = opened(tmp_path)
    content = copy.deepcopy(search.content)
    content["rows"]["BP"]["points"][1] = {"lr": 0.2}
    from pnnbench.records.searches import write_sealed

    write_sealed(search.path, content)
    with pytest.raises(UserError, match=r"BP: the points are not those"):
        opened(tmp_path)
    text = json.loads(search.path.read_text())
    text["suite"] = "another"
    search.path.write_text(json.dumps(text))
    with pytest.raises(UserError, match="checksum"):
        opened(tmp_path)


def test_what_cannot_be_tuned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no row of own is marked"):
        opened(tmp_path, "bp")
    path = tmp_path / "own.yaml"
    text = yaml.safe_load(path.read_text())
    path.write_text(
        yaml.safe_dump(
            {
                **text,
                "workloads": ["mrr-digits", "mzi-digits"],
                "methods": [{"method": "bp", "tune": True}],
            }
        )
    )
    with pytest.raises(UserError, match="one workload"):
        searched_rows(load_suite(path))


def test_the_records_of_suites_that_ship_stand_with_them(tmp_path: Path) -> None:
    assert search_path(SUITES / "quickstart.yaml", "quickstart") == (
        SUITES / "search" / "quickstart.json"
    )
    assert search_path(tmp_path / "x.yaml", "own") == tmp_path / "x.tuning.json"


def test_the_budget_of_the_protocol_is_that_of_the_design() -> None:
    assert Budget().as_dict() == {
        "trials": 16,
        "finalists": 4,
        "more_seeds": 4,
        "beyond": 4,
        "devices": 20,
        "test_images": 1000,
    }


def test_rows_that_are_gone_keep_no_search_from_beginning_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, near(0.1))
    bp, nat = ({"method": m, "label": m, "tune": True} for m in ("bp", "nat"))
    before = searched(opened(tmp_path, bp, nat))
    with pytest.raises(UserError, match="trials 6 -> 16"):
        opened(tmp_path, bp, budget=Budget())
    again = opened(tmp_path, bp, budget=Budget(), anew=True)
    assert list(again.content["rows"]) == ["bp"]
    assert again.content["budget"]["trials"] == 16
    assert read_search(tmp_path / "own.tuning.1.json") == before
