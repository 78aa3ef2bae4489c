"""Submissions: a record and tensors, packed without any code of the submitter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pnnbench.running.jobs import load_trained


def pack(run: Path, record: dict[str, Any], out: Path) -> Path:
    """Packs a finished run: its record and parameters, nothing executable.

    Args:
        run: The run's folder.
        record: Its record.
        out: Folder of submissions.

    Returns:
        The submission's folder.
    """
    job = record["job"]
    load_trained(run, record)  # refuses missing or changed parameters
    target = out / f"{job['suite']}-{job['hash']}"
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files = [record[part]["file"] for part in ("parameters", "devices") if part in record]
    for name in ("record.json", *files):
        shutil.copyfile(run / name, partial / name)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    return target
