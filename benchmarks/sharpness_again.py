"""Measures the sharpness of a suite's finished jobs again, and writes it into their records.

For when the search for eigenvalues was mended and nothing else of a job moved: scores, tensors and
hash stay, the sharpness, its gaps and its cost are those of this version, and the record says under
``provenance.sharpness`` when and with which commit. A job that has it is skipped, so that the
command goes on where it stopped; a job whose tensors are missing is named, and left as it is.

Usage: python benchmarks/sharpness_again.py RUNS/SUITE [--before TIME] [--only HASH ...]
    [--accelerator cpu]

Two processes share the jobs. At the end the largest changes of lambda_max are printed.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from filelock import FileLock, Timeout

from pnnbench.accelerator import ACCELERATORS, choose
from pnnbench.evaluation.gaps import Gaps
from pnnbench.records.index import hashes, read_index
from pnnbench.records.store import beside, is_finished, read_record, write_record
from pnnbench.running.measuring import measure_job_sharpness
from pnnbench.running.provenance import git_state
from pnnbench.running.rebuilding import data_of, load_parameters, own_device
from pnnbench.running.resources import keep_memory
from pnnbench.script import run_script

_COST = ("sharpness_seconds", "sharpness_cpu_seconds")
_PART = "sharpness."


def again(path: Path, accelerator: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measures one job again and writes its record.

    Args:
        path: The record, with its tensors beside it.
        accelerator: One of `ACCELERATORS`.

    Returns:
        The sharpness before and after.
    """
    record = read_record(path)
    workload = load_parameters(beside(path, record, "parameters"), record)
    device = own_device(record, workload)
    workload.to(choose(accelerator, gains=workload.gains_from_gpu))
    begun, cpu = time.perf_counter(), time.process_time()
    found = Gaps()
    measured = measure_job_sharpness(
        workload,
        data_of(record),
        record["config"],
        found,
        seed=record["job"]["seed"],
        device=device,
    )
    spent = (time.perf_counter() - begun, time.process_time() - cpu)
    gaps = [gap for gap in record.get("gaps", []) if not gap["part"].startswith(_PART)]
    gaps += [gap.as_dict() for gap in found.found]
    whence = {
        "measured_again": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": str(git_state().get("commit", "")),
    }
    content = {key: value for key, value in record.items() if key not in ("checksum", "gaps")}
    content |= {
        "sharpness": measured,
        "cost": record["cost"] | dict(zip(_COST, spent, strict=True)),
        "provenance": record["provenance"] | {"sharpness": whence},
        **({"gaps": gaps} if gaps else {}),
    }
    write_record(path, content)
    return record["sharpness"], measured


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--before", default="", help="leave jobs that were finished after this")
    parser.add_argument("--only", nargs="+", default=[], help="these jobs, measured again or not")
    parser.add_argument("--accelerator", default="auto", choices=ACCELERATORS)
    options = parser.parse_args()
    keep_memory()
    index = read_index(options.suite)
    names = sorted(
        name
        for rows in index.values()
        for row in rows.values()
        for entry in row.values()
        for name in hashes(entry)
        if not options.only or name in options.only
    )
    changes: list[tuple[float, str]] = []
    for number, name in enumerate(names, 1):
        path = options.suite / name / "record.json"
        if not is_finished(path):
            continue
        record = read_record(path)
        finished = record["provenance"]["finished"]
        if options.before and finished >= options.before:
            continue
        if "sharpness" in record["provenance"] and not options.only:
            continue
        if not beside(path, record, "parameters").is_file():
            print(f"[{number}/{len(names)}] {name}: its tensors are not there, left as it is")
            continue
        lock = FileLock(path.with_name(".sharpness.lock"))
        try:
            with lock.acquire(timeout=0):
                if "sharpness" in read_record(path)["provenance"] and not options.only:
                    continue
                old, new = again(path, options.accelerator)
        except Timeout:
            continue
        was, now = old.get("lambda_max"), new.get("lambda_max")
        change = now / was - 1.0 if was and now else float("nan")
        row = record["job"]["method"]["label"]
        changes.append((change, f"{row}, seed {record['job']['seed']}"))
        print(f"[{number}/{len(names)}] {row}, seed {record['job']['seed']}: {was} -> {now}")
    for change, name in sorted(changes, key=lambda found: -abs(found[0]))[:10]:
        print(f"{100.0 * change:+.3f} %  {name}")


if __name__ == "__main__":
    run_script(main)
