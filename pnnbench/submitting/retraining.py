"""Trains one seed of a submission again, and says whether what comes out is what was handed in.

On a machine of the same kind the bits are the same. Elsewhere the last digits of the first step
differ, and a training carries them on: there the robust score is compared, with where that of one
more seed of the row would lie.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from safetensors.torch import load_file

from pnnbench.accelerator import SINGLE, check_precision
from pnnbench.errors import UserError, check_range
from pnnbench.leaderboard.best import robust_score
from pnnbench.lookup import is_path, only
from pnnbench.methods.base import TrainingMethod
from pnnbench.records.store import file_sha256, is_finished, read_record, write_record
from pnnbench.registry import method_class, method_parameters, registered
from pnnbench.running.cases import BoardCase, Trained
from pnnbench.running.entries import MethodEntry
from pnnbench.running.job_specs import PROTOCOLS, Job, make_jobs
from pnnbench.running.jobs import run_jobs
from pnnbench.running.measuring import Share, measure, no_share
from pnnbench.running.setup import setup_of
from pnnbench.seeds import check_seed
from pnnbench.submitting.bundle import PARAMETERS, Bundle
from pnnbench.submitting.claimed import read_claimed
from pnnbench.submitting.packing import require_ours
from pnnbench.submitting.retrained import (
    How,
    Retrained,
    compare,
    other_machine,
    prediction_interval,
    verdict,
)
from pnnbench.submitting.submission import Card
from pnnbench.submitting.tensor_file import read_tensors

#: Suite of the jobs that train a submission again: their folder among the runs.
SUITE = "retrained"
#: Name of the record of a run that trains again: none of a board's, so that no board counts it.
NAME = "retrained.json"
_MOST_THREADS = 64


class RetrainedCase(BoardCase):
    """The grid of a board, and neither stages nor sharpness, with which nothing is compared."""

    def is_finished(self, folder: Path) -> bool:
        """Whether it was trained and measured; without its tensors the record goes."""
        path = folder / NAME
        if not is_finished(path):
            return False
        tensors, told = folder / PARAMETERS, read_record(path)["parameters"]["sha256"]
        if tensors.is_file() and file_sha256(tensors) == told:
            return True
        path.unlink()  # trained again, it may also be stopped
        return False

    def watching(self, job: Job, method: TrainingMethod, folder: Path) -> list[pl.Callback]:
        """Nothing."""
        return []

    def measure(self, trained: Trained, say: Callable[[str], None], share: Share) -> dict[str, Any]:
        """Clean metric and grid; see `measuring.measure`."""
        return measure(
            trained.job,
            trained.workload,
            trained.data,
            say,
            share,
            trained.method.figures,
            trained.folder,
            device=trained.device,
            sharp=False,
        )

    def write(self, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        """Writes `NAME`."""
        return write_record(folder / NAME, content)


def retrain(
    path: Path | str,
    seed: int | None = None,
    runs: Path = Path("runs"),
    *,
    trust: bool = False,
    root: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    share: Share = no_share,
) -> Retrained:
    """Trains one seed of a submission again from the registry, and compares.

    Interrupted and called again it goes on; a seed that was trained here already is compared only.

    Args:
        path: The submission: a folder, or a zip.
        seed: Which seed; None for any that finished, of those that were begun here if there are:
            which one it is cannot be known when a submission is packed.
        runs: Folder of all runs; the run goes into ``retrained`` in it.
        trust: Whether a method that is not one of pnnbench may run.
        root: Data folder; None for the default place.
        say: Told about progress.
        share: Told which share is done.

    Raises:
        UserError: If it is no submission, has no such finished seed, was made under another
            revision of the protocol or with other data, or its method is not here, is another
            version, or is somebody's own and ``trust`` is not said.
    """
    claimed = read_claimed(path)
    finished = {s: r for s, r in claimed.records.items() if r["status"] == "ok"}
    if seed is None and finished:
        seed = _any_of(finished, runs)
    if seed is None or seed not in finished:
        raise UserError(
            f"{path} has no finished seed" + ("" if seed is None else f" {seed}"),
            allowed=", ".join(map(str, finished)) or "a submission with a finished seed",
        )
    record = finished[seed]
    _require_method(record["job"]["method"]["name"], claimed.submission.card, trust=trust)
    require_ours(record)
    door = only("any" if trust else "registered")
    with _unpacked(claimed.bundle, seed) as folder, door, _threads_of(record):
        job = _same_job(record, folder, root)
        content = (folder / PARAMETERS).read_bytes()
        expected = job.make_workload(seed).tensors()
        tensors = read_tensors(content, expected, f"seed-{seed}/{PARAMETERS}")
        place = _place(runs, seed, job.spec()["hash"])
        run_jobs([job], [place], say=say, root=root, share=share, case=RetrainedCase())
    again = read_record(place / NAME)
    scores = [score for r in finished.values() if (score := robust_score(r)) is not None]
    told, interval = robust_score(record), prediction_interval(scores)
    other = other_machine(record, again)
    same, of, largest, score = 0, len(tensors), math.inf, None
    how: How = "failed"
    if again["status"] == "ok":
        same, of, largest = compare(tensors, load_file(place / PARAMETERS))
        score = robust_score(again)
        how = verdict(same == of, score, told, interval)
    return Retrained(
        claimed, seed, how, place, same, of, largest, told, score, interval, len(scores), other
    )


def _place(runs: Path, seed: int, digest: str) -> Path:
    return runs / SUITE / f"seed-{seed}-{digest}"


def _any_of(finished: Mapping[int, Mapping[str, Any]], runs: Path) -> int:
    """Any of some seeds; one that was begun here before where there is one."""
    begun = [s for s, r in finished.items() if _place(runs, s, r["job"]["hash"]).is_dir()]
    return secrets.choice(begun or list(finished))


@contextmanager
def _unpacked(bundle: Bundle, seed: int) -> Iterator[Path]:
    """Context with the files of a seed in a folder that goes again."""
    with TemporaryDirectory() as made:
        for name in bundle.sizes:
            folder, _, file = name.rpartition("/")
            if folder == f"seed-{seed}":
                with (Path(made) / file).open("wb") as target:
                    for piece in bundle.pieces(name):
                        target.write(piece)
        yield Path(made)


@contextmanager
def _threads_of(record: Mapping[str, Any]) -> Iterator[None]:
    """Context with as many threads as the record had, on which the last bits depend."""
    threads, before = record["provenance"].get("threads"), torch.get_num_threads()
    if type(threads) is int and 1 <= threads <= _MOST_THREADS:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _require_method(name: str, card: Card, *, trust: bool) -> None:
    """Refuses a method that is not here, or that is somebody's own and not trusted."""
    point = registered("methods").get(name)
    if point is not None and point.module.partition(".")[0] == "pnnbench":
        return
    if point is None and not is_path(name):
        code = f" from {card.code}" if card.code else ""
        raise UserError(
            f"the method {name!a} of the submission is not installed here, and training again runs "
            "its code",
            next_step=f"read its package{code}, install it, and say --trust",
        )
    if not trust:
        where = name if point is None else point.value.replace(":", ".")
        raise UserError(
            f"training again runs the code of {where}, which is not part of pnnbench",
            next_step="read that code; if it may run here: --trust",
        )


def _same_job(record: dict[str, Any], folder: Path, root: str | None) -> Job:
    """The job of a record, made anew from the registry.

    Raises:
        UserError: If it is another job here: another revision, other data, code or settings.
    """
    told = record["job"]
    here = PROTOCOLS.get(record["protocol"])
    if told.get("revision") != here:
        raise UserError(
            f"the submission is of revision {told.get('revision')} of {record['protocol']}",
            allowed=f"revision {here}, that of this version of pnnbench",
            next_step="use the version of pnnbench that made it",
        )
    check_seed("the seed of the submission", told["seed"])
    check_range("epochs_factor of the submission", told["epochs_factor"], high=1000.0)
    method = told["method"]
    cls = method_class(method["name"], where="the submission")
    params = method_parameters(cls, method["params"], where="the submission")
    entry = MethodEntry(method["name"], method["label"], params, float(told["epochs_factor"]))
    device = told["seeds"]["train_device"]
    (job,) = make_jobs(
        SUITE,
        record["protocol"],
        told["tier"],
        [(told["workload"], told.get("data", {}).get("set"))],
        [told["seed"]],
        [entry],
        where="the submission",
        root=root,
        devices=() if device in (None, told["seed"]) else (device,),
        setup=setup_of(folder, record),
        precision=check_precision(told.get("precision", SINGLE), "precision of the submission"),
    )
    if job.spec()["hash"] != told["hash"]:
        raise UserError(
            f"what the submission ran is not what runs here: {_differing(job, record)}",
            next_step="install the version of the method's package that made it, and use its data",
        )
    return job


def _differing(job: Job, record: dict[str, Any]) -> str:
    """Names what makes a job another one than a record's."""
    words = []
    if job.fingerprint != record["data"]["fingerprint"]:
        words.append(f"its data were {record['data']['fingerprint']}, here {job.fingerprint}")
    sources = record["provenance"].get("sources")
    for kind, source in job.sources.items():
        told = sources.get(kind) if isinstance(sources, Mapping) else None
        if isinstance(told, Mapping) and told.get("sha256") != source.sha256:
            theirs, ours = told.get("version") or "a file", source.version or "a file"
            words.append(f"the code of the {kind} is another ({theirs} there, {ours} here)")
    return "; ".join(words) or "its settings or its configuration are others"
