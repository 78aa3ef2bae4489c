"""Verifies in a process of its own: no plug-ins, no user site, no network, nothing written.

The process starts as ``python -I``, with an environment of a few known variables, and imports this
package by its own place. Before anything of the submission is read it closes its doors, see
`pnnbench.submitting.clean`. It is told what to do on standard input and answers in lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pnnbench
from pnnbench.errors import UserError
from pnnbench.submitting.claimed import read_claimed

#: What the process may know of the environment.
_KEPT = (
    "CUDA_VISIBLE_DEVICES", "HOME", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "PATH", "XDG_CACHE_HOME",
)  # fmt: skip
_SET = {"LANG": "C.UTF-8", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}


def command() -> list[str]:
    """The command of the process: isolated, with this package and no path besides."""
    home = str(Path(pnnbench.__file__).resolve().parents[1])
    start = (
        f"import sys; sys.path.insert(0, {home!r}); "
        "from pnnbench.submitting.clean import main; main()"
    )
    return [sys.executable, "-I", "-B", "-c", start]


def verify(
    path: Path | str,
    *,
    say: Callable[[str], None],
    share: Callable[[float], None],
    root: str | None = None,
    key: bytes | None = None,
    timeout_s: float,
) -> dict[str, Any]:
    """Re-evaluates a submission in a clean process.

    Args:
        path: The folder, or the zip.
        say: Told about progress.
        share: Told which share of the work is done.
        root: Data folder; None for the default place.
        key: A maintainer's secret; see `pnnbench.submitting.held_out`.
        timeout_s: Seconds after which it is given up.

    Returns:
        What `pnnbench.submitting.verifying.verify_here` returns, and under ``"process"`` which
        doors were closed.

    Raises:
        UserError: As `verify_here`, or if the process fails or takes too long.
    """
    read_claimed(path)  # what is no submission is refused before a process starts
    folder = root or os.environ.get("PNNBENCH_DATA")
    request = {
        "path": str(Path(path).absolute()),
        "root": None if folder is None else str(Path(folder).expanduser().absolute()),
        "key": None if key is None else key.hex(),
    }
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET
    process = subprocess.Popen(  # noqa: S603 - this interpreter, with fixed arguments
        command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd="/",
        text=True,
        encoding="utf-8",
    )
    late = threading.Timer(timeout_s, process.kill)
    said: list[str] = []
    listening = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    late.start()
    listening.start()
    answer: dict[str, Any] | None = None
    try:
        assert process.stdin is not None  # noqa: S101 - a pipe
        assert process.stdout is not None  # noqa: S101 - a pipe
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.close()
        for line in process.stdout:
            told = json.loads(line)
            if "say" in told:
                say(told["say"])
            elif "share" in told:
                share(told["share"])
            else:
                answer = told
    except (OSError, ValueError):
        answer = None
    finally:
        in_time = late.is_alive()
        late.cancel()
        process.kill()
        process.wait()
        listening.join(5.0)
    if answer is None:
        last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
        why = f"ended early: {last[:300]}" if in_time else f"took more than {timeout_s:g} s"
        raise UserError(f"{path} could not be verified: the process {why}")
    if "error" in answer:
        raise UserError(**answer["error"])
    result: dict[str, Any] = answer["result"]
    return result
