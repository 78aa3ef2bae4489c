"""Runs the command line in this process, in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pnnbench.cli import main


@dataclass(frozen=True)
class Done:
    """What a command printed.

    Attributes:
        out: Standard output.
        err: Standard error.
    """

    out: str
    err: str


@contextlib.contextmanager
def _imports_of(folder: Path) -> Iterator[None]:
    """Forgets what was imported from a folder, and the folder on the path."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and folder in Path(file).resolve().parents:
                del sys.modules[name]


def command(*args: object, cwd: Path, status: int = 0) -> Done:
    """Runs ``pnnbench ARGS`` and checks its exit status.

    A help text ends the process with status 0; that counts as the status of the command.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        _imports_of(cwd.resolve()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as end:
            code = int(end.code or 0)
    done = Done(out.getvalue(), err.getvalue())
    assert code == status, done.out + done.err
    assert "Traceback" not in done.err
    return done
