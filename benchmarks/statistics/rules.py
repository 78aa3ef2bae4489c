"""Rules that say which rows of a board are told apart: the package's, and controls."""

from __future__ import annotations

import numpy as np
from laws import Array
from scipy import special

from pnnbench.leaderboard import comparisons as cmp
from pnnbench.leaderboard import statistics as st


def pair_effects(scores: Array) -> cmp.Effects:
    """Paired differences of all pairs of rows of many boards.

    Args:
        scores: Shape (n_boards, n_rows, n_seeds, n_devices).

    Returns:
        Entries in order of boards, within each of pairs.
    """
    boards, rows, seeds, devices = scores.shape
    a, b = np.triu_indices(rows, 1)
    parts = [st.mean_squares(board[a] - board[b]) for board in scores]
    cells = seeds * devices

    def joined(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    n = boards * len(a)
    known = np.full(n, seeds > 1 and devices > 1)
    return cmp.Effects(
        joined("mean"),
        joined("seeds") / cells,
        joined("devices") / cells,
        joined("both") / cells,
        np.full(n, max(seeds - 1.0, 1.0)),
        np.full(n, max(devices - 1.0, 1.0)),
        known,
    )


def satterthwaite_p(found: cmp.Effects) -> Array:
    """Two-sided p-values of one sum of mean squares with Satterthwaite's degrees of freedom."""
    s, d, e = found.seeds, found.devices, found.both
    variance = np.maximum(s + d - e, e)
    least = np.minimum(found.df_seeds, found.df_devices)
    both = found.df_seeds * found.df_devices
    most = (found.df_seeds + 1.0) * (found.df_devices + 1.0) - 1.0
    df = variance**2 / (s**2 / found.df_seeds + d**2 / found.df_devices + e**2 / both)
    df = np.clip(df, least, most)
    p = 2.0 * special.stdtr(df, -np.abs(found.mean) / np.sqrt(variance))
    return np.where(found.known, p, 1.0)


def pooled_p(found: cmp.Effects, rows: int) -> Array:
    """Two-sided p-values of one variance for all pairs of a board, as if all spreads were equal."""
    pairs = rows * (rows - 1) // 2
    one = np.maximum(found.seeds + found.devices - found.both, found.both)
    variance = np.repeat(one.reshape(-1, pairs).mean(axis=1), pairs)
    df = (rows - 1.0) * found.df_seeds
    p = 2.0 * special.stdtr(df, -np.abs(found.mean) / np.sqrt(variance))
    return np.where(found.known, p, 1.0)


def told_apart(found: cmp.Effects, rows: int) -> dict[str, Array]:
    """Which pairs each rule tells apart.

    Args:
        found: Pairs of boards of one number of rows.
        rows: That number.

    Returns:
        Rule to shape (n_boards, n_pairs). What follows from two other orders is left out.
    """
    pairs = rows * (rows - 1) // 2
    loose = satterthwaite_p(found).reshape(-1, pairs)
    sure = cmp.p_values(found).reshape(-1, pairs)
    possible = cmp.attainable(rows)
    return {
        "plain": loose <= cmp.FAMILY,
        "holm": _stepped(loose, tuple(range(pairs + 1))),
        "board": _stepped(sure, possible),
    }


def _stepped(p: Array, possible: tuple[int, ...]) -> Array:
    return np.stack([cmp.step_down(one, possible) <= cmp.FAMILY for one in p])


def false_orders(found: cmp.Effects, rows: int) -> dict[str, float]:
    """Share of boards of equal rows on which each rule shows an order: its first step does.

    Args:
        found: Pairs of boards of one number of rows.
        rows: That number.

    Returns:
        Rule to share.
    """
    pairs = rows * (rows - 1) // 2
    level = cmp.FAMILY / pairs
    loose = satterthwaite_p(found).reshape(-1, pairs)
    sure = np.abs(found.mean) > cmp.half_widths(found, level)
    pooled = pooled_p(found, rows).reshape(-1, pairs)
    return {
        "plain": float((loose <= cmp.FAMILY).any(axis=1).mean()),
        "holm": float((loose <= level).any(axis=1).mean()),
        "pooled": float((pooled <= level).any(axis=1).mean()),
        "board": float(sure.reshape(-1, pairs).any(axis=1).mean()),
    }
