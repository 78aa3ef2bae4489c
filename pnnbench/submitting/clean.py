"""The clean process of `pnnbench.submitting.isolated`: closes its doors, then verifies.

First the network, by a namespace of its own where the system permits; then, with all libraries
imported, sockets, memory, files that are written and other programs. Python's audit hooks cannot be
taken back. They stand against code that this package never runs, not against a broken interpreter.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import tempfile
from typing import Any

#: Address space in bytes, at most.
MOST_MEMORY = 32 * 2**30
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_CLOSED = (
    "socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.fork", "os.system", "os.spawn",
    "os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.mknod", "shutil.", "pty.", "ftplib.", "smtplib.", "urllib.",
)  # fmt: skip
#: Events of sockets that open none.
_HARMLESS = frozenset({"socket.gethostname"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuses what a verification never does."""
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITING and path != os.devnull:
            raise PermissionError(f"a verification writes nothing: {path!r}")
    elif event.startswith(_CLOSED) and event not in _HARMLESS:
        raise PermissionError(f"a verification does not do {event}")


def close_network() -> str:
    """Takes the network away from this process, where the system permits.

    Returns:
        ``"none"`` where the process is in a namespace without any, else ``"no sockets"``.
    """
    own = _NEW_NETWORK if os.geteuid() == 0 else _NEW_NETWORK | _NEW_USER
    try:
        alone = ctypes.CDLL(None, use_errno=True).unshare(own) == 0
    except (OSError, AttributeError):
        alone = False
    return "none" if alone else "no sockets"


def close_doors() -> dict[str, Any]:
    """Closes sockets, files that are written and other programs to this process, for good.

    Returns:
        Bytes of memory that it may have, and that it writes nothing.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(MOST_MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    tempfile.tempdir = "/"  # libraries ask where it is; looking for one would write
    sys.addaudithook(_guard)
    return {"memory_bytes": most, "writes": False}


def main() -> None:
    """Takes a request from standard input and answers on standard output in lines of JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # whatever prints does not speak for us
    request = json.loads(sys.stdin.readline())
    network = close_network()  # before libraries start threads
    from pnnbench.errors import UserError
    from pnnbench.submitting.verifying import verify_here

    # Libraries look for their own with programs and temporary files as they are imported. From here
    # on nothing does, and nothing of the submission has been read.
    doors = {"network": network, **close_doors()}

    def tell(**what: Any) -> None:
        answers.write(json.dumps(what, allow_nan=False) + "\n")

    try:
        result = verify_here(
            request["path"],
            say=lambda line: tell(say=line),
            share=lambda done: tell(share=done),
            root=request["root"],
            key=None if request["key"] is None else bytes.fromhex(request["key"]),
        )
        tell(result={**result, "process": doors})
    except UserError as error:
        told = {"what": error.what, "allowed": error.allowed, "next_step": error.next_step}
        tell(error=told)
    except MemoryError:
        tell(error={"what": f"{request['path']} takes more memory than a verification has"})
