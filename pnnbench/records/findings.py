"""What `pnnbench doctor` says: findings, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

#: Kinds that are worth a line and no fault: the folder is as whole as it claims to be.
NOTES = frozenset({"foreign", "protocol", "unregistered", "unchecked"})
AGAIN = "run the job again"


def _shown(text: str) -> str:
    """A text in one line, with what a terminal would obey or hide as its code point."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


@dataclass(frozen=True)
class Finding:
    """One thing to say of a folder of runs.

    Attributes:
        path: The file or folder.
        kind: What is wrong, in a word:

            - ``corrupt``: not a whole record, index or search; changed after it was sealed
            - ``mismatch``: not the job that its name or hash says; ``repeated``: two that differ
            - ``forged``: figures that cannot be, or are not those of their own files
            - ``board``: a figure, page or file of a board that its records do not give
            - ``parameters``, ``outcomes``, ``devices``: tensors missing, changed, or not fitting
            - ``controls``: out of the range of the hardware
            - ``registry``: not as the registered workload says
            - ``failed``, ``gaps``, ``incomplete``: jobs that are not finished
            - ``leftover``, ``lock``: what an interrupted process left
            - ``link``, ``special``, ``code``, ``characters``: what no record needs
            - those of `NOTES`, which are no faults
        message: What is wrong, in a line.
        next_step: What to do about it: a command where there is one.
        aside: Whether it can be moved aside without losing anything.
    """

    path: Path
    kind: str
    message: str
    next_step: str = ""
    aside: bool = field(default=False, compare=False)

    @property
    def fault(self) -> bool:
        """Whether something is wrong, and not only worth a line."""
        return self.kind not in NOTES

    def __str__(self) -> str:
        step = f"\n{'':<12} next: {_shown(self.next_step)}" if self.next_step else ""
        return f"{self.kind:<12} {_shown(f'{self.path}: {self.message}')}{step}"

    def as_dict(self) -> dict[str, str | bool]:
        """Returns the finding as plain JSON types."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "message": self.message,
            "next_step": self.next_step,
            "fault": self.fault,
        }
