"""The page of the claims: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pnnbench.leaderboard.claims import Claims
from pnnbench.leaderboard.verdicts import (
    DOES_NOT_HOLD,
    HOLDS,
    IN_PART,
    NOT_SHOWN,
    Decided,
)
from pnnbench.records.store import write_whole
from pnnbench.report.claims_text import render_json, render_markdown
from pnnbench.report.claims_view import counts, heading, views
from pnnbench.report.templating import fill

_LOOKS = {HOLDS: "good", IN_PART: "part", NOT_SHOWN: "open", DOES_NOT_HOLD: "bad"}


def render_html(claims: Claims, decided: Sequence[Decided]) -> str:
    """Renders the page.

    Args:
        claims: The file of claims.
        decided: The claims with their verdicts.

    Returns:
        One HTML document without any external reference; boards are linked beside it.
    """
    return fill(
        "claims.html.j2",
        heading=heading(claims),
        counts=counts(decided),
        claims=views(decided),
        rules=claims.verdicts,
        looks=_LOOKS,
    )


def write_claims(folder: Path, claims: Claims, decided: Sequence[Decided]) -> Path:
    """Writes ``claims.html``, ``claims.md`` and ``claims.json``.

    Args:
        folder: The folder of the boards.
        claims: The file of claims.
        decided: The claims with their verdicts.

    Returns:
        The page.
    """
    for name, content in (
        ("claims.json", render_json(claims, decided)),
        ("claims.md", render_markdown(claims, decided)),
        ("claims.html", render_html(claims, decided)),
    ):
        write_whole(folder / name, content.encode())
    return folder / "claims.html"
