"""What a submission claims: its records and its tuning record, read without torch.

They are whole and agree with ``submission.json``. Whether they are true is another matter, see
`pnnbench.submitting.verifying`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.schema import SCHEMA
from pnnbench.records.search_schema import settings_tried
from pnnbench.records.searches import open_search
from pnnbench.records.store import open_record
from pnnbench.seeds import check_seed
from pnnbench.submitting.bundle import LIMITS, MANIFEST, PARAMETERS, RECORD, SEARCH, Bundle
from pnnbench.submitting.one_kind import difference_of
from pnnbench.submitting.strict import in_a_sentence, parse_json
from pnnbench.submitting.submission import Submission, read_submission
from pnnbench.submitting.tensor_header import LENGTH, MOST_HEADER, read_header


@dataclasses.dataclass(frozen=True)
class Claimed:
    """What a submission claims.

    Attributes:
        submission: What ``submission.json`` says.
        bundle: Its files.
        records: Seed -> its record, whole: of a finished run, or of a failure.
        search: The tuning record; None if there is none.
    """

    submission: Submission
    bundle: Bundle
    records: dict[int, dict[str, Any]]
    search: dict[str, Any] | None


def read_claimed(path: Path | str) -> Claimed:
    """Reads a submission with its records.

    Args:
        path: The folder, or the zip.

    Raises:
        UserError: On the first thing that no submission has, or that contradicts something else in
            it.
    """
    with in_a_sentence():
        submission, bundle = read_submission(path)
        for seed in submission.seeds:
            check_seed(f"{MANIFEST}: seeds: an entry", seed)
        search = _search(submission, bundle)
        records = {seed: _record(submission, bundle, seed) for seed in submission.seeds}
        _refuse_mixture(records)
        _refuse_copies(submission)
        for name in submission.files:
            if name.endswith(f"/{PARAMETERS}"):
                read_header(bundle.head(name, LENGTH + MOST_HEADER), bundle.sizes[name], name)
        return Claimed(submission, bundle, records, search)


def _record(said: Submission, bundle: Bundle, seed: int) -> dict[str, Any]:
    """The record of a seed, which says of the job what the submission says."""
    name = f"seed-{seed}/{RECORD}"
    record = open_record(parse_json(bundle.read(name), name, LIMITS[RECORD]), name)
    if record["schema"] != SCHEMA:
        raise UserError(f"{name} has schema version {record['schema']}", allowed=f"{SCHEMA}")
    job = record["job"]
    row = said.row
    pairs = {
        "protocol": (record["protocol"], said.protocol),
        "job.suite": (job["suite"], said.suite),
        "job.workload": (job["workload"], said.workload),
        "job.tier": (job["tier"], said.tier),
        "job.method.name": (job["method"]["name"], row.method),
        "job.method.label": (job["method"]["label"], row.label),
        "job.method.params": (job["method"]["params"], dict(row.params)),
        "job.seed": (job["seed"], seed),
    }
    given = said.files.get(f"seed-{seed}/{PARAMETERS}")
    if record["status"] == "ok":
        if given is None:
            raise UserError(f"{MANIFEST}: files lacks seed-{seed}/{PARAMETERS}")
        pairs["parameters.file"] = (record["parameters"]["file"], PARAMETERS)
        pairs["parameters.sha256"] = (record["parameters"]["sha256"], given.sha256)
    elif given is not None:
        raise UserError(f"{name} is of a failed run, with {PARAMETERS} beside it")
    require_tried(name, record["status"])
    kept = record.get("devices")
    files = {n for n in said.files if n.startswith(f"seed-{seed}/devices")}
    if kept is not None or files:
        there = {n: said.files[n].sha256 for n in files}
        told = {} if kept is None else {f"seed-{seed}/{kept['file']}": kept["sha256"]}
        pairs["devices"] = (told, there)
    for field, (recorded, claimed) in pairs.items():
        if recorded != claimed:
            raise UserError(
                f"{name}: {field} is {ascii(recorded)[:100]}",
                allowed=f"{ascii(claimed)[:100]}, as the submission says",
            )
    return record


def require_tried(what: str, status: str) -> None:
    """Refuses a run that was stopped: it counts as guessing nowhere, and could hide a bad seed.

    Args:
        what: The run, for the message.
        status: The status of its record.

    Raises:
        UserError: If it was killed.
    """
    if status == "killed":
        raise UserError(
            f"{what} was stopped before its end",
            allowed="a seed that finished, or failed by itself",
            next_step="run its suite again, which goes on where it was stopped",
        )


def _refuse_mixture(records: dict[int, dict[str, Any]]) -> None:
    """A seed of another thing would stand on another board, and its row would be without it."""
    first = next((s for s, r in records.items() if r["status"] == "ok"), min(records))
    for seed, record in records.items():
        differs = difference_of(records[first], record)
        if differs is not None:
            raise UserError(
                f"seeds {first} and {seed} are not runs of one thing: {differs} differs",
                allowed="seeds that share all but their numbers, failed ones too",
                next_step="ask for the row as its suite ran it",
            )


def _refuse_copies(said: Submission) -> None:
    """Two seeds with the same tensors are no two repetitions."""
    seen: dict[str, int] = {}
    for seed in said.seeds:
        given = said.files.get(f"seed-{seed}/{PARAMETERS}")
        other = seed if given is None else seen.setdefault(given.sha256, seed)
        if other != seed:
            raise UserError(f"seeds {other} and {seed} have the same tensors")


def _search(said: Submission, bundle: Bundle) -> dict[str, Any] | None:
    """The tuning record: one of this row, with no more settings than are said to be tried."""
    if SEARCH not in said.files:
        return None
    content = open_search(parse_json(bundle.read(SEARCH), SEARCH, LIMITS[SEARCH]), SEARCH)
    # The tier may be another one: long suites are searched at a shorter one.
    for field, claimed in (("protocol", said.protocol), ("workload", said.workload)):
        if content[field] != claimed:
            raise UserError(
                f"{SEARCH}: {field} is {ascii(content[field])[:80]}",
                allowed=f"{claimed}, as the submission says",
            )
    row = content["rows"].get(content["like"].get(said.row.label, said.row.label))
    if row is None:
        raise UserError(f"{SEARCH}: there is no row {said.row.label!r} in it")
    tried = settings_tried(row)
    if tried > said.settings_tried:
        before = row.get("tried_before", 0)
        raise UserError(
            f"settings_tried is {said.settings_tried}",
            allowed=f"at least {tried}, the points of {SEARCH}"
            + (f" and the {before} of earlier searches that it tells of" if before else ""),
        )
    return content
