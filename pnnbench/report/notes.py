"""What stands beside the numbers of a table: its name, what a reader must know, a footnote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pnnbench.leaderboard.deployments import FROZEN
from pnnbench.leaderboard.knowledge import phrase
from pnnbench.leaderboard.model import Table
from pnnbench.leaderboard.sharpness import AT_GUESSING, NO_MINIMUM, TRAINING_DEVICE
from pnnbench.leaderboard.summary import places
from pnnbench.report.also_text import figure_texts
from pnnbench.report.blocks import has_forward, order_texts, training_severity
from pnnbench.report.comparing import CLAIMS_NOTE, rank_text, resolution_text, ties
from pnnbench.report.copies import copy_text
from pnnbench.report.formatting import counted

NOT_RANKED = (
    "not ranked: protocol published repeats what the authors did and feeds no ranking; rows stand "
    "by name"
)
"""What a table of the published protocol says of itself."""
#: Why sharpness is held against no other -> what is said of it.
_MARKS = {
    AT_GUESSING: "the loss never left that of guessing, so that λmax says nothing and is left out, "
    "while the score counts",
    NO_MINIMUM: "at no minimum, where λmax says little and is held against no other row",
    TRAINING_DEVICE: "on each seed's training device, not the ideal one, so that λmax is held "
    "against no other row",
}
#: Seeds that are named one by one.
_FEW = 3


def heading(table: Table) -> str:
    """One line that names a table.

    Args:
        table: The table.

    Returns:
        Suite, workload, tier and protocol.
    """
    key = table.key
    text = f"{key['suite']} · {key['workload']} · {key['tier']} · protocol {key['protocol']}"
    if key.get("revision", "1") != "1":
        text += f", revision {key['revision']}"
    if len(table.deployments) > 1:
        text += f" · {deployment_text(table)}"
    return text if table.ranked else f"{text} · not ranked"


def deployment_text(table: Table) -> str:
    """Names the deployment of a table.

    Args:
        table: The table.

    Returns:
        Such as ``"frozen (headline)"``.
    """
    return table.key["deployment"] + (" (headline)" if table.headline else "")


def remarks(table: Table) -> list[str]:
    """What a reader must know beside the numbers: figures, ties, missing, failed, older jobs.

    Args:
        table: The table.

    Returns:
        One line each.
    """
    lines = []
    if not table.ranked:
        lines.append(NOT_RANKED)
    lines.extend(figure_texts(table))
    lines.extend(ties(table))
    if found := resolution_text(table):
        lines.append(found)
    if table.claims:
        lines.append(CLAIMS_NOTE)
    for row in table.rows:
        if row.missing:
            total = len(row.seeds) + len(row.missing)
            gone = ", ".join(map(str, row.missing))
            lines.append(
                f"incomplete: {row.method} has {len(row.seeds)} of {total} seeds (missing: {gone})"
            )
    lines.extend(
        f"failed: {row.method}, seed {failure['seed']}: {failure['status']} "
        f"({failure['type']}: {failure['message'].splitlines()[0] if failure['message'] else ''})"
        for row in table.rows
        for failure in row.failed
    )
    lines.extend(f"{note[0].lower()}{note[1:]}" for note in table_notes(table))
    lines.extend(order_texts(table))
    lines.extend(notes(table))
    silent = sum(not group.counted for group in table.groups) if table.ranked else 0
    if silent:
        verb = "carries" if silent == 1 else "carry"
        lines.append(
            f"{silent} of {len(table.groups)} cell groups {verb} no weight in the score, as the "
            "workload declares"
        )
    return lines


def table_notes(table: Table) -> list[str]:
    """What the table is among others: deployment, data that are a copy, rows that are left out.

    Args:
        table: The table.

    Returns:
        Sentences without a full stop.
    """
    lines = []
    if table.key["deployment"] != FROZEN:
        lines.append(calibration_text(table))
    if words := copy_text(table):
        lines.append(words)
    if table.left_out:
        lines.append(
            f"Left out, as they know {phrase(table.without)}: {'; '.join(table.left_out)}; ranks "
            "are among the rows shown"
        )
    unknown = [row.method for row in table.rows if row.knows is None]
    if table.without and unknown:
        lines.append(f"Records do not say what these rows know: {'; '.join(unknown)}")
    return lines


def calibration_text(table: Table) -> str:
    """Says what the deployment of a table takes on each device.

    Args:
        table: A table of another deployment than the network as trained.

    Returns:
        A sentence without a full stop.
    """
    text = f"Deployment {table.key['deployment']}: a step on each test device before its tests"
    parts = []
    for name, words in (("images", "images"), ("queries", "hardware queries")):
        found = sorted({row.calibration[name] for row in table.rows if name in row.calibration})
        if found:
            parts.append(f"{' to '.join(f'{n:g}' for n in {found[0]: 0, found[-1]: 0})} {words}")
    return f"{text}, with {' and '.join(parts)} a device and environment" if parts else text


def notes(table: Table) -> list[str]:
    """What was computed elsewhere, what has no value, and which jobs are older ones.

    Args:
        table: The table.

    Returns:
        One line each.
    """
    lines = [*badge_texts(table), *places_texts(table), *sharpness_texts(table)]
    lines.extend(
        f"without a value: {row.without_value} cells of {row.method}; they count as guessing"
        for row in table.rows
        if row.without_value and not row.undefined
    )
    lines.extend(
        f"undefined: {row.method} has no score at {_seeds(row.undefined)}: a condition that counts "
        "has no value there"
        for row in table.rows
        if row.undefined
    )
    lines.extend(
        f"not counted: {job['method']}, seed {job['seed']}: job {job['hash']} ({job['status']}, "
        f"{job['finished'][:19]}); the suite has another job at this seed, or none"
        for job in table.older
    )
    return lines


def badge_texts(table: Table) -> list[str]:
    """Says which rows were verified, and how; nothing where none was.

    Args:
        table: The table.

    Returns:
        One line, or none.
    """
    found = [(row.method, row.badges) for row in table.rows if row.badges]
    if not found:
        return []
    rows = "; ".join(f"{method}: {', '.join(badges)}" for method, badges in found)
    rest = "" if len(found) == len(table.rows) else "; the other rows are as claimed"
    return [f"badges, as the files in verifications/ say: {rows}{rest}"]


def sharpness_texts(table: Table) -> list[str]:
    """Says which figures of sharpness are held against no others, and why.

    Args:
        table: The table.

    Returns:
        One line a reason, none where all are comparable.
    """
    found: dict[str, list[str]] = {}
    for row in table.rows:
        for why, count in Counter(row.marks.values()).items():
            seeds = [seed for seed, reason in row.marks.items() if reason == why]
            told = _seeds(seeds) if count <= _FEW else f"{count} of {len(row.seeds)} seeds"
            found.setdefault(why, []).append(f"{row.method}, {told}")
    return [f"{words}: {'; '.join(found[why])}" for why, words in _MARKS.items() if why in found]


def places_texts(table: Table) -> list[str]:
    """Says where each row was computed, if not all jobs were on one device in one precision.

    Args:
        table: The table.

    Returns:
        One line, or none.
    """
    found = places(table.chosen.finished)
    kinds = {place for mine in found.values() for place in mine}
    if len(kinds) < 2:
        return []
    rows: dict[tuple[str, ...], list[str]] = {}
    for label, mine in found.items():
        rows.setdefault(mine, []).append(label)
    told = "; ".join(f"{', '.join(labels)} on {' and '.join(m)}" for m, labels in rows.items())
    return [f"not all on one device: {told}; their training times are no comparison of methods"]


def _seeds(numbers: Sequence[int]) -> str:
    return f"seed{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _range(counts: Sequence[int]) -> str:
    """Writes the least and the largest of some counts, one number where they are one."""
    return " to ".join(map(str, sorted({min(counts, default=0), max(counts, default=0)})))


def footnote(table: Table) -> str:
    """Says what the intervals span.

    Args:
        table: The table.

    Returns:
        One sentence.
    """
    measured = [row.robust for row in table.rows]
    if not table.ranked:
        measured = [interval for group in table.groups for interval in group.methods.values()]
    spans = next((interval.spans for interval in measured if interval.spans), ())
    used = _range([len(row.seeds) for row in table.rows])
    met = _range([len([d for d in row.devices if d is not None]) for row in table.rows])
    size = f"{counted(used, 'seed')}, {counted(met, 'device')}"
    over = " and ".join(spans) if spans else "nothing (one seed, one device)"
    more = ""
    if table.training is not None:
        more += (
            f" Training device: the one that in-situ methods train on, another at each seed, "
            f"severity {training_severity(table)}; over seeds. Fresh devices: the test devices at "
            f"that severity; transfer: fresh minus training device, paired; both over {over}."
        )
    more += " Gradients: gradient evaluations; "
    if has_forward(table):
        more += "forward: passes in training without a gradient; "
    more += "queries: hardware queries in training and calibration"
    if table.reference is not None:
        more += (
            f"; time / {table.reference}: training time relative to {table.reference}, CPU time "
            "where it ran on a CPU, paired by seed, geometric mean"
        )
    more += (
        ". Knows: what a method is told of the tests: a Gaussian on the controls, the tested law, "
        "one device to measure on."
    )
    if not table.ranked:
        return (
            f"± is half a 95 % interval: conditions over {over}, clean and λmax over seeds; "
            f"{size}.{more}"
        )
    return (
        f"± is half a 95 % interval: robust and differences over {over}, clean, worst tenth and "
        f"λmax over seeds; {size}. {rank_text(table)} {worst_text(table)}"
        f"{more}"
    )


def worst_text(table: Table) -> str:
    """Says what the worst tenth of a table is.

    Args:
        table: The table.

    Returns:
        One sentence.
    """
    if table.key["revision"] == "1":
        return (
            "Worst tenth: mean over the worst tenth of the devices of each device's score over the "
            "conditions that devices do not share; it can lie above robust."
        )
    return (
        "Worst tenth: mean over the worst tenth of the devices of each device's robust score, over "
        "all conditions that count."
    )
