"""The claims as text for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from pnnbench.leaderboard.claims import Claims
from pnnbench.leaderboard.verdicts import Decided
from pnnbench.report.claims_view import ClaimView, ComparisonView, counts, heading, views
from pnnbench.report.formatting import escaped
from pnnbench.report.text import NARROWEST, WIDTH


def render_table(claims: Claims, decided: Sequence[Decided], width: int = WIDTH) -> str:
    """Renders plain text.

    Args:
        claims: The file of claims.
        decided: The claims with their verdicts.
        width: Characters per line.

    Returns:
        Per claim a line with its verdict, and below it what it rests on.
    """
    width = max(width, NARROWEST)
    lines = [_wrapped(heading(claims), "", width), ""]
    for view in views(decided):
        lines.append(_wrapped(f"{view.number:2d}  {view.verdict}: {view.claim}", "    ", width))
        lines.append(_wrapped(f"    published: {view.published}", "      ", width))
        if view.reason:
            lines.append(_wrapped(f"    {view.lead}: {view.reason}", "      ", width))
        lines += [
            _wrapped(f"    {line}", "      ", width)
            for test in view.tests
            if test.measured_at_all
            for line in _told(test)
        ]
    lines += ["", _wrapped(_tally(decided), "  ", width)]
    return "\n".join(lines) + "\n"


def _told(test: ComparisonView) -> list[str]:
    """What was measured, and what it is held against."""
    before = [f"published {test.published}", f"the authors' files {test.reproduced}"]
    lines = [
        f"{test.rows}, {test.figure}: {test.difference}, measured {test.measured}: {test.verdict}",
        f"{', '.join(before)}; {test.board}, {test.over}",
    ]
    if test.seen:
        lines.append(f"would have been seen: {test.seen}")
    return lines


def _wrapped(text: str, indent: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _tally(decided: Sequence[Decided]) -> str:
    parts = [f"{number} {verdict}" for verdict, number in counts(decided).items()]
    return f"{len(decided)} claims: {', '.join(parts)}"


def as_json(claims: Claims, decided: Sequence[Decided]) -> dict[str, Any]:
    """The claims as plain JSON types.

    Args:
        claims: The file of claims.
        decided: The claims with their verdicts.

    Returns:
        Protocol, family, rules, and per claim its verdict and comparisons.
    """
    return {
        "protocol": claims.protocol,
        "tier": claims.tier,
        "confidence": claims.confidence,
        "family": claims.family,
        "level": claims.level,
        "verdicts": dict(claims.verdicts),
        "counts": counts(decided),
        "claims": [one.as_dict() for one in decided],
    }


def render_json(claims: Claims, decided: Sequence[Decided]) -> str:
    """Renders `as_json`, indented."""
    content = as_json(claims, decided)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def render_markdown(claims: Claims, decided: Sequence[Decided]) -> str:
    """Renders Markdown: all verdicts, what each rests on, and the rules.

    Args:
        claims: The file of claims.
        decided: The claims with their verdicts.

    Returns:
        A whole page.
    """
    shown = views(decided)
    lines = [
        "# The published claims",
        "",
        f"{heading(claims)}. Written by `pnnbench claims --publish leaderboards` from the records "
        "of the boards; a test compares. What decides is stated in "
        "[claims.yaml](../pnnbench/leaderboard/claims.yaml).",
        "",
        f"{_tally(decided)}.",
        "",
        "| # | claim | verdict |",
        "| ---: | :--- | :--- |",
        *(f"| {v.number} | {escaped(v.claim)} | {v.verdict} |" for v in shown),
        "",
        "## What each rests on",
    ]
    for view in shown:
        lines += ["", *_section(view)]
    lines += ["", "## The rules", ""]
    lines += [f"- **{name}**: {escaped(rule)}" for name, rule in claims.verdicts.items()]
    return "\n".join(lines) + "\n"


def _section(view: ClaimView) -> list[str]:
    lines = [f"### {view.number}. {escaped(view.claim)}", "", f"**{view.verdict}**", ""]
    if view.reason:
        lines[2] += f" ({escaped(view.reason)})"
    lines.append(f"- published: {escaped(view.published)}")
    if view.decides:
        lines.append(f"- decided by: {escaped(view.decides)}")
    if not view.tests:
        return lines
    heads = ("rows", "compared", "published", "authors' files", "measured", "difference", "verdict")
    lines += ["", f"| {' | '.join(heads)} |", "| :--- | :--- | " + "---: | " * 4 + ":--- |"]
    for test in view.tests:
        board = f"[{test.board}]({test.board}/README.md)" if test.measured_at_all else test.board
        verdict = test.verdict + (f"; would have been seen: {test.seen}" if test.seen else "")
        cells = (test.figure, test.published, test.reproduced, test.measured, test.difference)
        texts = [f"{escaped(test.rows)} ({board})", *map(escaped, cells), escaped(verdict)]
        lines.append(f"| {' | '.join(texts)} |")
    return lines
