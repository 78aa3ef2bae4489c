"""Verifications: what ``pnnbench verify`` found of a submission, one sealed JSON file.

A board takes a badge from it where its checksums are those of the row's records. The seal tells
what was changed by accident, and nothing of who wrote it: a badge is worth what those are worth who
may write into the folder of the board, and only its maintainers should.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records import checks
from pnnbench.records.checks import list_of, one_of, pattern, shape
from pnnbench.records.schema import SHA256
from pnnbench.records.searches import read_sealed, write_sealed

#: Version of the layout.
FORMAT = 1
#: Folder of verifications beside the records of a board.
FOLDER = "verifications"
#: What a row may bear, from least to most.
BADGES = ("claimed", "recomputed", "retrained", "held-out")


def _format(where: str, value: Any) -> None:
    if type(value) is not int or value != FORMAT:
        raise checks.fail(where, value, f"{FORMAT}, the version this program reads")


_SHAPE = shape(
    {
        "format": _format,
        "pnnbench": checks.text,
        "submission": pattern(SHA256, "64 hexadecimal digits"),
        "suite": checks.text,
        "protocol": checks.text,
        "workload": checks.text,
        "tier": checks.text,
        "row": checks.text,
        "seeds": list_of(checks.mapping, empty=False),
        "confirmed": checks.boolean,
        "badges": list_of(one_of(*BADGES)),
        "claimed": list_of(checks.text),
        "versions": checks.mapping,
    },
    {
        "controls": checks.mapping,
        "failed": list_of(checks.mapping),
        "held_out": checks.mapping,
        "process": checks.mapping,
        "retrained": checks.mapping,
    },
)


def write_verification(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a verification, sealed.

    Args:
        path: The file.
        result: What `pnnbench.submitting.verifying.verify_here` returns.

    Raises:
        UserError: If something in it is not as it should be.
    """
    _SHAPE("verification", dict(result))
    write_sealed(path, dict(result))


def read_verification(path: Path) -> dict[str, Any]:
    """Reads a verification.

    Raises:
        UserError: If it cannot be read, was changed, something in it is not as it should be, or
            it bears a badge that the rest of it does not bear out.
    """
    found = read_sealed(path, "verify the submission again: pnnbench verify SUBMISSION --out FILE")
    try:
        _SHAPE("verification", found)
        for seed in found["seeds"]:
            checks.text("verification.seeds: record", seed.get("record"))
        _check_badges(found)
    except UserError as error:
        raise UserError(f"{path}: {error.what}", allowed=error.allowed) from None
    return found


def _check_badges(found: Mapping[str, Any]) -> None:
    """Refuses a badge that the rest of the verification does not bear out."""
    same = found["confirmed"] and not any(seed.get("differences") for seed in found["seeds"])
    held_out, retrained = found.get("held_out", {}), found.get("retrained", {})
    borne_out = {
        "recomputed": same and not retrained,
        "held-out": same and held_out.get("memorised") is False,
        "retrained": found["confirmed"] and retrained.get("badge") == "retrained",
    }
    for badge in found["badges"]:
        if not borne_out.get(badge, True):
            raise checks.fail(
                "verification.badges", found["badges"], f"no {badge}: the rest says otherwise"
            )


def read_verifications(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Reads the verifications of some boards: those in ``verifications/`` below their folders.

    Raises:
        UserError: As `read_verification`.
    """
    paths = {path for folder in folders for path in folder.rglob(f"{FOLDER}/*.json")}
    return [read_verification(path) for path in sorted(paths)]


def badges_of(
    records: Iterable[Mapping[str, Any]], verifications: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The badges that the verifications of a row allow.

    Args:
        records: The sealed records of the row, all of its seeds.
        verifications: Verifications, of this row and of others.

    Returns:
        Those of `BADGES` that every record of the row has, by its checksum: one that no
        verification names has ``"claimed"`` alone. Who trains again trains one seed: a row whose
        figures were not all recomputed is not ``"retrained"`` either.
    """
    known: dict[str, set[str]] = {}
    for one in verifications:
        for seed in one["seeds"]:
            known.setdefault(seed["record"], set()).update(one["badges"])
    each = [known.get(record["checksum"], set()) | {BADGES[0]} for record in records]
    common = set.intersection(*each) if each else set()
    if "recomputed" not in common:
        common -= {"retrained"}
    return tuple(badge for badge in BADGES if badge in common)
