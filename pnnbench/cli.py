"""The ``pnnbench`` command: parses, then imports what the subcommand needs and nothing more."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from pnnbench import __version__
from pnnbench.arguments import build, parse
from pnnbench.commands import find
from pnnbench.commands.declared import DECLARED
from pnnbench.console import hush, speak_plainly
from pnnbench.errors import DiskFullError, UserError, disk_full

#: Set by the completion script: the command line is completed instead of run.
COMPLETE = "_PNNBENCH_COMPLETE"

_AGAIN = ", then run the same command again: it goes on"
_DENIED = ("permission denied", f"choose another folder, or change its permissions{_AGAIN}")
#: Errors of the file system that are no fault of the program: what, and the next step.
_FILE_SYSTEM = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: ("the file system is read-only", f"choose another folder{_AGAIN}"),
    errno.ENAMETOOLONG: ("this is too long for a name", "give one of at most 255 characters"),
    errno.ENOTDIR: ("a part of the path is a file and no folder", "give the path of a folder"),
    errno.EISDIR: ("this is a folder and no file", "give the path of a file"),
}


def build_parser() -> ArgumentParser:
    """Builds the parser of the whole command line."""
    return build(
        "pnnbench",
        "Benchmarks training methods of physical neural networks.",
        __version__,
        DECLARED,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        Exit status: 0 done, 1 done but something failed or differs, 2 a mistake in what was given.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    speak_plainly(sys.stdout, sys.stderr)
    if COMPLETE in os.environ:
        from pnnbench.commands.completion import complete

        sys.stdout.writelines(f"{answer}\n" for answer in complete(DECLARED, words))
        return 0
    command = words[0] if words and words[0] in {c.name for c in DECLARED} else ""
    name = f"pnnbench {command}".strip()
    try:
        options = parse(build_parser(), DECLARED, words)
        command = str(options.command)
        status = find(command)(options[command])
        sys.stdout.flush()
        return status
    except UserError as error:
        return _refuse(f"{name}: {error}")
    except KeyboardInterrupt:
        again = (
            "; run the same command again to go on" if command in ("run", "train", "tune") else ""
        )
        _refuse(f"{name}: interrupted{again}")
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        hush(sys.stdout)
        return 1
    except OSError as error:
        if disk_full(error):
            return _refuse(f"{name}: {DiskFullError(error.filename, error)}")
        if error.errno not in _FILE_SYSTEM:
            raise
        what, next_step = _FILE_SYSTEM[error.errno]
        place = str(error.filename or "")
        place = f"{place[:100]}{'...' if place[100:] else ''}: " if place else ""
        return _refuse(f"{name}: {UserError(f'{place}{what}', next_step=next_step)}")


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
