"""Suite files: what to run. A suite expands to jobs that are independent and content-hashed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.accelerator import SINGLE, check_precision
from pnnbench.errors import UserError, check_kind, kind_word, unknown_name
from pnnbench.records.folders import PARTIAL, SKIPPED
from pnnbench.records.index import Claim
from pnnbench.records.next_steps import TRAIN, TRIALS, suite_word
from pnnbench.registry import SUITES
from pnnbench.running.entries import known_keys, method_entries, typed
from pnnbench.running.job_specs import PROTOCOLS, Job, make_jobs
from pnnbench.running.search_plan import AS_THE_PROTOCOL, SearchPlan, search_plan
from pnnbench.running.setup import Setup
from pnnbench.running.suite_claims import claims_of
from pnnbench.running.suite_text import read_yaml
from pnnbench.seeds import check_seed

_KEYS = {
    "suite",
    "description",
    "protocol",
    "tier",
    "workloads",
    "data",
    "axes",
    "devices",
    "seeds",
    "training_devices",
    "methods",
    "timeout_s",
    "precision",
    "claims",
    "search",
}


#: Names of folders of runs that are no suite's: of single trainings and of the mirror's board, and
#: those in which nothing, or something else, is a record.
_FOLDERS = {TRAIN, "leaderboard", TRIALS, "records", *SKIPPED}


@dataclasses.dataclass(frozen=True)
class Suite:
    """A checked suite file.

    Attributes:
        name: Name of the suite.
        description: What it is for.
        jobs: What it expands to: seeds outermost, so that every row has a first result early.
        timeout_s: Training time after which a job is given up, in s; None for no limit.
        partial: Whether the jobs are only some of the suite's: the others stay in its index.
        training_devices: Numbers of the devices that rows in situ train on at each seed; none for
            one a seed.
        claims: What the suite sets out to show, a family of comparisons of their own.
        search: How its settings are searched.
        file: The file that it was read from; None for none.
    """

    name: str
    description: str
    jobs: tuple[Job, ...]
    timeout_s: float | None
    partial: bool = False
    training_devices: tuple[int, ...] = ()
    claims: tuple[Claim, ...] = ()
    search: SearchPlan = AS_THE_PROTOCOL
    file: Path | None = None

    @property
    def word(self) -> str:
        """What stands for it in a command: the name of one that ships, else its file."""
        shipped = self.file is None or self.file.parent.resolve() == SUITES.resolve()
        return suite_word(self.name) if shipped else str(self.file)


def suite_path(name: str | Path) -> Path:
    """Finds a suite file: a path, or the name of one that comes with the project.

    Raises:
        UserError: If there is neither.
    """
    check_kind("suite", name, (str, Path), allowed="a suite file, or a name: 'quickstart'")
    path = Path(name)
    if path.is_file():
        return path
    folder = path if path.is_dir() else path.parent
    near = [] if folder == Path() else [str(p) for p in sorted(folder.glob("*.y*ml"))]
    if near:
        raise unknown_name("suite file", str(name), near)
    names = {p.stem: p for p in sorted(SUITES.glob("*.yaml"))}
    if path.suffix in ("", ".yaml") and path.stem in names and path.parent == Path():
        return names[path.stem]
    where = "there is no such file here, nor a suite that ships" if path.suffix else ""
    raise unknown_name(
        "suite file", str(name), names, where=where, next_step="pnnbench list suites"
    )


def load_suite(path: Path, *, root: str | None = None, searching: bool = False) -> Suite:
    """Reads and checks a suite file, and expands it to jobs.

    Args:
        path: YAML file with the keys ``suite``, ``protocol``, ``tier``, ``workloads``, ``seeds``,
            ``methods`` and optionally ``description``, ``timeout_s``, ``data``, a data set for all
            workloads (each may have one as ``{workload: NAME, data: NAME}``), ``claims``, a list of
            ``{better: LABEL, than: LABEL}`` over its rows, and ``training_devices``, the numbers
            of the devices on each of which rows in situ train at every seed, such as ``[0, 1, 2]``.
            Without it each seed has a device of its own. Rows in silico train once. ``devices``
            is a file of measured devices, from the folder of the suite file or the present one;
            ``axes`` a list of axes on request, measured without weight. ``search`` is how its
            settings are searched where that is not the protocol's, as ``{tier: NAME, devices:
            NUMBER}``. ``precision`` is that of the training, see
            `pnnbench.accelerator.PRECISIONS`.
        root: Data folder; None for the default place.
        searching: Whether the jobs are those of the search, at its tier.

    Returns:
        The suite.

    Raises:
        UserError: On the first thing wrong with it, or if its data are missing.
    """
    text = read_yaml(path)
    where = path.name
    if not isinstance(text, dict):
        raise UserError(
            f"{where} is no suite file: it holds {kind_word(text)}",
            allowed="a mapping with the keys " + ", ".join(sorted(_KEYS)),
            next_step="pnnbench list suites shows those that come with the project",
        )
    known_keys(where, text, _KEYS)
    for key in ("suite", "protocol", "tier", "workloads", "seeds", "methods"):
        if key not in text:
            raise UserError(f"{where}: the key {key!r} is missing", next_step="add it")
    name = typed(f"{where}: suite", text["suite"], str, "a name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(
            f"{where}: suite is {name!r}",
            allowed="letters, digits, '_', '-' and '.', a letter or digit first",
        )
    if name.casefold() in _FOLDERS or name.casefold().endswith(PARTIAL):
        raise UserError(
            f"{where}: suite is {name!r}, which a folder of runs has another use for",
            allowed=f"any name but {', '.join(sorted(n for n in _FOLDERS if n[0].isalnum()))} and "
            f"those that end in {PARTIAL}",
        )
    protocol = typed(f"{where}: protocol", text["protocol"], str, ", ".join(PROTOCOLS))
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS, where=where)
    tier = typed(f"{where}: tier", text["tier"], str, "a name, see pnnbench list workloads")
    search = search_plan(f"{where}: search", text.get("search"))
    if searching and search.tier is not None:
        tier = search.tier
    workloads = _workloads(where, text["workloads"], text.get("data"))
    seeds = typed(f"{where}: seeds", text["seeds"], list, "a list of integers, e.g. [0, 1, 2]")
    different_seeds(f"{where}: seeds", seeds)
    devices = text.get("training_devices")
    if devices is not None:
        key = f"{where}: training_devices"
        typed(key, devices, list, "a list of integers, e.g. [0, 1, 2]")
        if not devices:
            raise UserError(f"{key} is empty", allowed="at least one device", next_step="remove it")
        different_seeds(key, devices)
    devices = tuple(devices or ())
    timeout = text.get("timeout_s")
    if timeout is not None:
        typed(f"{where}: timeout_s", timeout, (int, float), "a number of seconds > 0")
        if not timeout > 0:
            raise UserError(f"{where}: timeout_s is {timeout}", allowed="a number of seconds > 0")
    entries = method_entries(where, text["methods"])
    claims = claims_of(f"{where}: claims", text.get("claims", []), [e.label for e in entries])
    if not (workloads and seeds and entries):
        raise UserError(f"{where}: workloads, seeds and methods need at least one entry each")
    jobs = make_jobs(
        name,
        protocol,
        tier,
        workloads,
        seeds,
        entries,
        where=where,
        root=root,
        devices=devices,
        setup=_setup(where, path.parent, text),
        precision=check_precision(text.get("precision", SINGLE), f"{where}: precision"),
        searching=searching,
    )
    description = str(text.get("description", ""))
    return Suite(
        name,
        description,
        jobs,
        timeout,
        training_devices=devices,
        claims=claims,
        search=search,
        file=path,
    )


def _workloads(where: str, given: Any, common: Any) -> list[tuple[str, Any]]:
    """The workloads of a suite file, each with its data set; None for its own."""
    typed(f"{where}: workloads", given, list, "a list of names")
    allowed = "a name or a class path, see pnnbench list data"
    if common is not None:
        typed(f"{where}: data", common, str, allowed)
    found = []
    for i, item in enumerate(given):
        here = f"{where}: workloads[{i}]"
        data = common
        if isinstance(item, dict):
            known_keys(here, item, {"workload", "data"})
            if "workload" not in item:
                raise UserError(
                    f"{here}: the key 'workload' is missing", next_step="pnnbench list workloads"
                )
            data = typed(f"{here}.data", item.get("data", common or ""), str, allowed) or None
            item = item["workload"]
        found.append((typed(here, item, str, "a name, or {workload: NAME, data: NAME}"), data))
    return found


def _setup(where: str, folder: Path, text: Mapping[str, Any]) -> Setup:
    """What a suite file says under ``axes`` and ``devices``."""
    axes = typed(f"{where}: axes", text.get("axes", []), list, "a list of names")
    for i, name in enumerate(axes):
        typed(f"{where}: axes[{i}]", name, str, "a name")
    given = text.get("devices")
    if given is None:
        return Setup(tuple(axes))
    typed(f"{where}: devices", given, str, "a CSV or npz file of measured devices")
    found = next((p for p in (folder / given, Path(given)) if p.is_file()), None)
    if found is None:
        raise UserError(
            f"{where}: devices: there is no file {given}",
            allowed="a path from the folder of the suite file, or from the present one",
        )
    return Setup(tuple(axes), found)


def different_seeds(where: str, given: Sequence[Any]) -> None:
    """Refuses what is no seed, and one that is there twice; raises UserError."""
    for i, seed in enumerate(given):
        check_seed(f"{where}[{i}]", seed)
        if given.count(seed) > 1:
            raise UserError(f"{where}[{i}] is {seed}", allowed="different integers")
