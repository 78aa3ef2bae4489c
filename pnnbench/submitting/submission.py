"""What a submission says: `submission.json`, one row of a board with all its seeds.

```
submission.json               what this file describes
search.json                   the tuning record, if there is one (pnnbench.records.searches)
seed-N/record.json            record of each seed (pnnbench.records.schema)
seed-N/parameters.safetensors its tensors, if it finished
seed-N/devices.csv or .npz    the file of measured devices, if the record names one
```

Everything in it is claimed. What can be computed from tensors and registry is computed by
`pnnbench verify` and compared.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pnnbench.errors import UserError
from pnnbench.records.checks import (
    Check,
    boolean,
    count,
    fail,
    list_of,
    mapping,
    one_of,
    pattern,
    positive_count,
    shape,
)
from pnnbench.records.schema import SHA256, TIERS
from pnnbench.running.labels import LETTERS, strange_character
from pnnbench.submitting.bundle import LIMITS, MANIFEST, RECORD, Bundle, check_file_name
from pnnbench.submitting.strict import hidden_character, parse_json

#: Version of the layout.
FORMAT = 1
#: Protocols whose rows stand on boards.
PROTOCOLS = ("pnnbench-2",)
#: What a method is handed.
Access = Literal["in_silico", "in_situ", "in_situ_internal"]
#: Seeds of a row, at most.
MOST_SEEDS = 100
#: Settings that a row may have been chosen from, at most.
MOST_SETTINGS = 10**9
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
_CLASS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}\Z")
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}\Z")
_ADDRESS = re.compile(r"https?://[!-~]{1,490}\Z")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,39}\Z")


def _line(most: int, *, breaks: bool = False) -> Check:
    """Makes the check for a text of so many characters, in one line unless it may have breaks."""

    def check(where: str, value: Any) -> None:
        if not isinstance(value, str) or not value.strip() or len(value) > most:
            raise fail(where, value, f"a text of 1 to {most} characters")
        found = hidden_character(value, breaks=breaks)
        if found is not None:
            raise fail(where, value, f"characters that are shown as they read, not {found}")

    return check


def _label(where: str, value: Any) -> None:
    """A text of one line, of letters that read as they look."""
    _line(100)(where, value)
    found = strange_character(value)
    if found is not None:
        raise fail(where, value, f"{LETTERS}, not {found}")


def _or_null(inner: Check) -> Check:
    def check(where: str, value: Any) -> None:
        if value is not None:
            inner(where, value)

    return check


def _most(inner: Check, most: int) -> Check:
    """Makes the check for a list or a number that is not larger than another."""

    def check(where: str, value: Any) -> None:
        inner(where, value)
        if (value if isinstance(value, int) else len(value)) > most:
            raise fail(where, value, f"{most} at most")

    return check


def _format(where: str, value: Any) -> None:
    if type(value) is not int or value != FORMAT:
        raise fail(where, value, f"{FORMAT}, the version this program reads")


def _params(where: str, value: Any) -> None:
    """Settings: numbers, truth values, short texts, or a number for each parameter."""
    mapping(where, value)
    for key, setting in value.items():
        _SETTING_NAME(f"{where} key", key)
        for inner in setting.values() if isinstance(setting, dict) else [setting]:
            if isinstance(inner, (list, dict)) or (isinstance(inner, str) and len(inner) > 200):
                raise fail(f"{where}.{key}", setting, "a number, a truth value or a short text")


def _files(where: str, value: Any) -> None:
    mapping(where, value)
    for name, entry in value.items():
        check_file_name(name)
        _FILE(f"{where}.{name}", entry)


_SETTING_NAME = _line(100)
_FILE = shape({"sha256": pattern(SHA256, "64 hexadecimal digits"), "bytes": count})
_CARD = shape(
    {
        "name": _line(100),
        "authors": _most(list_of(_line(200), empty=False), 100),
        "paper": _or_null(pattern(_ADDRESS, "an address that begins with https://")),
        "code": _or_null(pattern(_ADDRESS, "an address that begins with https://")),
        "licence": pattern(_LICENCE, "an SPDX expression such as 'MIT'"),
        "access": one_of(*get_args(Access)),
        "description": _line(2_000, breaks=True),
    }
)
_SHAPE = shape(
    {
        "format": _format,
        "pnnbench": pattern(_VERSION, "a version"),
        "protocol": one_of(*PROTOCOLS),
        "suite": pattern(_NAME, "letters, digits, '_', '-' and '.', at most 100"),
        "workload": pattern(_NAME, "the name of a registered workload"),
        "tier": one_of(*TIERS),
        "row": shape(
            {
                "method": pattern(_CLASS, "a registered name or a class path"),
                "label": _label,
                "params": _params,
            }
        ),
        "card": _CARD,
        "check": shape(
            {
                "pnnbench": pattern(_VERSION, "a version"),
                "passed": count,
                "failed": count,
                "checks": _most(
                    list_of(
                        shape(
                            {
                                "name": _line(200),
                                "passed": boolean,
                                "message": _line(2_000, breaks=True),
                            }
                        )
                    ),
                    1_000,
                ),
            }
        ),
        "settings_tried": _most(positive_count, MOST_SETTINGS),
        "seeds": _most(list_of(count, empty=False), MOST_SEEDS),
        "files": _files,
    }
)


@dataclasses.dataclass(frozen=True)
class Row:
    """Which row it is.

    Attributes:
        method: Registered name, or the class path of a method of somebody's own.
        label: What the board calls the row.
        params: Every hyper-parameter.
    """

    method: str
    label: str
    params: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Card:
    """Who made the method, and what it may see.

    Attributes:
        name: Its name for people.
        authors: Who made it, at least one.
        paper: Address of the paper; None if there is none.
        code: Address of the code; None if there is none.
        licence: SPDX expression.
        access: What it is handed.
        description: What it does, at most 2,000 characters.
    """

    name: str
    authors: tuple[str, ...]
    paper: str | None
    code: str | None
    licence: str
    access: Access
    description: str


@dataclasses.dataclass(frozen=True)
class Conformance:
    """What ``pnnbench check`` said of the method.

    Attributes:
        pnnbench: Version that checked.
        passed: Checks that passed.
        failed: Checks that failed.
        checks: Each with ``name``, ``passed`` and ``message``.
    """

    pnnbench: str
    passed: int
    failed: int
    checks: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class FileEntry:
    """One file of a submission.

    Attributes:
        sha256: 64 hexadecimal digits.
        bytes: Its size.
    """

    sha256: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class Submission:
    """What ``submission.json`` says.

    Attributes:
        pnnbench: Version that packed it.
        protocol: One of `PROTOCOLS`.
        suite: Name of the suite.
        workload: Registered name of the workload.
        tier: Name of the tier.
        row: Which row it is.
        card: Who made the method.
        check: What ``pnnbench check`` said.
        settings_tried: Settings of the hyper-parameters that were ever tried, at least 1.
        seeds: The repetitions, ascending.
        files: Every other file by its path inside the submission.
    """

    pnnbench: str
    protocol: str
    suite: str
    workload: str
    tier: str
    row: Row
    card: Card
    check: Conformance
    settings_tried: int
    seeds: tuple[int, ...]
    files: Mapping[str, FileEntry]

    @classmethod
    def of(cls, content: Any) -> Submission:
        """Takes what stands in ``submission.json``.

        Args:
            content: Plain JSON values, such as `as_dict` gives.

        Raises:
            UserError: On the first thing that is missing, unknown, of the wrong type, out of range
                or at odds with something else in it.
        """
        try:
            _SHAPE("submission", content)
        except UserError as error:
            said = error.what.removeprefix("record: ")
            raise UserError(f"{MANIFEST}: {said}", allowed=error.allowed) from None
        parts = {key: value for key, value in content.items() if key != "format"}
        card, check = content["card"], content["check"]
        found = cls(
            **{
                **parts,
                "row": Row(**content["row"]),
                "card": Card(**{**card, "authors": tuple(card["authors"])}),
                "check": Conformance(**{**check, "checks": tuple(check["checks"])}),
                "seeds": tuple(content["seeds"]),
                "files": {name: FileEntry(**entry) for name, entry in content["files"].items()},
            }
        )
        found._check()
        return found

    def _check(self) -> None:
        """Refuses what contradicts itself."""
        if sorted(set(self.seeds)) != list(self.seeds):
            raise UserError(f"{MANIFEST}: seeds is {list(self.seeds)}", allowed="each once, sorted")
        passed = sum(check["passed"] for check in self.check.checks)
        failed = len(self.check.checks) - passed
        if (passed, failed) != (self.check.passed, self.check.failed):
            raise UserError(
                f"{MANIFEST}: check says {self.check.passed} passed and {self.check.failed} "
                f"failed, its checks {passed} and {failed}"
            )
        needed = {f"seed-{seed}/{RECORD}" for seed in self.seeds}
        missing = sorted(needed - self.files.keys())
        if missing:
            raise UserError(f"{MANIFEST}: files lacks {missing[0]}")
        folders = {f"seed-{seed}" for seed in self.seeds}
        for name in self.files:
            folder, slash, _ = name.rpartition("/")
            if name == MANIFEST or (slash and folder not in folders):
                raise UserError(
                    f"{MANIFEST}: files has {name}", allowed="search.json and files of its seeds"
                )

    def as_dict(self) -> dict[str, Any]:
        """What stands in ``submission.json``, as plain JSON values."""
        found = dataclasses.asdict(self)
        found["card"]["authors"] = list(self.card.authors)
        found["check"]["checks"] = [dict(check) for check in self.check.checks]
        return {"format": FORMAT, **found, "seeds": list(self.seeds)}

    def to_bytes(self) -> bytes:
        """The content of ``submission.json``.

        Raises:
            UserError: If `of` would refuse it.
        """
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        content = text.encode("utf-8")
        Submission.of(parse_json(content, MANIFEST, LIMITS[MANIFEST]))
        return content


def check_card(content: Any, where: str) -> None:
    """Checks what stands in a card before a submission is made of it.

    Args:
        content: Plain JSON values.
        where: Which card, for the message.

    Raises:
        UserError: On the first value that a submission may not have.
    """
    try:
        _CARD("card", content)
    except UserError as error:
        said = error.what.removeprefix("record: ").removeprefix("card.")
        raise UserError(
            f"{where}: {said}", allowed=error.allowed, next_step="write it into the card"
        ) from None


def read_submission(path: Path | str) -> tuple[Submission, Bundle]:
    """Reads a submission: a folder, or a zip of one.

    Nothing is written, unpacked or imported.

    Args:
        path: The folder, or the zip.

    Returns:
        What it says, and its files, each of which is as it says.

    Raises:
        UserError: If anything in it is not what a submission has; the contents of records and
            tensors are left to `pnnbench.submitting.verifying`.
    """
    bundle = Bundle(path)
    submission = Submission.of(parse_json(bundle.read(MANIFEST), MANIFEST, LIMITS[MANIFEST]))
    there = bundle.sizes.keys() - {MANIFEST}
    for name in sorted(there ^ submission.files.keys()):
        missing = f"{name} is missing" if name not in there else f"{name} is not among its files"
        raise UserError(f"{bundle.path}: {missing}", allowed=f"the files of {MANIFEST}")
    for name, entry in submission.files.items():
        if bundle.sizes[name] != entry.bytes:
            raise UserError(f"{name} has {bundle.sizes[name]} bytes", allowed=f"{entry.bytes}")
    for name, entry in submission.files.items():
        if bundle.sha256(name) != entry.sha256:
            raise UserError(
                f"{name} was changed: its SHA-256 is not that of {MANIFEST}",
                next_step="ask for the submission as it was packed",
            )
    return submission, bundle
