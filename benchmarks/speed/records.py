"""Size of records on disk and the cost of reading them: cells in columns and one by one.

Run: python benchmarks/speed/records.py [--records 1000] [--cells 200] [--rounds 3]

The records are a published one of 200 cells, its grid cut or repeated to a number of cells and its
values rounded to shares of its images. Times are ratios within one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import tracemalloc
import zlib
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common import interleaved, report

from pnnbench.records.folders import read_records
from pnnbench.records.store import job_hash, read_record, write_record
from pnnbench.script import run_script

SOURCE = (
    Path(__file__).resolve().parents[2] / "leaderboards" / "pnnbench-1" / "mrr_mnist" / "records"
)
FORMS = {"one by one": 2, "columns": 3}
"""Name of the form -> version of the schema that has it."""


def example(cells: int, schema: int) -> dict[str, Any]:
    """A record with a number of cells, in a version of the schema."""
    record = read_record(next(iter(sorted(SOURCE.glob("*.json")))))
    del record["checksum"]
    images, grid = record["data"]["n_test"], record["cells"]
    record |= {"schema": schema, "clean": round(record["clean"] * images) / images, "cells": []}
    for i in range(cells):
        turn, place = divmod(i, len(grid))
        cell = {**grid[place], "value": round(grid[place]["value"] * images) / images}
        cell |= {"severity": cell["severity"] + turn, "counts": cell["axis"] == "device"}
        record["cells"].append(cell)
    return record


def write_many(folder: Path, record: dict[str, Any], count: int) -> list[Path]:
    """Writes a record as that of many jobs; the paths."""
    paths = []
    for seed in range(count):
        job = {**record["job"], "seed": seed}
        job["hash"] = job_hash(job)
        paths.append(folder / f"{job['hash']}.json")
        write_record(paths[-1], {**record, "job": job})
    return paths


def read_all(paths: list[Path]) -> int:
    """Reads records one after another and keeps none."""
    return sum(len(read_record(path)["cells"]) for path in paths)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = {form: Path(name) / form / "records" for form in FORMS}
        paths = {
            form: write_many(folders[form], example(args.cells, schema), args.records)
            for form, schema in FORMS.items()
        }
        # As versions 1 and 2 were laid out: a line for each number.
        old = json.loads(paths["one by one"][0].read_text())
        before = len(json.dumps(old, indent=1, sort_keys=True, ensure_ascii=False)) + 1
        print(f"size of a record of {args.cells} cells, kB (deflated)")
        print(f"  {'one by one, a line for each number':<40}{before / 1e3:7.1f}")
        for form, files in paths.items():
            data = files[0].read_bytes()
            size, small = len(data) / 1e3, len(zlib.compress(data)) / 1e3
            print(f"  {form:<40}{size:7.1f} ({small:.1f})   x{len(data) / before:.2f}")
        some = min(100, args.records)
        times = interleaved(
            {form: partial(read_all, files[:some]) for form, files in paths.items()}, args.rounds
        )
        report(f"reading {some} records", times, "one by one")
        everything = {form: partial(read_records, folders[form]) for form in FORMS}
        title = f"reading {args.records} records and keeping them"
        report(title, interleaved(everything, args.rounds), "one by one")
        for form, run in everything.items():
            tracemalloc.start()
            kept = run()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            print(f"  {form:<34}{held / 1e6:9.1f} MB for {len(kept)} records in memory")
            del kept


if __name__ == "__main__":
    run_script(main)
