"""What the benchmark measures: false orders, coverage, power, and the figures of resolution."""

from __future__ import annotations

from typing import Any

import numpy as np
from laws import EQUAL_BOARDS, SINGLE, Array, Law, draw
from rules import false_orders, pair_effects, satterthwaite_p, told_apart
from scipy.special import ndtri

from pnnbench.leaderboard import comparisons as cmp
from pnnbench.leaderboard import resolution as res
from pnnbench.leaderboard import statistics as st

ROWS = (8, 17)
SEEDS = (3, 5, 10)
DEVICES = 20
LAYOUTS, POWER_BOARDS, CHECKED_BOARDS = 20_000, 1000, 200
"""Layouts per case of coverage; boards per case of power and of what boards state."""
_CHUNK = 200
Found = dict[str, Any]
SPREADS = ((0.6, 0.0), (2.0, 0.0), (4.0, 0.0), (0.6, 8.0), (2.0, 8.0), (4.0, 8.0))
"""Spreads of paired differences between seeds and between devices, in points."""
SHARES, COLLAPSE = (0.5, 0.8, 0.9, 0.97), (0.0, 0.05, 0.1, 0.2)
"""Shares of fresh seeds and devices at which a row wins, and of seeds that learn nothing."""
TOGETHER = 1.0
"""Spread of paired differences of seed and device together, in points."""


def equal_boards(law: Law, shape: tuple[int, int, int, int], seed: int) -> dict[str, float]:
    """False orders of each rule on boards whose rows are all equal.

    Args:
        law: How they scatter.
        shape: Boards, rows, seeds, devices.
        seed: Of the random numbers.

    Returns:
        Rule to the share of boards that show an order.
    """
    rng = np.random.default_rng(seed)
    total: dict[str, float] = {}
    for start in range(0, shape[0], _CHUNK):
        count = min(_CHUNK, shape[0] - start)
        found = pair_effects(draw(law, (count, *shape[1:]), rng))
        for rule, part in false_orders(found, shape[1]).items():
            total[rule] = total.get(rule, 0.0) + part * count / shape[0]
    return total


def coverage(law: Law, skewness: float, shape: tuple[int, int, int], seed: int) -> dict[str, float]:
    """How often intervals at 95 % hold the true mean of one layout and of a paired difference.

    Args:
        law: Ratios of the spreads.
        skewness: Of the seeds.
        shape: Layouts, seeds, devices.
        seed: Of the random numbers.

    Returns:
        ``row`` for the plain interval of a row, ``difference`` for that of the difference of two
        rows, ``sure`` for Banerjee's of a row, ``satterthwaite`` for the control.
    """
    rng = np.random.default_rng(seed)
    skewed = Law(law.name, law.seeds, law.devices, law.both, skewness=skewness)
    scores = draw(skewed, (shape[0], 2, *shape[1:]), rng)
    difference = st.mean_squares(scores[:, 0] - scores[:, 1])
    both = np.abs(difference.mean) <= st.crossed_half(difference, *shape[1:])
    one = _single(scores[:, 0])
    row = np.abs(one.mean) <= st.crossed_half(st.mean_squares(scores[:, 0]), *shape[1:])
    return {
        "row": float(row.mean()),
        "difference": float(both.mean()),
        "sure": float((np.abs(one.mean) <= cmp.half_widths(one, 0.05)).mean()),
        "satterthwaite": float((satterthwaite_p(one) > 0.05).mean()),
    }


def _single(scores: Array) -> cmp.Effects:
    """Layouts, each as the only pair of a board."""
    nothing = np.zeros_like(scores)
    return pair_effects(np.stack([scores, nothing], axis=1))


def wins(law: Law, truth: float, collapse: float, shape: tuple[int, int, int], seed: int) -> Found:
    """How often the interval of "beats" holds the true share.

    Args:
        law: Ratios of the spreads of the differences at seeds that learn.
        truth: Share of fresh seeds and devices at which the one is better, if its seed learns.
        collapse: Share of its seeds that learn nothing and lose everywhere.
        shape: Layouts, seeds, devices.
        seed: Of the random numbers.

    Returns:
        ``covered`` and ``width``, the mean width of the interval.
    """
    rng = np.random.default_rng(seed)
    spread = float(np.sqrt(law.seeds[0] ** 2 + law.devices[0] ** 2 + law.both[0] ** 2))
    better = draw(law, (shape[0], 1, *shape[1:]), rng)[:, 0] + spread * float(ndtri(truth)) > 0.0
    learnt = rng.random((*shape[:2], 1)) >= collapse
    _, low, high = cmp.win_interval((better & learnt).astype(np.float64))
    share = truth * (1.0 - collapse)
    covered = float(((low <= share) & (share <= high)).mean())
    return {"covered": covered, "width": float((high - low).mean())}


def measure_wins(say: Any) -> list[Found]:
    """Measures `wins` in all cases, told about progress by ``say``."""
    found = [
        {"law": law.name, "truth": truth, "collapse": collapse, "seeds": seeds}
        | wins(law, truth, collapse, (LAYOUTS, seeds, DEVICES), 6)
        for law in SINGLE
        for truth in SHARES
        for collapse in COLLAPSE
        for seeds in SEEDS
    ]
    say("superiority")
    return found


def _difference_law(spread: tuple[float, float]) -> Law:
    """Rows whose paired differences have these spreads."""
    seeds, devices, both = (float(x / np.sqrt(2.0)) for x in (*spread, TOGETHER))
    return Law("", (seeds, seeds), (devices, devices), (both, both))


def power_at(
    points: float, spread: tuple[float, float], shape: tuple[int, int, int, int], seed: int
) -> dict[str, float]:
    """How often one row that is better than all others is told apart from one of them.

    Args:
        points: By how much it is better.
        spread: Of paired differences between seeds and devices, in points.
        shape: Boards, rows, seeds, devices.
        seed: Of the random numbers.

    Returns:
        Rule to share of boards.
    """
    rng = np.random.default_rng(seed)
    total: dict[str, float] = {}
    for start in range(0, shape[0], _CHUNK):
        count = min(_CHUNK, shape[0] - start)
        scores = draw(_difference_law(spread), (count, *shape[1:]), rng)
        scores[:, 0] += points
        for rule, apart in told_apart(pair_effects(scores), shape[1]).items():
            # The first pair is that of the better row and the second one.
            total[rule] = total.get(rule, 0.0) + float(apart[:, 0].sum()) / shape[0]
    return total


def resolution_check(
    spread: tuple[float, float], shape: tuple[int, int, int, int], seed: int
) -> dict[str, Any]:
    """Whether the smallest difference that boards state is seen as often as they say.

    Args:
        spread: Of paired differences between seeds and devices, in points.
        shape: Boards, rows, seeds, devices.
        seed: Of the random numbers.

    Returns:
        ``stated``: median over boards of the smallest difference in points; ``low`` and ``high``:
        its 10 and 90 % quantiles; ``seen``: how often a difference of that size is significant at
        the first step; ``seeds``: median of the seeds that one point would take, None above a
        thousand; ``seen_then``: how often one point is significant with so many.
    """
    rng = np.random.default_rng(seed)
    boards, rows, seeds, devices = shape
    law = _difference_law(spread)
    pairs = rows * (rows - 1) // 2
    level = cmp.FAMILY / pairs
    stated, prices = [], []
    for scores in draw(law, (boards, rows, seeds, devices), rng):
        found = pair_effects(scores[None] / 100.0)
        seen = res.resolution(found, None, devices=devices, share=True)
        stated.append(100.0 * (seen.smallest or np.nan))
        price = seen.point[devices]
        prices.append(np.inf if price is None else price)
    middle = float(np.median(stated))
    price = float(np.sort(prices)[len(prices) // 2])
    affordable = price <= res.MOST_SEEDS
    return {
        "stated": middle,
        "low": float(np.quantile(stated, 0.1)),
        "high": float(np.quantile(stated, 0.9)),
        "seen": _seen(law, middle, level, (seeds, devices), rng),
        "seeds": int(price) if affordable else None,
        "seen_then": _seen(law, 1.0, level, (int(price), devices), rng) if affordable else None,
    }


def _seen(
    law: Law, points: float, level: float, shape: tuple[int, int], rng: np.random.Generator
) -> float:
    """How often one pair shows a difference in its direction."""
    hits, total = 0, 0
    for _ in range(10):
        scores = draw(law, (400, 2, *shape), rng)
        scores[:, 0] += points
        found = pair_effects(scores)
        hits += int((found.mean > cmp.half_widths(found, level)).sum())
        total += 400
    return hits / total


def measure(boards: int, say: Any) -> dict[str, Any]:
    """Measures everything.

    Args:
        boards: Boards per case of false orders.
        say: Told about progress.

    Returns:
        Plain JSON types.
    """
    result: dict[str, Any] = {
        "boards": boards,
        "power_boards": POWER_BOARDS,
        "layouts": LAYOUTS,
        "devices": DEVICES,
    }
    result["false_orders"] = []
    for law in EQUAL_BOARDS:
        for rows in ROWS:
            for seeds in SEEDS:
                found = equal_boards(law, (boards, rows, seeds, DEVICES), 1)
                case = {"law": law.name, "rows": rows, "seeds": seeds, "devices": DEVICES}
                result["false_orders"].append(case | found)
        say(f"false orders: {law.name}")
    for devices in (1, 2, 50):
        for seeds in SEEDS:
            found = equal_boards(EQUAL_BOARDS[4], (boards, 8, seeds, devices), 2)
            case = {"law": EQUAL_BOARDS[4].name, "rows": 8, "seeds": seeds, "devices": devices}
            result["false_orders"].append(case | found)
    result["coverage"] = [
        {"law": law.name, "skewness": skewness, "seeds": seeds}
        | coverage(law, skewness, (LAYOUTS, seeds, DEVICES), 3)
        for skewness in (0.0, 1.0, 2.0)
        for law in SINGLE
        for seeds in SEEDS
    ]
    say("coverage")
    result["superiority"] = measure_wins(say)
    result["power"] = []
    for rows in ROWS:
        for spread in SPREADS:
            for seeds in SEEDS:
                found = power_at(2.0, spread, (POWER_BOARDS, rows, seeds, DEVICES), 4)
                case = {"rows": rows, "spread": list(spread), "seeds": seeds}
                result["power"].append(case | found)
        say(f"power: {rows} rows")
    result["resolution"] = [
        {"rows": rows, "spread": list(spread), "seeds_had": seeds}
        | resolution_check(spread, (CHECKED_BOARDS, rows, seeds, DEVICES), 5)
        for rows in ROWS
        for spread in SPREADS[:4]
        for seeds in SEEDS
    ]
    say("resolution")
    return result
