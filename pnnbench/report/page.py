"""The leaderboard page: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pnnbench.leaderboard import ranking
from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.knowledge import TESTED_LAW, phrase
from pnnbench.leaderboard.model import EXTRAS, GroupLine, Row, Table
from pnnbench.leaderboard.statistics import NOTHING, Interval
from pnnbench.leaderboard.tuning import CurvePoint
from pnnbench.report import also_text, blocks, comparing, notes, reading, text, tuning_text
from pnnbench.report import formatting as fmt
from pnnbench.report.embedded import caption, data_uri
from pnnbench.report.templating import fill

_UNITS = {"light_on_detectors": "%", "accuracy_without_absorbers": "%", "control_power_mw": "W"}
_SYMBOLS = {"degc": "°C", "deg": "°", "px": "px", "nm": "nm", "ma": "mA", "mw": "mW"}


def render_html(tables: Sequence[Table], pictures: Mapping[str, str] | None = None) -> str:
    """Renders the page.

    Args:
        tables: What ``ranking.build`` made.
        pictures: Name to SVG text. Each is embedded as an image of its own, so that its ids and
            styles stay apart from the page's and a script in it does not run. Its title says what
            is drawn.

    Returns:
        One HTML document without any external reference; the JSON of the leaderboard is inside.

    Raises:
        ValueError: If a picture is not SVG text.
    """
    data = json.dumps(text.as_json(tables), ensure_ascii=False, allow_nan=False)
    shown = pictures or {}
    return fill(
        "leaderboard.html.j2",
        tables=[{**_view(table), "others": _others(table, tables)} for table in tables],
        pictures=[(caption(name, svg), data_uri(name, svg)) for name, svg in shown.items()],
        reading=reading.entries(tables),
        # "<" cannot stand in the element, or a method called "</script>" would end it.
        data=Markup(data.replace("<", "\\u003c")),  # noqa: S704
    )


def write_page(
    folder: Path | str, tables: Sequence[Table], pictures: Mapping[str, str] | None = None
) -> Path:
    """Writes ``index.html``, ``leaderboard.json`` and ``leaderboard.md`` into a folder.

    Args:
        folder: Made if it is not there.
        tables: What ``ranking.build`` made.
        pictures: Title to SVG text.

    Returns:
        The path of the page.

    Raises:
        ValueError: If a picture is not SVG text.
    """
    folder = Path(folder)
    files = {
        "leaderboard.json": text.render_json(tables),
        "leaderboard.md": text.render_markdown(tables),
        "index.html": render_html(tables, pictures),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        try:
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
    return folder / "index.html"


def _cell(
    interval: Interval,
    *,
    share: bool,
    sign: bool = False,
    low: float = 0.0,
    high: float = 0.0,
    least: float | None = None,
) -> dict[str, Any]:
    """One figure for the template: text, interval text, sort key, and its place on a scale."""
    cell: dict[str, Any] = {
        "text": fmt.number(interval.mean, share=share, sign=sign),
        "ends": fmt.ends(interval, share=share, clip=not sign, sign=sign, least=least),
        "spans": " and ".join(interval.spans),
        "sort": "" if interval.mean is None else repr(interval.mean),
        "bar": None,
    }
    if high > low and interval.mean is not None:
        marks = [interval.mean if end is None else end for end in (interval.low, interval.high)]
        cell["bar"] = [
            round(100 * min(1.0, max(0.0, (x - low) / (high - low))), 2)
            for x in (marks[0], interval.mean, marks[1])
        ]
    return cell


def _scale(rows: Sequence[Row]) -> tuple[float, float]:
    seen = [
        end
        for row in rows
        for end in (row.robust.low, row.robust.mean, row.robust.high)
        if end is not None
    ]
    if not seen or max(seen) <= min(seen):
        return 0.0, 0.0
    margin = 0.06 * (max(seen) - min(seen))
    return min(seen) - margin, max(seen) + margin


def _eigenvalue(interval: Interval) -> dict[str, Any]:
    cell = _cell(interval, share=False)
    cell["text"] = fmt.NONE if interval.mean is None else f"{interval.mean:.3g}"
    return cell


def _count(value: float | int | None) -> dict[str, Any]:
    return {"text": fmt.count(value), "sort": "" if value is None else repr(value)}


#: Longest text of settings that stands under the name of its row.
_SETTINGS = 60


def _rows(rows: Sequence[Row], low: float, high: float) -> list[dict[str, Any]]:
    """The rows of a table: where the settings of one are long, those of all are folded."""
    found = [_row(row, low, high) for row in rows]
    folded = any(len(row["params"]) > _SETTINGS for row in found)
    return [{**row, "folded": folded and bool(row["params"])} for row in found]


def _row(row: Row, low: float, high: float) -> dict[str, Any]:
    share, least = fmt.is_share(row.metric), fmt.least_of(row.metric["name"])
    devices = len([device for device in row.devices if device is not None])
    better = _told_apart(row.simultaneous, row.metric["higher_is_better"])
    whole = row.simultaneous.mean is not None
    # Of an incomplete row no interval holds beside the others'.
    shown = row.simultaneous if whole else Interval(row.difference.mean)
    plain = fmt.ends(row.difference, share=share, clip=False, sign=True) if whole else ""
    return {
        "rank": comparing.rank(row),
        "rank_sort": "" if row.rank_low is None else 1000 * row.rank_low + (row.rank_high or 0),
        "tied_with": "; ".join(row.tied_with),
        "method": row.method,
        "name": row.name,
        "params": ", ".join(f"{key} = {_plain(value)}" for key, value in row.params.items()),
        "epochs_factor": row.epochs_factor,
        "is_baseline": row.baseline == row.method,
        "complete": row.complete,
        "knows": blocks.knowledge(row),
        "n": f"{len(row.seeds)} × {devices}" if devices else f"{len(row.seeds)}",
        "n_sort": len(row.seeds) * max(devices, 1),
        "clean": _cell(row.clean, share=share, least=least),
        "robust": _cell(row.robust, share=share, low=low, high=high, least=least),
        "worst": _cell(row.worst_decile, share=share, least=least),
        "difference": {
            **_cell(shown, share=share, sign=True),
            "better": better,
            "plain": plain,
        },
        "beats": _beats(row),
        "lambda_max": _eigenvalue(row.lambda_max),
        "also": {
            name: [
                _cell(one, share=False, least=fmt.least_of(name))
                for one in (mine.clean, mine.robust)
            ]
            for name, mine in row.also.items()
        },
        "auc": {axis: _cell(interval, share=share) for axis, interval in row.auc.items()},
        "gradients": fmt.count(row.cost.get("gradient_evaluations")),
        "gradients_sort": row.cost.get("gradient_evaluations") or "",
        "queries": fmt.count(row.cost.get("hardware_queries")),
        "queries_sort": row.cost.get("hardware_queries") or 0,
        "seconds": fmt.seconds(row.cost.get("train_seconds")),
        "seconds_sort": row.cost.get("train_seconds") or "",
        "training_device": _cell(row.training_device, share=share, least=least),
        "fresh_devices": _cell(row.fresh_devices, share=share, least=least),
        "transfer": {
            **_cell(row.transfer, share=share, sign=True),
            "better": _told_apart(row.transfer, row.metric["higher_is_better"]),
        },
        "forward": _count(row.cost.get("forward_evaluations")),
        "time_ratio": _eigenvalue(row.time_ratio),
        "calibration": _count(row.calibration.get("queries")),
        "extra": {name: _extra(name, row.extra.get(name, NOTHING)) for name in EXTRAS},
        "earlier": {
            stage.share: _cell(stage.score, share=share, least=least) for stage in row.earlier
        },
    }


def _beats(row: Row) -> dict[str, Any]:
    """How often a row beats the baseline, in percent."""
    found = row.superiority
    if found is None or found.share is None:
        return {"text": fmt.NONE, "ends": "", "sort": ""}
    ends = "" if found.low is None else comparing.beats(found).split("(")[1].rstrip(")")
    return {"text": f"{100 * found.share:.0f} %", "ends": ends, "sort": repr(found.share)}


def _claims(table: Table) -> list[dict[str, Any]]:
    share = fmt.is_share(table.key["metric"])
    return [
        {
            "text": comparing.claim_text(line),
            "verdict": line.verdict,
            "p": {"text": comparing.p_text(line.p), "sort": _sort(line.p)},
            "difference": {
                **_cell(line.simultaneous, share=share, sign=True),
                "better": {"shown": True, "the other way round": False}.get(line.verdict),
                "plain": fmt.ends(line.difference, share=share, clip=False, sign=True),
            },
            "smallest": {
                "text": fmt.NONE
                if line.smallest is None
                else comparing.amount(line.smallest, share=share),
                "sort": _sort(line.smallest),
            },
        }
        for line in table.claims
    ]


def _sort(value: float | None) -> str:
    """A number as columns are sorted by it."""
    return "" if value is None else repr(value)


def _extra(name: str, interval: Interval) -> dict[str, Any]:
    return {**_cell(interval, share=False), "text": fmt.further(name, interval), "ends": ""}


def _others(table: Table, tables: Sequence[Table]) -> list[tuple[int, str]]:
    """Place on the page and name of the other deployments of a table's board."""

    def board(one: Table) -> list[str]:
        return [value for name, value in one.key.items() if name != "deployment"]

    return [
        (place, notes.deployment_text(other))
        for place, other in enumerate(tables, 1)
        if other is not table and board(other) == board(table)
    ]


def _curvature(table: Table) -> str:
    """Unit of λmax; empty where the records do not say."""
    return fmt.curvature_unit(table.control_unit) if table.control_unit else ""


def _switched(table: Table, low: float, high: float) -> dict[str, Any] | None:
    """The rows of a table that do not know the tested law; None where all rows are shown anyway."""
    if not table.ranked or table.without:
        return None
    kept = ranking.without(table, (TESTED_LAW,))
    if kept is table or not kept.rows:
        return None
    return {
        "curvature": _curvature(table),
        "baseline": next((row.baseline for row in kept.rows if row.baseline), None),
        "rows": _rows(kept.rows, low, high),
        "left_out": kept.left_out,
        "phrase": phrase(kept.without),
    }


def _told_apart(difference: Interval, higher_is_better: bool) -> bool | None:
    """Whether a difference is for the better; None where its interval contains zero."""
    if difference.low is None or difference.high is None:
        return None
    if difference.low <= 0.0 <= difference.high:
        return None
    return (difference.low > 0.0) == higher_is_better


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _condition(name: str, value: float) -> str:
    words, _, unit = name.rpartition("_")
    if words and unit in _SYMBOLS:
        return f"{words.replace('_', ' ')} {value:g} {_SYMBOLS[unit]}".replace("-", "−")
    return f"{name.replace('_', ' ')} {value:g}".replace("-", "−")


def _group(group: GroupLine, table: Table, labels: Sequence[str]) -> dict[str, Any]:
    share = fmt.is_share(table.key["metric"])
    return {
        "axis": group.axis,
        "level": blocks.level(group, signed=group.axis in blocks.signed_axes(table)),
        "severity": f"{group.severity:g}",
        "conditions": ", ".join(_condition(k, v) for k, v in group.environment.items()),
        "counted": group.counted,
        "cells": [_cell(group.methods[label], share=share) for label in labels],
    }


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(item)}" for key, item in value.items())
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40}", value):
        return value[:12]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _view(table: Table) -> dict[str, Any]:
    low, high = _scale(table.rows)
    measured = [row.method for row in table.rows if row.seeds]
    facts = []
    for name, words in (
        ("versions", "Versions"),
        ("git", "Source"),
        ("machine", "Machine"),
        ("threads", "Threads"),
    ):
        values = table.provenance.get(name, [])
        if values:
            facts.append((words, [_told(value) for value in values]))
    if "started" in table.provenance:
        made = f"{table.provenance['started']} to {table.provenance['finished']}"
        facts.append(("Run", [made]))
    for data in table.provenance.get("data", []):
        words = f"{data['name']}, {data['n_train']:,} training and {data['n_test']:,} test images"
        facts.append(("Data", [words, data["fingerprint"][:23] + "…"]))
    correlations = [
        {"name": name, "parts": [_rho(entry), _rho(entry["rows"]), _rho(entry["within"])]}
        for name, entry in table.correlations.items()
    ]
    return {
        "key": table.key,
        "metric": fmt.metric_head(table.key["metric"]),
        "lower": any(not row.metric["higher_is_better"] for row in table.rows),
        "also": list(also_text.also_heads(table).items()),
        "also_title": also_text.also_title(table),
        "figures": [_sentence(line) for line in also_text.figure_texts(table)],
        "curvature": _curvature(table),
        "ranked": table.ranked,
        "reference": table.reference,
        "training": blocks.training_severity(table),
        "cost_title": blocks.cost_title(table),
        "forward": blocks.has_forward(table),
        "share": fmt.is_share(table.key["metric"]),
        "baseline": next((row.baseline for row in table.rows if row.baseline), None),
        "rows": _rows(table.rows, low, high),
        "axes": list(dict.fromkeys(axis for row in table.rows for axis in row.auc)),
        "labels": measured,
        "groups": [_group(group, table, measured) for group in table.groups],
        "correlations": correlations,
        "silent": sum(not group.counted for group in table.groups) if table.ranked else 0,
        "facts": facts,
        "jobs": table.provenance["jobs"],
        "failed": [
            {"method": row.method, **failure} for row in table.rows for failure in row.failed
        ],
        "missing": [
            {"method": row.method, "n": len(row.seeds), "seeds": ", ".join(map(str, row.missing))}
            for row in table.rows
            if row.missing
        ],
        "notes": [_sentence(line) for line in (*notes.table_notes(table), *notes.notes(table))],
        "rank_text": comparing.rank_text(table) if table.ranked else "",
        "resolution": _sentence(comparing.resolution_text(table)),
        "told_apart": [_sentence(line) for line in comparing.ties(table)],
        "claims": _claims(table),
        "claims_note": _sentence(comparing.CLAIMS_NOTE.removeprefix("claims: ")),
        "deployment": notes.deployment_text(table) if len(table.deployments) > 1 else "",
        "calibrated": table.key["deployment"] != FROZEN,
        "switched": _switched(table, low, high),
        "extras": [(name, blocks.EXTRA_WORDS[name], _UNITS[name]) for name in blocks.extras(table)],
        "shares": [(share, blocks.share_text(share)) for share in blocks.shares(table)],
        "earlier_title": blocks.earlier_title(table),
        "order": ". ".join(blocks.order_texts(table)),
        "tuning": _tuning(table),
    }


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _tuning(table: Table) -> dict[str, Any] | None:
    """What searches say of the rows; None without a record of one."""
    if not table.tuning:
        return None
    share = fmt.is_share(table.key["metric"])
    return {
        "title": tuning_text.title(table),
        "note": tuning_text.NOTE,
        "columns": list(tuning_text.COLUMNS.values()),
        "rows": [
            {
                "method": row.method,
                "cells": [_curve_cell(row.after(n), share=share) for n in tuning_text.COLUMNS],
                "tried": row.tried,
                "state": tuning_text.state_text(row),
            }
            for row in table.tuning
        ],
    }


def _curve_cell(point: CurvePoint | None, *, share: bool) -> dict[str, Any]:
    if point is None:
        return {"text": fmt.NONE, "ends": "", "sort": ""}
    low, high = (fmt.number(end, share=share) for end in (point.low, point.high))
    ends = f"{low} to {high}" if point.high > point.low else ""
    return {"text": fmt.number(point.mean, share=share), "ends": ends, "sort": repr(point.mean)}


def _rho(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A cell: a correlation, its interval, and of how many points."""
    if entry["rho"] is None:
        return {"text": "–", "ends": "", "sort": ""}
    shown = fmt.correlation_ends(entry.get("low"), entry.get("high"))
    points = f"{entry['n_jobs']} jobs" if "n_jobs" in entry else f"n = {entry['n']}"
    shown = f"{shown}, {points}" if shown else points
    return {"text": fmt.correlation(entry["rho"]), "ends": shown, "sort": repr(entry["rho"])}
