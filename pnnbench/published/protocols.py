"""Finds the published protocol of a platform: an entry point, the same door for everybody.

An entry point of the group ``pnnbench.published`` names a module with a function `Reproduce`::

    [project.entry-points."pnnbench.published"]
    mine = "my_package.published"
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pnnbench.errors import UserError, unknown_name
from pnnbench.published.report import Progress, Report
from pnnbench.registry import registered


class Reproduce(Protocol):
    """The function ``reproduce`` of a published protocol."""

    def __call__(
        self, checkpoints: Path, *, data_root: Path | None = None, progress: Progress | None = None
    ) -> Report:
        """Evaluates published parameters under the published protocol.

        Args:
            checkpoints: Folder of the parameters, or one file.
            data_root: Data folder; None for the default one.
            progress: Called after each measurement with the numbers done and in all.

        Returns:
            Every value beside the recorded one.

        Raises:
            UserError: If what was given cannot be measured.
        """


def find_protocol(name: str) -> Reproduce:
    """Finds the published protocol that is registered under a name.

    Args:
        name: Name of the entry point, such as ``mrr``.

    Returns:
        Its function.

    Raises:
        UserError: If there is no such name, or what is registered has no such function.
    """
    points = registered("published")
    if name not in points:
        raise unknown_name("published protocol", name, points)
    module = points[name].load()
    found = getattr(module, "reproduce", None)
    if not callable(found):
        raise UserError(
            f"the published protocol {name!r} is {points[name].value}, which has no reproduce()",
            allowed="a module with a function reproduce(checkpoints, *, data_root, progress)",
        )
    function: Reproduce = found
    return function
