"""Where one run stands: its score as boards define it, beside the baseline's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pnnbench.errors import UserError
from pnnbench.leaderboard.deployments import FROZEN, headline_of
from pnnbench.leaderboard.ranking import BASELINE, build
from pnnbench.leaderboard.transfer import REFERENCE_LABEL
from pnnbench.lookup import only
from pnnbench.records.folders import find_records
from pnnbench.records.index import workload_of
from pnnbench.records.plain_json import read_json
from pnnbench.records.store import open_record
from pnnbench.registry import BOARDS, method_class, not_default
from pnnbench.submitting.retrained import other_machine

Board: TypeAlias = tuple[str, str]
"""Workload and tier."""


def comparable(runs: Path, boards: Collection[Board]) -> list[dict[str, Any]]:
    """Reads the finished records that jobs can be compared with; what is not whole is left out.

    Args:
        runs: Folder of all runs; that of the published boards, here and shipped, is read too.
        boards: Workloads, as boards call them, and tiers. Other records are not even checked.

    Returns:
        Records of status ok, each job once.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in dict.fromkeys(each.resolve() for each in (runs, Path("leaderboards"), BOARDS)):
        for path in find_records(folder):
            try:
                stored = read_json(path, "")
                job = stored["job"]
                if stored["status"] != "ok" or (workload_of(job), job["tier"]) not in boards:
                    continue
                record = open_record(stored, str(path))
            except (UserError, LookupError, TypeError, AttributeError):
                continue
            found.setdefault(record["job"]["hash"], record)
    return list(found.values())


def baseline_of(
    record: Mapping[str, Any], records: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """Finds the baseline that a run can be compared with.

    Args:
        record: The run.
        records: Where to look.

    Returns:
        A finished run of the baseline on the same workload, tier, data, configuration and seed;
        None if there is none, or the run is the baseline itself.
    """
    job = record["job"]
    alike = [
        other
        for other in records
        if other["job"]["method"]["name"] == BASELINE
        and other["job"]["epochs_factor"] == 1.0
        and all(other["job"][key] == job[key] for key in ("workload", "tier", "seed"))
        and all(other[key] == record[key] for key in ("protocol", "config"))
        and other["data"]["fingerprint"] == record["data"]["fingerprint"]
        and other["job"]["hash"] != job["hash"]
    ]
    alike.sort(key=lambda other: other["job"]["method"]["label"] != REFERENCE_LABEL)
    return alike[0] if alike and job["method"]["name"] != BASELINE else None


def standing(record: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> dict[str, Any]:
    """Scores a run as boards do, and the baseline beside it.

    Args:
        record: The run.
        baseline: What `baseline_of` found.

    Returns:
        ``robust`` as a board has it and the ``deployment`` that it is of; with a baseline
        ``baseline`` (label, suite, score, whether it was ``computed_alike``, by the same versions
        on a machine of one kind, and the settings that were ``chosen`` for it), what was
        ``chosen`` for the run, and ``difference``, paired by device. Scores are None where no
        point of the grid counts.
    """
    pair = [record] if baseline is None else [record, baseline]
    suite = record["job"]["suite"]
    members = []
    for label, one in zip(("run", "baseline"), pair, strict=False):
        method = {**one["job"]["method"], "label": label}
        members.append({**one, "job": {**one["job"], "suite": suite, "method": method}})
    tables = [table for table in build(members) if table.headline]
    rows = {row.method: row for table in tables for row in table.rows}
    result: dict[str, Any] = {
        "robust": rows["run"].robust.as_dict(),
        "deployment": headline_of(record),
    }
    if baseline is not None:
        job = baseline["job"]
        result["baseline"] = {
            "label": job["method"]["label"],
            "suite": job["suite"],
            "computed_alike": not other_machine(record, baseline),
            "chosen": _chosen(baseline),
            "robust": rows["baseline"].robust.as_dict(),
        }
        result["chosen"] = _chosen(record)
        result["difference"] = rows["run"].difference.as_dict()
    return result


def _chosen(record: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters of a run that are not the defaults of its method."""
    method = record["job"]["method"]
    with only("any"):  # the run's own code has just run
        return not_default(method_class(method["name"]), method["params"])


def standing_text(found: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Says where a run stands in a few lines.

    Args:
        found: What `standing` gave.
        metric: The record's metric.

    Returns:
        The score with its deployment, what guessing has where that is known, and the baseline's
        score where there is one.
    """
    from pnnbench.leaderboard.statistics import Interval
    from pnnbench.report.formatting import is_share, number, plus_minus

    share = is_share(metric)
    unit = " %" if share else ""

    def figure(value: Mapping[str, Any], *, sign: bool = False) -> str:
        if value["mean"] is None:
            return "no point of the grid counts"
        interval = Interval(value["mean"], value["low"], value["high"])
        return plus_minus(interval, share=share, sign=sign) + unit

    qualities = [] if found["deployment"] == FROZEN else [found["deployment"]]
    qualities += [] if metric["higher_is_better"] else ["lower is better"]
    said = f" ({', '.join(qualities)})" if qualities else ""
    lines = [f"robust, the score of the boards{said}: {figure(found['robust'])}"]
    if metric.get("chance") is not None:
        lines[0] += f"; guessing has {number(metric['chance'], share=share)}{unit}"
    if "baseline" in found:
        other = found["baseline"]
        where = (
            "" if other["computed_alike"] else ", from another kind of machine or other versions"
        )
        line = f"{other['label']} at this seed ({other['suite']}{where}): {figure(other['robust'])}"
        if found["difference"]["mean"] is not None:
            line += f"; difference {figure(found['difference'], sign=True)}"
        lines.append(line)
        if other["chosen"] and not found["chosen"]:
            settings = ", ".join(f"{name} {value}" for name, value in other["chosen"].items())
            lines.append(
                f"{other['label']} has settings that were chosen ({settings}), this run the "
                "defaults of its class: say nothing before they are searched (docs/tuning.md)"
            )
        lines.append("± spans the test devices at this one seed: another may give another order")
    return "\n".join(lines)
