"""Finished runs: their records, and what was trained, read back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pnnbench.api.locating import locate
from pnnbench.errors import UserError
from pnnbench.lookup import only
from pnnbench.records.next_steps import run_again
from pnnbench.records.runs import ALLOWED


def finished(name: str, runs: str) -> tuple[Path, dict[str, Any]]:
    """Finds a finished run and reads its record.

    Args:
        name: What the user called it.
        runs: Folder of all runs.

    Returns:
        Its folder and its record.

    Raises:
        UserError: If there is no such run, or it did not finish.
    """
    found = locate(name, runs)
    if found.path.name != "record.json":
        raise UserError(
            f"{found.path} is a published record: what is drawn and packed comes from a run",
            allowed=ALLOWED,
            next_step=run_again(found.record["job"]),
        )
    return found.path.parent, found.record


def door(options: Any) -> AbstractContextManager[None]:
    """Context in which a run's classes are registered ones, any where ``--trust`` is said."""
    return only("any" if options.trust else "registered")


def data_of(record: dict[str, Any], root: str | None) -> Any:
    """The data of a record, limited as its job was.

    Args:
        record: A record of status ok.
        root: Data folder; None for the default place.

    Returns:
        The `DataModule`.
    """
    from pnnbench.running import rebuilding

    return rebuilding.data_of(record, root)


def draw(
    folder: Path, record: dict[str, Any], root: str | None, say: Callable[[str], None]
) -> dict[str, Path]:
    """Draws the pictures of a finished run.

    Args:
        folder: Its folder.
        record: Its record.
        root: Data folder; None for the default place.
        say: Told why a picture is left out.

    Returns:
        Name to file.
    """
    from pnnbench.report.run_pictures import draw_run
    from pnnbench.running.rebuilding import load_trained, own_device

    workload, data = load_trained(folder, record), data_of(record, root)
    return draw_run(
        workload,
        record,
        data.train_tensors(),
        data.test_tensors(),
        folder / "pictures",
        say,
        own_device(record, workload),
    )


def control_unit(record: dict[str, Any]) -> str:
    """Unit of the controls of a record's workload; empty where its layers differ."""
    from pnnbench.running.rebuilding import untrained

    layers = untrained(record).layers().values()
    units = {layer.control_unit for layer in layers}
    return units.pop() if len(units) == 1 else ""
