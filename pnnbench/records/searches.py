"""Search records: spaces, points, trials and choices of one suite, one sealed JSON file.

The points are data: they stand in the file, with their hash, before the first trial. A finished
trial that stands in it is never run again, also where no run folder is at hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.records.checks import plain
from pnnbench.records.plain_json import read_json
from pnnbench.records.search_schema import FORMAT, validate_search
from pnnbench.records.store import canonical, write_whole

#: Name of a search record beside the records of a board.
NAME = "tuning.json"
#: Name of a trial's record: none of a board's, so that no board counts it.
TRIAL = "trial.json"
#: Folder of the search records of the suites that ship, below that of the suites.
FOLDER = "search"


def read_sealed(path: Path, again: str) -> dict[str, Any]:
    """Reads a JSON file that carries its checksum.

    Args:
        path: The file.
        again: What to do where something is wrong with it, for the message.

    Returns:
        Its content, the checksum left out.

    Raises:
        UserError: If it cannot be read, is no plain file, too large or no JSON, or does not match
            its checksum.
    """
    return _unsealed(read_json(path, again), str(path), again)


def _unsealed(content: Any, where: str, again: str) -> dict[str, Any]:
    if not isinstance(content, dict) or "checksum" not in content:
        raise UserError(f"{where}: has no checksum, so it was never sealed", next_step=again)
    found = {key: value for key, value in content.items() if key != "checksum"}
    try:
        computed = _checksum(found)
    except (UserError, ValueError, RecursionError) as error:  # infinite, half of a character
        raise UserError(f"{where}: cannot be read ({error})", next_step=again) from None
    if content["checksum"] != computed:
        raise UserError(f"{where}: was changed: its checksum does not match", next_step=again)
    return found


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file with its checksum, in one step.

    Raises:
        UserError: If the content is not of plain JSON types with finite numbers.
    """
    content = plain({key: value for key, value in content.items() if key != "checksum"})
    sealed = {**content, "checksum": _checksum(content)}
    text = json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text.encode("utf-8"))


def _checksum(content: dict[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(canonical(content)).hexdigest()


def read_search(path: Path) -> dict[str, Any]:
    """Reads a search record.

    Raises:
        UserError: If it is not whole, of another version, or not as
            `pnnbench.records.search_schema.validate_search` asks.
    """
    again = f"take {path.name} from where it was committed, or begin anew: pnnbench tune ... --anew"
    return _checked(read_sealed(path, again), str(path))


def open_search(content: Any, where: str) -> dict[str, Any]:
    """Checks what stands in a search record.

    Args:
        content: Plain JSON values, the checksum among them.
        where: The file, for messages.

    Returns:
        Its content, the checksum left out.

    Raises:
        UserError: As `read_search`.
    """
    return _checked(_unsealed(content, where, "ask for it as it was written"), where)


def _checked(content: dict[str, Any], where: str) -> dict[str, Any]:
    if content.get("format") != FORMAT:
        raise UserError(
            f"{where}: is no search record of version {FORMAT}", next_step="see docs/tuning.md"
        )
    try:
        validate_search(content)
    except UserError as error:
        what = error.what.removeprefix("record: ")
        raise UserError(
            f"{where}: {what}", allowed=error.allowed, next_step="see docs/tuning.md"
        ) from None
    except RecursionError:
        raise UserError(f"{where}: is nested too deeply for a search record") from None
    return content


def find_search(suite: str, folders: Sequence[Path], shipped: Path) -> Path | None:
    """Finds the search record of a suite.

    Args:
        suite: Name of the suite.
        folders: Folders of records, of the suite or of several.
        shipped: Folder of the suites that ship.

    Returns:
        The file: beside the records, else of the suites that ship; None if there is none.
    """
    places = [p for folder in folders for p in (folder / suite / NAME, folder / NAME)]
    for path in (*places, shipped / FOLDER / f"{suite}.json"):
        if path.is_file() and _suite_of(path) == suite:
            return path
    return None


def _suite_of(path: Path) -> str | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    return str(content.get("suite"))
