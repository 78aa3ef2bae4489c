"""``pnnbench list``: methods, platforms, workloads, data, suites and runs.

Without a kind an overview, for which no class is imported; of one kind all that is known of it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pnnbench.api import names
from pnnbench.commands.output import aside, out, out_json, width
from pnnbench.errors import failure_text
from pnnbench.lookup import KINDS
from pnnbench.records.schema import TIERS
from pnnbench.registry import (
    SUITES,
    method_class,
    method_parameters,
    registered,
    resolve,
    workload_class,
)

#: Width of the column of names.
_NAME = 24
#: Columns that a text beside a name needs at least.
_LEAST = 50

Entry = dict[str, Any]


def _summary(cls: type[Any]) -> str:
    return next(iter((cls.__doc__ or "").strip().splitlines()), "")


def _loaded(kind: str, load: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """What is registered, by name; what cannot be loaded is told and left out."""
    for name in registered(kind):
        try:
            found = load(name)
        except Exception as error:  # of somebody else's package
            text = " ".join(failure_text(error).split())
            aside(f"{KINDS[kind]} {name!r} is left out: {text}")
            continue
        yield name, found


def _methods(runs: Path) -> list[Entry]:
    from pnnbench.running.space import laws_in_words

    workloads = dict(_loaded("workloads", lambda name: workload_class(name)()))
    found = []
    for name, cls in _loaded("methods", method_class):
        supported = [n for n, workload in workloads.items() if cls.supports(workload)]
        found.append(
            {
                "name": name,
                "summary": _summary(cls),
                "access": cls.access,
                "knows": ", ".join(cls.told()) or "nothing",
                "source": cls.source,
                "parameters": (params := method_parameters(cls, {})),
                "laws": laws_in_words(cls, params),
                "chosen_by": cls.chosen_by,
                "workloads": supported,
                "all_workloads": len(supported) == len(workloads),
            }
        )
    return found


def _platforms(runs: Path) -> list[Entry]:
    found = []
    for name, cls in _loaded("platforms", lambda name: resolve("platforms", name)):
        found.append({"name": name, "summary": _summary(cls), "unit": cls.control_unit})
    return found


def _workloads(runs: Path) -> list[Entry]:
    found = []
    for name, workload in _loaded("workloads", lambda name: workload_class(name)()):
        cls = type(workload)
        layers, scale = workload.layers().values(), workload.control_scale
        found.append(
            {
                "name": name,
                "summary": _summary(cls),
                "platform": cls.platform,
                "data": workload.data_set.name,
                "metric": cls.metric_name,
                "unit": " and ".join(sorted({layer.control_unit for layer in layers})),
                "scale": f"{scale.value:.4g} {scale.unit}",
                "severity_unit": cls.severity_unit,
                "tiers": [tier for tier in cls.tiers if tier in TIERS],
            }
        )
    return found


def _data(runs: Path) -> list[Entry]:
    found = []
    for name, cls in _loaded("data", lambda name: resolve("data", name)):
        argument = getattr(cls, "takes", "")
        shown = f"{name}:{argument}" if argument else name
        found.append({"name": name, "summary": _summary(cls), "check": f"pnnbench data {shown}"})
    return found


def _suites(runs: Path) -> list[Entry]:
    import yaml

    found = []
    for path in sorted(SUITES.glob("*.yaml")):
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
        found.append(
            {
                "name": path.stem,
                "summary": str(text.get("description", "")),
                "workloads": [str(workload) for workload in text.get("workloads", [])],
                "tier": str(text.get("tier", "")),
                "rows": len(text.get("methods", [])),
                "seeds": len(text.get("seeds", [])),
            }
        )
    return found


def _runs(runs: Path) -> list[Entry]:
    from pnnbench.records.runs import list_runs, names_of

    known = list_runs(runs) if runs.is_dir() else []
    return [
        {
            "name": name,
            "workload": run.workload,
            "tier": run.tier,
            "status": run.status,
            "hash": run.hash,
            "folder": str(run.folder),
        }
        for run, name in zip(known, names_of(known), strict=True)
    ]


_READERS: dict[str, Callable[[Path], list[Entry]]] = {
    "methods": _methods,
    "platforms": _platforms,
    "workloads": _workloads,
    "data": _data,
    "suites": _suites,
    "runs": _runs,
}
#: Kind -> what gives names with a line each, without importing a class.
_NAMED: dict[str, Callable[[], dict[str, str]]] = {
    "methods": names.list_methods,
    "platforms": names.list_platforms,
    "workloads": names.list_workloads,
    "data": names.list_data,
    "suites": names.list_suites,
}


def _overview(runs: Path) -> dict[str, list[Entry]]:
    """Names and summaries of every kind; runs as they are."""
    found = {
        kind: [{"name": name, "summary": line} for name, line in read().items()]
        for kind, read in _NAMED.items()
    }
    return {**found, "runs": _runs(runs)}


#: Keys that are not shown below a name in the table, each for its own reason: it stands beside the
#: name, or is said in other words.
_BESIDE = {"name", "summary", "all_workloads"}
_WORDS = {
    "laws": "searched in",
    "chosen_by": "settings chosen by",
    "unit": "controls in",
    "scale": "scale of steps",
    "severity_unit": "severity in",
}


def _line(entry: Entry) -> str:
    parts = []
    for key, value in entry.items():
        if key in _BESIDE or value in ("", []):
            continue
        text = str(value)
        if key == "workloads" and entry.get("all_workloads"):
            text = "all"
        elif isinstance(value, dict):
            text = ", ".join(f"{k} = {_plain(v)}" for k, v in value.items())
        elif isinstance(value, list):
            text = ", ".join(map(str, value))
        parts.append(f"{_WORDS.get(key, key)}: {text}")
    return "; ".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, first: str, indent: int) -> str:
    return textwrap.fill(
        text,
        width(),
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _described(entry: Entry, indent: int) -> str:
    """An entry as lines: texts stand beside its name, or below where room is short."""
    name = " " * indent + entry["name"]
    summary, line = entry.get("summary", ""), _line(entry)
    column = indent + _NAME
    if width() < column + _LEAST:
        column = indent + 2
        texts = [name, *(_wrapped(t, " " * column, column) for t in (summary, line) if t)]
    else:
        beside, below = (summary, line) if summary else (line, "")
        fits = len(name) < column
        texts = [_wrapped(beside, name.ljust(column), column) if beside and fits else name]
        texts += [_wrapped(beside, " " * column, column)] if beside and not fits else []
        texts += [_wrapped(below, " " * column, column)] if below else []
    return "\n".join(texts)


def list_all(options: Any) -> int:
    """``pnnbench list``."""
    runs = Path(options.runs)
    found = {options.kind: _READERS[options.kind](runs)} if options.kind else _overview(runs)
    if options.format == "json":
        out_json(found)
        return 0
    for kind, entries in found.items():
        if len(found) > 1:
            out(f"{kind}:" if entries else f"{kind}: none")
        elif not entries:
            where = f" in {runs}/" if kind == "runs" else ""
            out(f"no {kind}{where}")
        indent = 2 if len(found) > 1 else 0
        if kind == "runs" and entries:
            from pnnbench.report.run_text import aligned

            keys = ("name", "workload", "tier", "status", "hash")
            lines = [[entry[key] for key in keys] for entry in entries]
            for line in aligned(lines, width=width() - indent):
                out(" " * indent + line)
            continue
        for entry in entries:
            out(_described(entry, indent))
    if not options.kind:
        kinds = ", ".join(found)
        out(_wrapped(f"all that is known of one kind: pnnbench list KIND ({kinds})", "", 2))
    return 0
