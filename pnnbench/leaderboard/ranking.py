"""From records to tables: robust scores, intervals, rank ranges, correlations.

Scores of one table are comparable by construction: one suite, protocol, workload, tier, data
fingerprint and metric, the same grid and the same devices for every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pnnbench.leaderboard.beside import Columns, columns, figures_beside, stacked
from pnnbench.leaderboard.choice import Board, Chosen, Current, age, choose
from pnnbench.leaderboard.deployments import FROZEN, deployment_names, deployment_of, headline_of
from pnnbench.leaderboard.earlier import small_part, stages
from pnnbench.leaderboard.grid import Grid, Record, read_grid, require_equal, revision_of
from pnnbench.leaderboard.model import PUBLISHED, GroupLine, Row, Table
from pnnbench.leaderboard.order import BASELINE, Placed, in_order, judged
from pnnbench.leaderboard.row_figures import described, figures, group_lines
from pnnbench.leaderboard.sharpness import correlations
from pnnbench.leaderboard.summary import control_unit, provenance
from pnnbench.leaderboard.transfer import device_figures, training_severity, with_time_ratios
from pnnbench.records.folders import record_order
from pnnbench.records.index import Claim, board_of, workload_of
from pnnbench.records.metric import same_metric
from pnnbench.records.store import canonical

__all__ = ["BASELINE", "GroupLine", "Row", "Table", "build", "rows", "without"]


def _key(record: Record) -> dict[str, str]:
    job, data = record["job"], record["data"]
    return {
        "suite": job["suite"],
        "protocol": record["protocol"],
        "workload": workload_of(job),
        "tier": job["tier"],
        "data": data["name"],
        "fingerprint": data["fingerprint"],
        "metric": record["metric"]["name"],
        "revision": str(revision_of(record)),
    }


_COARSE = ("suite", "protocol", "workload", "tier")


def build(
    records: Sequence[Record],
    *,
    current: Mapping[Board, Current] | None = None,
    claims: Mapping[str, Sequence[Claim]] | None = None,
) -> list[Table]:
    """Makes the tables of a set of records.

    Args:
        records: Records as ``read_records`` returns them, failures included.
        current: Per board (suite, protocol, workload, tier) the jobs it consists of, as
            ``read_index`` gives them: of a board named here no others count, and those without a
            record show as missing. Elsewhere the newest job of each row and seed counts.
        claims: Suite to its claims, as ``read_claims`` gives them.

    Returns:
        One table per suite, protocol, workload, tier, data fingerprint, metric and deployment, of
        the deployments of one board the headline first. The figures of a row depend on its own
        records alone. A finished job without a deployment is missing in its table.

    Raises:
        UserError: If one table's jobs differ in grid, test devices, training devices, headline or
            in the cells measured after a share of the steps.
    """
    coarse: dict[Board, list[Record]] = {}
    for record in sorted(records, key=record_order):
        coarse.setdefault(board_of(record), []).append(record)
    result = []
    for key, members in coarse.items():
        wanted = (current or {}).get(key)
        claimed = tuple((claims or {}).get(key[0], ()))
        tables: dict[bytes, list[Record]] = {}
        for record in members:
            if record["status"] == "ok":
                tables.setdefault(canonical(_key(record)), []).append(record)
        failed = [record for record in members if record["status"] != "ok"]
        for done in tables.values():
            bad = [record for record in failed if _table_of(record, tables) is done]
            result += _tables(_key(done[0]), [*done, *bad], wanted, claimed)
        alone: dict[int, list[Record]] = {}
        for record in failed:
            if _table_of(record, tables) is None:
                alone.setdefault(revision_of(record), []).append(record)
        for revision, bad in alone.items():
            nothing = {"data": "none", "fingerprint": "none", "metric": "none"}
            nothing["revision"] = str(revision)
            result += _tables(dict(zip(_COARSE, key, strict=True)) | nothing, bad, wanted, claimed)
    # Deployments of one board keep their order: the headline first.
    return sorted(result, key=lambda t: tuple(v for k, v in t.key.items() if k != "deployment"))


def _table_of(failure: Record, tables: Mapping[bytes, list[Record]]) -> list[Record] | None:
    """The finished jobs of one board that a failure stands beside; None where there are none.

    A job that failed early does not say what it read. Jobs of one content read the same; a row
    without a finished job stands beside the newest ones.
    """
    alike = [done for done in tables.values() if revision_of(done[0]) == revision_of(failure)]
    if "data" in failure and "metric" in failure:
        own = tables.get(canonical(_key(failure)))
        if own is not None:
            return own
    content = failure["job"]["content"]
    same = [done for done in alike if any(r["job"]["content"] == content for r in done)]
    return max(same or alike, key=lambda done: max(map(age, done)), default=None)


def rows(records: Sequence[Record], *, current: Mapping[Board, Current] | None = None) -> list[Row]:
    """Makes the rows of all tables, best first within each table.

    Args:
        records: As for ``build``.
        current: As for ``build``.

    Returns:
        The rows of ``build``'s tables, one after another.

    Raises:
        UserError: As ``build``.
    """
    return [row for table in build(records, current=current) for row in table.rows]


def without(table: Table, names: Sequence[str]) -> Table:
    """A table without the rows that know something of the tests.

    Args:
        table: What `build` made.
        names: What they know, among `KNOWLEDGE`. Rows that do not say what they know stay.

    Returns:
        The table of the other rows, with ranks, ties, correlations and provenance of their own; no
        figure of a row changes, nor its badges or what its search says. The table itself if no row
        is left out.

    Raises:
        UserError: As `build`.
    """
    gone = tuple(row.method for row in table.rows if set(row.knows or ()) & set(names))
    if not gone:
        return table
    chosen, asked = table.chosen, table.asked
    kept = Chosen(
        finished={k: v for k, v in chosen.finished.items() if k not in gone},
        failed={k: v for k, v in chosen.failed.items() if k not in gone},
        older=tuple(r for r in chosen.older if r["job"]["method"]["label"] not in gone),
    )
    if asked is not None:
        asked = {label: jobs for label, jobs in asked.items() if label not in gone}
    made = _table(table.key, kept, asked, table.deployments, ())
    # Training times stay relative to the row they were, shown or not.
    before = {row.method: row for row in table.rows}
    rows = tuple(
        replace(row, reference=old.reference, time_ratio=old.time_ratio, badges=old.badges)
        for row in made.rows
        for old in (before[row.method],)
    )
    # Claims stay the family that the suite has, whatever rows are shown.
    claims = tuple(line for line in table.claims if not {line.better, line.than} & set(gone))
    return replace(
        made,
        rows=rows,
        without=tuple(names),
        left_out=gone,
        claims=claims,
        claimed=table.claimed,
        tuning=tuple(told for told in table.tuning if told.method not in gone),
    )


def _tables(
    key: dict[str, str], records: list[Record], asked: Current | None, claimed: tuple[Claim, ...]
) -> list[Table]:
    """The tables of one board: one for each deployment, the headline first."""
    chosen = choose(records, asked)
    done = [record for members in chosen.finished.values() for record in members]
    stated = [record for record in done if "headline" in record]
    require_equal("headline deployment", stated, [headline_of(record) for record in stated])
    names = deployment_names(done)
    return [_table({**key, "deployment": name}, chosen, asked, names, claimed) for name in names]


def _table(
    key: dict[str, str],
    chosen: Chosen,
    asked: Current | None,
    deployments: tuple[str, ...],
    claimed: tuple[Claim, ...],
) -> Table:
    deployment = key["deployment"]
    done = [record for members in chosen.finished.values() for record in members]
    having = [record for record in done if deployment_of(record, deployment)]
    grids = {id(record): read_grid(record, deployment) for record in having}
    every = [grids[id(record)] for record in having]
    require_equal("perturbation grid", having, [grid.levels for grid in every])
    require_equal("test devices", having, [grid.devices for grid in every])
    require_equal("weights of the cells", having, [grid.weights for grid in every])
    frozen = deployment == FROZEN
    metric: Record = done[0]["metric"] if done else {"name": "none", "higher_is_better": True}
    same = [metric if same_metric(r["metric"], metric) else r["metric"] for r in done]
    require_equal("metric", done, same)
    ranked = key["protocol"] != PUBLISHED
    jobs: list[tuple[Record, float]] = []
    made, stacks = [], {}
    beside: dict[str, list[Columns]] = {}
    whole: dict[str, tuple[Grid, ...]] = {}
    for label in sorted({*chosen.finished, *chosen.failed, *(asked or {})}):
        finished = chosen.finished.get(label, [])
        members = [record for record in finished if id(record) in grids]
        lacking = [record for record in finished if id(record) not in grids]
        bad = chosen.failed.get(label, [])
        row = described(key, label, members, bad, lacking, metric, (asked or {}).get(label, {}))
        if members:
            mine = [grids[id(record)] for record in members]
            if not lacking:
                whole[label] = tuple(mine)
            # [group, seed, device]
            stacks[label] = np.stack([grid.values for grid in mine], axis=1)
            row |= figures(members, mine, bad, ranked=ranked)
            beside[label] = [columns(r, grids[id(r)], deployment) for r in members]
            row["also"] = figures_beside(members, mine, beside[label])
            if frozen:  # what was measured of the network as trained alone
                row |= device_figures(members, stacks[label], mine[0])
                row["earlier"] = stages(members)
            scores = row["scores"]
            if scores is not None:
                by_seed = dict(zip(scores.seeds, scores.values.mean(axis=1).tolist(), strict=True))
                jobs += [
                    (r, by_seed[r["job"]["seed"]]) for r in members if r["job"]["seed"] in by_seed
                ]
        made.append(Row(**row))
    placed = in_order(made, metric["higher_is_better"]) if ranked else Placed(tuple(made))
    return Table(
        key=key,
        rows=with_time_ratios(placed.rows, chosen.finished),
        groups=group_lines(every[0], stacks, stacked(beside)) if every else (),
        correlations=correlations(jobs, metric["higher_is_better"]),
        provenance=provenance(having),
        control_unit=control_unit(having),
        training=training_severity(having) if frozen else None,
        older=tuple(
            {
                "method": record["job"]["method"]["label"],
                "seed": record["job"]["seed"],
                "hash": record["job"]["hash"],
                "status": record["status"],
                "finished": str(record["provenance"].get("finished", "")),
            }
            for record in chosen.older
        ),
        deployments=deployments,
        small_part=small_part(having) if frozen else None,
        comparisons=placed.comparisons,
        resolution=placed.resolution,
        claims=judged(placed.rows, claimed) if ranked else (),
        chosen=chosen,
        asked=asked,
        claimed=claimed,
        grids=whole,
    )
