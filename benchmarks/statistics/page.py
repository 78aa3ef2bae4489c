"""docs/statistics.md and the line of the README, written from the figures of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.leaderboard.statistics import student

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
PAGE = ROOT / "docs" / "statistics.md"
README = ROOT / "README.md"
TEMPLATE = HERE / "statistics.md.in"
_LINE = "| interval |"
"""Begins the line of the README's table."""

Found = Mapping[str, Any]
RULES = {
    "plain": "each pair by itself",
    "holm": "Holm over Satterthwaite",
    "pooled": "one pooled variance",
    "board": "**the rule of the boards**",
}


def write_texts(results: Found) -> dict[Path, str]:
    """Makes the texts.

    Args:
        results: What `measure` found.

    Returns:
        Path to its whole new content.
    """
    lines = README.read_text(encoding="utf-8").splitlines(keepends=True)
    readme = "".join(
        readme_line(results) + "\n" if line.startswith(_LINE) else line for line in lines
    )
    page = TEMPLATE.read_text(encoding="utf-8")
    for name, text in _parts(results).items():
        page = page.replace("{{" + name + "}}", text)
    return {PAGE: page, README: readme}


def percent(value: float) -> str:
    """Writes a share in percent: one decimal below ten, none above."""
    return f"{100 * value:.1f}" if value < 0.0995 else f"{100 * value:.0f}"


def tenths(value: float) -> str:
    """Writes a share in percent with one decimal."""
    return f"{100 * value:.1f}"


def worst(results: Found, rule: str, **where: Any) -> float:
    """The largest share of false orders of a rule among the cases that have these values."""
    return max(
        case[rule]
        for case in results["false_orders"]
        if all(case[name] == value for name, value in where.items())
    )


def covered(results: Found, figure: str, **where: Any) -> tuple[float, float]:
    """The smallest and the largest coverage of an interval among some cases."""
    found = [
        case[figure]
        for case in results["coverage"]
        if all(case[name] == value for name, value in where.items())
    ]
    return min(found), max(found)


def readme_line(results: Found) -> str:
    """The line ``interval`` of the README's table of what a board's columns are."""
    eight, many = worst(results, "board", rows=8), worst(results, "board", rows=17)
    low, skewed, very = (covered(results, "row", skewness=s)[0] for s in (0.0, 1.0, 2.0))
    return (
        f"{_LINE} ± is half a 95 % interval: robust and differences over training seeds and "
        "devices, the others over seeds. Measured by simulation: boards of equal rows show an "
        f"order in at most {percent(eight)} % of cases (8 rows) and {percent(many)} % (17 rows); "
        f"a row's own interval covers {tenths(low)} % and more with normal seeds, "
        f"{tenths(skewed)} % with "
        f"skewed ones, {tenths(very)} % with very skewed ones (skewness 2). "
        "[How](docs/statistics.md) |"
    )


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    sides = [":---", *("---:" for _ in columns[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, sides, *lines))


def _parts(results: Found) -> dict[str, str]:
    low, high = covered(results, "row", skewness=0.0)
    return {
        "boards": f"{results['boards']:,}",
        "power_boards": f"{results['power_boards']:,}",
        "layouts": f"{results['layouts']:,}",
        "devices": str(results["devices"]),
        "false_orders": _false_orders(results),
        "other_devices": _other_devices(results),
        "worst_8": percent(worst(results, "board", rows=8)),
        "worst_17": percent(worst(results, "board", rows=17)),
        "error": f"{200.0 * (0.05 * 0.95 / results['boards']) ** 0.5:.2f}",
        "holm_8": percent(worst(results, "holm", rows=8, seeds=3)),
        "holm_17": percent(worst(results, "holm", rows=17, seeds=3)),
        "plain_8": percent(worst(results, "plain", rows=8)),
        "plain_17": percent(worst(results, "plain", rows=17)),
        "pooled_17": percent(worst(results, "pooled", rows=17)),
        "coverage": _coverage(results),
        "row_low": tenths(low),
        "row_high": tenths(high),
        "row_skewed": tenths(covered(results, "row", skewness=1.0)[0]),
        "row_very_skewed": tenths(covered(results, "row", skewness=2.0)[0]),
        "satterthwaite_low": tenths(covered(results, "satterthwaite", skewness=0.0)[0]),
        "satterthwaite_skewed": tenths(covered(results, "satterthwaite", skewness=1.0)[0]),
        "sure_high": tenths(covered(results, "sure", skewness=0.0)[1]),
        "wins_worst": tenths(_wins(results)),
        "wins_collapse": tenths(_wins(results, collapse=0.2)),
        "wins_width": _wins_width(results),
        "quantile": f"{float(student(2, 0.05 / 28)):.0f}",
        "power": _power_table(results),
        "resolution": _resolution(results),
    }


def _false_orders(results: Found) -> str:
    lines = []
    laws = dict.fromkeys(case["law"] for case in results["false_orders"])
    for law in laws:
        for rows in (8, 17):
            mine = [
                case
                for case in results["false_orders"]
                if (case["law"], case["rows"], case["devices"]) == (law, rows, results["devices"])
            ]
            cells = [
                " / ".join(percent(case[rule]) for case in sorted(mine, key=lambda c: c["seeds"]))
                for rule in RULES
            ]
            lines.append([law, str(rows), *cells])
    return _table(["law", "rows", *RULES.values()], lines)


def _other_devices(results: Found) -> str:
    found: dict[int, list[str]] = {}
    for case in results["false_orders"]:
        if case["devices"] != results["devices"]:
            found.setdefault(case["devices"], []).append(percent(case["board"]))
    return "; ".join(f"{n} device{'s' * (n > 1)}: {' / '.join(v)}" for n, v in found.items())


def _coverage(results: Found) -> str:
    lines = []
    for law in dict.fromkeys(case["law"] for case in results["coverage"]):
        cells = []
        for figure, skewness in (
            ("row", 0.0),
            ("difference", 0.0),
            ("satterthwaite", 0.0),
            ("row", 1.0),
            ("difference", 1.0),
            ("row", 2.0),
        ):
            mine = [
                case
                for case in results["coverage"]
                if (case["law"], case["skewness"]) == (law, skewness)
            ]
            mine.sort(key=lambda case: case["seeds"])
            cells.append(" / ".join(percent(case[figure]) for case in mine))
        lines.append([law, *cells])
    columns = [
        "spreads",
        "row, normal",
        "difference, normal",
        "Satterthwaite, normal",
        "row, skewness 1",
        "difference, skewness 1",
        "row, skewness 2",
    ]
    return _table(columns, lines)


def _wins(results: Found, **where: Any) -> float:
    """The smallest coverage of the interval of "beats" among some cases."""
    return min(
        case["covered"]
        for case in results["superiority"]
        if all(case[name] == value for name, value in where.items())
    )


def _wins_width(results: Found) -> str:
    """The mean width of that interval by number of seeds, over the cases, in percent."""
    found: dict[int, list[float]] = {}
    for case in results["superiority"]:
        found.setdefault(case["seeds"], []).append(case["width"])
    return " / ".join(percent(sum(v) / len(v)) for _, v in sorted(found.items()))


def _power_table(results: Found) -> str:
    lines = []
    for rows in (8, 17):
        for spread in dict.fromkeys(tuple(case["spread"]) for case in results["power"]):
            mine = [
                case
                for case in results["power"]
                if (case["rows"], tuple(case["spread"])) == (rows, spread)
            ]
            mine.sort(key=lambda case: case["seeds"])
            cells = [
                " / ".join(percent(case[rule]) for case in mine)
                for rule in ("board", "holm", "plain")
            ]
            lines.append([f"{spread[0]:g}", f"{spread[1]:g}", str(rows), *cells])
    columns = ["seeds, points", "devices, points", "rows"]
    return _table([*columns, RULES["board"], RULES["holm"], RULES["plain"]], lines)


def _resolution(results: Found) -> str:
    lines = []
    for case in results["resolution"]:
        stated = f"{case['stated']:.1f} ({case['low']:.1f} to {case['high']:.1f})"
        price = "over 1,000" if case["seeds"] is None else str(case["seeds"])
        then = "–" if case["seen_then"] is None else percent(case["seen_then"])
        lines.append(
            [
                f"{case['spread'][0]:g}",
                f"{case['spread'][1]:g}",
                str(case["rows"]),
                str(case["seeds_had"]),
                stated,
                percent(case["seen"]),
                price,
                then,
            ]
        )
    columns = [
        "seeds, points",
        "devices, points",
        "rows",
        "seeds",
        "stated, points",
        "seen then, %",
        "seeds for 1 point",
        "seen then, %",
    ]
    return _table(columns, lines)
