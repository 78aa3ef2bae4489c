"""How ranks, comparisons and claims are written."""

from __future__ import annotations

from collections.abc import Sequence

from pnnbench.leaderboard.comparisons import Superiority
from pnnbench.leaderboard.model import ClaimLine, Row, Table
from pnnbench.report.formatting import NONE, counted, digits, is_share, number, plus_minus


def rank(row: Row) -> str:
    """Writes the places that a row can have.

    Args:
        row: A row.

    Returns:
        Such as ``"1–3"``, or ``"2"`` where there is only one.
    """
    if row.rank_low is None:
        return NONE
    return f"{row.rank_low}" if row.rank_low == row.rank_high else f"{row.rank_low}–{row.rank_high}"


def beats(found: Superiority | None) -> str:
    """Writes how often one row beats another.

    Args:
        found: The share with its interval; None for nothing to compare with.

    Returns:
        Such as ``"83 (40 to 99)"``, in percent.
    """
    if found is None or found.share is None:
        return NONE
    text = f"{100 * found.share:.0f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} ({100 * found.low:.0f} to {100 * found.high:.0f})"


def amount(value: float, *, share: bool) -> str:
    """Writes a difference with its unit.

    Args:
        value: The difference, at least 0.
        share: Whether it is one of shares.

    Returns:
        Such as ``"8.2 points"``, points being percent of the images.
    """
    if not share:
        return digits(value, 2)
    points = 100 * value
    if points > 100:
        return "more than 100 points"
    if points < 0.01:
        return "less than 0.01 points"
    return f"{points:.2g} points" if points < 10 else f"{points:.0f} points"


def ties(table: Table) -> list[str]:
    """Says which rows cannot be told apart, in as few words as there are.

    Args:
        table: A table that ranks.

    Returns:
        One line for the table, then one per row that cannot be told from some and can from others.
    """
    if not table.comparisons:
        return []
    apart = sum(pair.separated for pair in table.comparisons)
    lines = [f"told apart: {apart} of {len(table.comparisons)} pairs of complete rows"]
    labels = [row.method for row in table.rows if row.rank_low is not None]
    if not apart:
        return lines
    unknown = []
    for row in table.rows:
        if row.rank_low is None or not row.tied_with:
            continue
        others = [name for name in labels if name not in (row.method, *row.tied_with)]
        if not others:
            unknown.append(row.method)
        elif len(row.tied_with) <= len(others):
            lines.append(
                f"{rank(row)} {row.method}: not told apart from {'; '.join(row.tied_with)}"
            )
        else:
            lines.append(f"{rank(row)} {row.method}: told apart only from {'; '.join(others)}")
    if unknown:
        lines.append(f"not told apart from any row: {'; '.join(unknown)}")
    if len(lines) == 1:
        lines.append("every row is told apart from every other")
    return lines


def resolution_text(table: Table) -> str:
    """Says which differences the table could have seen, and what one point would take.

    Args:
        table: The table.

    Returns:
        A sentence without a full stop; empty with fewer than two complete rows.
    """
    seen = table.resolution
    if seen is None:
        return ""
    if seen.smallest is None:
        return (
            "nothing is told apart: of no pair the spread between seeds is known, from one seed or "
            "from the very same difference at all of them"
        )
    share = is_share(table.key["metric"])
    text = (
        f"smallest difference that shows with 80 % power: {amount(seen.smallest, share=share)} "
        "between two rows of median spread"
    )
    text += f", all {seen.pairs} pairs at once" if seen.pairs > 1 else ""
    baseline = next((row.baseline for row in table.rows if row.baseline), None)
    if seen.baseline is not None and baseline is not None:
        text += f"; {amount(seen.baseline, share=share)} to {baseline}"
    if seen.point:
        prices = [_price(devices, seeds) for devices, seeds in seen.point.items()]
        text += f"; 1 point would take {', '.join(prices)}"
    return text


def _price(devices: int, seeds: int | None) -> str:
    words = "more than a thousand seeds" if seeds is None else counted(seeds, "seed")
    return f"{words} on {counted(devices, 'device')}" if devices else words


def rank_text(table: Table) -> str:
    """Says what a rank range, a tie and the interval beside the baseline mean.

    Args:
        table: A table that ranks.

    Returns:
        Sentences.
    """
    baseline = next((row.baseline for row in table.rows if row.baseline), None)
    text = (
        "Rows stand by score. Rank: the places that a row can have among complete rows, all ranges "
        "together at 95 % confidence. Two rows are not told apart where these data do not say "
        "which is better, which does not make them equal."
    )
    if baseline is not None:
        text += f" The interval of vs {baseline} holds for all complete rows at once."
    return text


CLAIMS_TITLE = "Claims of the suite, ± for all of them at once"
"""Names the block of claims."""


def claim_lines(table: Table) -> tuple[list[str], list[list[str]]]:
    """The claims of a suite as a block of text.

    Args:
        table: The table.

    Returns:
        Headings, and one list of texts per claim.
    """
    share = is_share(table.key["metric"])
    unit = " %" if share else ""
    columns = ["claim", f"difference{unit}", "verdict", "p", "shows"]
    return columns, [_claim(line, share) for line in table.claims]


def _claim(line: ClaimLine, share: bool) -> list[str]:
    return [
        claim_text(line),
        plus_minus(line.simultaneous, share=share, sign=True),
        line.verdict,
        p_text(line.p),
        NONE if line.smallest is None else amount(line.smallest, share=share),
    ]


def claim_text(line: ClaimLine) -> str:
    """Writes a claim.

    Args:
        line: The claim.

    Returns:
        Such as ``"SAT better than BP"``.
    """
    return f"{line.better} better than {line.than}"


def p_text(p: float | None) -> str:
    """Writes an adjusted p-value.

    Args:
        p: The value; None where there is none.

    Returns:
        Such as ``"0.013"``; ``"<0.001"`` below a thousandth.
    """
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else number(round(p, 3))


CLAIMS_NOTE = (
    "claims: each is tested in both directions, step by step over all claims of the suite at 5 %, "
    "and the interval is for all in one step, so that a claim can be shown whose interval just "
    "reaches 0; shows: the difference that would have been shown with 80 % power"
)
"""What the block of claims says of itself."""


def widest(rows: Sequence[Row]) -> int:
    """Length of the longest rank of some rows."""
    return max((len(rank(row)) for row in rows), default=0)
