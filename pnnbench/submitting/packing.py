"""Packs a row as a submission: measured again, checked, and never over anything that is there."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pnnbench import __version__
from pnnbench.errors import UserError, writing
from pnnbench.leaderboard.tuning import row_tuning
from pnnbench.lookup import only
from pnnbench.records.index import workload_of
from pnnbench.records.searches import find_search, read_search
from pnnbench.records.store import file_sha256
from pnnbench.registry import SUITES, method_class, registered, workload_class
from pnnbench.seeds import check_seed
from pnnbench.submitting.bundle import LIMITS, MANIFEST, SEARCH
from pnnbench.submitting.claimed import require_tried
from pnnbench.submitting.conformance import check_method
from pnnbench.submitting.rows import RowOfRuns
from pnnbench.submitting.scaffold import NOBODY
from pnnbench.submitting.sets import is_ours, sets_of_ours
from pnnbench.submitting.strict import parse_json
from pnnbench.submitting.submission import (
    Card,
    Conformance,
    FileEntry,
    Row,
    Submission,
    check_card,
)
from pnnbench.submitting.trial import SEED, WORKLOADS
from pnnbench.submitting.verifying import verify_here

Say = Callable[[str], None]
Share = Callable[[float], None]
#: Bytes of a card, at most.
_CARD_BYTES = 20_000
_CARD_KEYS = "name, authors, paper, code, licence, access, description"


@dataclass(frozen=True)
class Packed:
    """A submission that was made.

    Attributes:
        path: Its folder, or its zip.
        submission: What it says.
        failed_seeds: Seeds that travel as failures.
        searched: Whether a search record went with it.
        remeasured: Of each finished seed what measuring it again gave: ``clean``, ``score`` and
            ``lambda_max``.
        controls: Whether it has ``learned`` anything, and whether it has seen the test ``images``.
    """

    path: Path
    submission: Submission
    failed_seeds: tuple[int, ...]
    searched: bool
    remeasured: dict[int, dict[str, Any]]
    controls: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, the files left out."""
        told = self.submission
        return {
            "submission": str(self.path),
            "suite": told.suite,
            "workload": told.workload,
            "tier": told.tier,
            "row": told.row.label,
            "method": told.row.method,
            "seeds": list(told.seeds),
            "failed_seeds": list(self.failed_seeds),
            "settings_tried": told.settings_tried,
            "searched": self.searched,
            "check": {"passed": told.check.passed, "failed": told.check.failed},
            "remeasured": {str(seed): found for seed, found in self.remeasured.items()},
            "controls": self.controls,
            "files": len(told.files) + 1,
        }


def read_card(path: Path) -> Card:
    """Reads the card of a method.

    Args:
        path: A JSON file with the keys of `Card`.

    Raises:
        UserError: If it is not there, is no JSON, lacks a key or has another one, or still has the
            author that `new-method` leaves open, or a value is none that a submission may have.
    """
    step = f"write {path.name} with {_CARD_KEYS}; pnnbench new-method makes one to fill in"
    try:
        found = parse_json(path.read_bytes(), path.name, _CARD_BYTES)
    except OSError as error:
        raise UserError(f"the card {path}: {error.strerror or error}", next_step=step) from None
    keys = set(_CARD_KEYS.split(", "))
    wrong = ["is no JSON object"]
    if isinstance(found, dict):
        wrong = [f"lacks {key}" for key in sorted(keys - found.keys())]
        wrong += [f"has the unknown key {key!a}" for key in sorted(found.keys() - keys)]
    if wrong:
        raise UserError(f"the card {path} {wrong[0]}", allowed=_CARD_KEYS, next_step=step)
    if not isinstance(found["authors"], list) or NOBODY in found["authors"]:
        raise UserError(
            f"the card {path}: authors is {found['authors']!a}",
            allowed="a list of names",
            next_step=f"put your names into {path}",
        )
    check_card(found, f"the card {path}")
    return Card(**{**found, "authors": tuple(found["authors"])})


def require_ours(record: dict[str, Any]) -> None:
    """Refuses rows that nobody could measure again from tensors and registry.

    Args:
        record: A record of the row.

    Raises:
        UserError: If workload or data set is not one of this package.
    """
    job = record["job"]
    workload, brought = job["workload"], job.get("data", {}).get("set")
    with only("own"):
        if workload not in registered("workloads"):
            raise UserError(
                f"the row ran on the workload {workload!a}, which is not one of pnnbench: nobody "
                "could measure it again without its code",
                allowed=", ".join(registered("workloads")),
            )
        if brought is not None and not is_ours(brought):
            raise UserError(
                f"the row ran on the data set {brought!a}, which is not one of pnnbench: nobody "
                "could measure it again without its code or its files",
                allowed=sets_of_ours(),
            )


def check_place(row: RowOfRuns, out: Path) -> None:
    """Refuses a place among the runs, where what is packed would be taken for runs.

    Args:
        row: The row.
        out: Folder of submissions, whether it is there or not.

    Raises:
        UserError: If the folder is in that of the runs.
    """
    there = out.resolve()
    homes = [row.home.resolve()]
    if homes[0].is_relative_to(row.among.resolve()):
        homes.append(row.among.resolve())
    if any(there.is_relative_to(home) for home in homes):
        raise UserError(
            f"{out} is in the folder of the runs, whose records would be there twice",
            allowed="a folder outside of it",
        )


def pack_row(
    row: RowOfRuns,
    card: Card,
    out: Path,
    *,
    zipped: bool = False,
    trust: bool = False,
    root: str | None = None,
    say: Say = lambda line: None,
    share: Share = lambda share: None,
) -> Packed:
    """Packs a row: checks its method, measures each seed again, and writes the submission.

    Nothing stands at the target before the submission is whole, and nothing that stands there is
    touched.

    Args:
        row: The row.
        card: Who made the method.
        out: Folder of submissions, which is there, outside of the runs.
        zipped: Whether a zip is made in place of a folder.
        trust: Whether a method that is named by a class path may run: it is checked here.
        root: Data folder; None for the default place.
        say: Told about progress.
        share: Told which share is done.

    Returns:
        What was made: ``out/SUITE-WORKLOAD-ROW``, in the letters, digits and dashes of these names.

    Raises:
        UserError: If something is there already, nothing of the row finished, its tensors are
            missing or others, the card is wrong or says another access than the class, a check
            fails, or measuring again gives other figures.
    """
    first = row.first
    require_ours(first)
    for run in row.runs:
        check_seed("a seed of the row", run.record["job"]["seed"])
        require_tried(f"seed {run.record['job']['seed']} of {row.label!r}", run.record["status"])
    if not any(run.finished for run in row.runs):
        error = first["error"]
        raise UserError(
            f"no seed of {row.label!r} finished; the first: {first['status']}: {error['message']}",
            next_step="run its suite again: what failed is tried anew",
        )
    with only("any" if trust else "registered"):
        access = method_class(first["job"]["method"]["name"]).access
    if card.access != access:
        raise UserError(
            f"the card says access {card.access!a}", allowed=f"{access}, as the class declares"
        )
    job = first["job"]
    name = _slug(f"{job['suite']}-{job['workload']}-{row.label}")
    target = out / (f"{name}.zip" if zipped else name)
    _require_free(target)
    check_place(row, out)
    with writing(target), tempfile.TemporaryDirectory(dir=out, prefix=".packing-") as made:
        folder = Path(made) / name
        folder.mkdir()
        submission = Submission(
            pnnbench=__version__,
            protocol=first["protocol"],
            suite=job["suite"],
            workload=job["workload"],
            tier=job["tier"],
            row=Row(job["method"]["name"], row.label, dict(job["method"]["params"])),
            card=card,
            check=Conformance(__version__, 0, 0, ()),
            settings_tried=1,
            seeds=tuple(run.record["job"]["seed"] for run in row.runs),
            files=dict(_copied(row, folder)),
        )
        submission.to_bytes()  # what is wrong with it is said before an hour of measuring
        search = _search_of(row)
        if search is not None:
            files = {**submission.files, SEARCH: _copy(search, folder / SEARCH, SEARCH)}
            tried = max(1, _settings_tried(folder / SEARCH, first))
            submission = replace(submission, files=files, settings_tried=tried)
        say("checks of the method")
        with only("any" if trust else "registered"):
            submission = replace(submission, check=_checked(first, say))
        (folder / MANIFEST).write_bytes(submission.to_bytes())
        found = _measured_again(row, folder, root, say, share)
        whole = _zip(folder, Path(made) / target.name) if zipped else folder
        _put(whole, target)
    failed = tuple(run.record["job"]["seed"] for run in row.runs if not run.finished)
    remeasured = {
        seed["seed"]: {key: seed[key] for key in ("clean", "score", "lambda_max")}
        for seed in found["seeds"]
    }
    return Packed(target, submission, failed, search is not None, remeasured, found["controls"])


def _slug(text: str) -> str:
    """A file name of small letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:120].strip("-") or "row"


def _require_free(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UserError(
            f"{target} is there already, and nothing is overwritten",
            next_step="move it away, or choose another place with --out",
        )


def _put(made: Path, target: Path) -> None:
    """Moves what was made to its place, unless something has come there in the meantime."""
    if made.is_file():
        try:
            os.link(made, target)  # never over another file
        except FileExistsError:
            _require_free(target)
            raise
        except OSError:  # a file system without links
            _require_free(target)
            made.rename(target)
        return
    _require_free(target)
    made.rename(target)


def _copied(row: RowOfRuns, folder: Path) -> Iterator[tuple[str, FileEntry]]:
    """Copies the files of each seed; yields their names in the submission."""
    for run in row.runs:
        seed = f"seed-{run.record['job']['seed']}"
        (folder / seed).mkdir()
        parts = ("parameters", "devices") if run.finished else ()
        wanted = {"record.json": ""} | {
            run.record[part]["file"]: run.record[part]["sha256"]
            for part in parts
            if part in run.record
        }
        for name, told in wanted.items():
            entry = _copy(run.folder / name, folder / seed / name, name)
            if told and entry.sha256 != told:
                raise UserError(
                    f"{run.folder / name} was changed: it is not the file of its record",
                    next_step=f"pnnbench doctor {run.folder.parent}",
                )
            yield f"{seed}/{name}", entry


def _copy(source: Path, target: Path, kind: str) -> FileEntry:
    """Copies one file, a plain one of a size that a submission may have."""
    if kind not in LIMITS:
        raise UserError(f"{source}: a submission has no such file", allowed=", ".join(LIMITS))
    try:
        found = source.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{source} is no plain file")
        if found.st_size > LIMITS[kind]:
            raise UserError(
                f"{source} has {found.st_size} bytes", allowed=f"{LIMITS[kind]} at most"
            )
        shutil.copyfile(source, target)
    except FileNotFoundError:
        raise UserError(
            f"{source} is missing",
            allowed="a run with its parameters: a record that was taken over from a published "
            "board may be without",
            next_step=f"pnnbench doctor {source.parent.parent}",
        ) from None
    return FileEntry(file_sha256(target), target.stat().st_size)


def _search_of(row: RowOfRuns) -> Path | None:
    """The record of the search of the row's suite, if there is one and it has the row."""
    suite = row.first["job"]["suite"]
    path = find_search(suite, [row.home], SUITES)
    if path is None:
        return None
    search, job = read_search(path), row.first["job"]
    own = row.label in search["rows"] or row.label in search["like"]
    fits = (search["workload"], search["protocol"]) == (workload_of(job), row.first["protocol"])
    return path if own and fits else None


def _settings_tried(search: Path, record: dict[str, Any]) -> int:
    """Settings that were tried for the row: its trials, those beyond an edge, earlier searches."""
    (found,) = row_tuning([read_search(search)], {record["job"]["method"]["label"]: None})
    return found.tried


def _checked(record: dict[str, Any], say: Say) -> Conformance:
    """Runs the checks on the method with the row's settings, on the row's platform.

    Raises:
        UserError: If one fails: a method that does not keep the rules has no row.
    """
    method = record["job"]["method"]
    cls, platform = method_class(method["name"]), workload_class(record["job"]["workload"]).platform
    fitting = [w.name for w in WORKLOADS if w.platform == platform and cls.supports(w(SEED))]
    results = check_method(cls, method["params"], workload=next(iter(fitting), None))
    failed = [result for result in results if not result.passed]
    if failed:
        raise UserError(
            f"{method['name']} does not keep the rules: {len(failed)} of {len(results)} checks "
            f"fail, the first: {failed[0].name}: {failed[0].message}",
            next_step=f"pnnbench check {method['name']}",
        )
    say(f"{len(results)} checks passed")
    checks = tuple({"name": r.name, "passed": r.passed, "message": r.message} for r in results)
    return Conformance(__version__, len(results), 0, checks)


def _measured_again(
    row: RowOfRuns, folder: Path, root: str | None, say: Say, share: Share
) -> dict[str, Any]:
    """Verifies what was packed, as who receives it does; see `verify_here`.

    Raises:
        UserError: If it would be refused, or something is not as the records say.
    """
    found = verify_here(folder, say=say, share=share, root=root)
    for seed in found["seeds"]:
        for one in seed["differences"]:
            raise UserError(
                f"seed {seed['seed']}: {one['field']} is {one['recorded']!a:.100} in the record, "
                f"and {one['computed']!a:.100} as it is measured here",
                allowed=f"{one['allowed']:.3g} apart",
                next_step=f"pnnbench doctor {row.home}",
            )
    return found


def _zip(folder: Path, path: Path) -> Path:
    """Packs a folder into a zip: the same files give the same bytes."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # of 1980
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with file.open("rb") as source, packed.open(info, "w") as stored:
                shutil.copyfileobj(source, stored)
    return path
