from __future__ import annotations

import copy
from typing import Any

from pnnbench.leaderboard.choice import choose
from pnnbench.records.store import job_hash
from tests.record_factory import make_record


def _edited(seed: int, finished: str) -> dict[str, Any]:
    """A job of the row SAT with other settings."""
    record = copy.deepcopy(make_record("SAT", seed))
    record["job"]["method"]["params"] = {"rho": 0.1}
    record["job"]["hash"] = job_hash(record["job"])
    record["provenance"]["finished"] = finished
    return record


def test_a_row_has_no_seeds_of_two_kinds_even_if_its_index_says_so() -> None:
    old = [make_record("SAT", seed) for seed in (0, 1)]
    new = _edited(0, "2026-02-01T00:00:00+00:00")
    index = {"SAT": {0: new["job"]["hash"], 1: old[1]["job"]["hash"]}}
    chosen = choose([*old, new], index)
    assert chosen.finished == {"SAT": [new]}
    assert chosen.older == tuple(old)
    # The same where the newest of those asked for is not the newest there is.
    index = {"SAT": {seed: record["job"]["hash"] for seed, record in enumerate(old)}}
    chosen = choose([*old, new], index)
    assert chosen.finished == {"SAT": old}
    assert chosen.older == (new,)


def test_a_row_of_which_nothing_is_asked_for_has_older_jobs_alone() -> None:
    records = [make_record("SAT"), make_record("BP")]
    chosen = choose(records, {"BP": {0: records[1]["job"]["hash"]}})
    assert list(chosen.finished) == ["BP"]
    assert chosen.older == (records[0],)
