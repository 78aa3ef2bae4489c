"""``pnnbench evaluate``, ``sharpness`` and ``plot``: what is asked of a finished run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pnnbench.accelerator import check_accelerator, choose
from pnnbench.api.locating import locate
from pnnbench.commands.finished import control_unit, data_of, door, draw, finished
from pnnbench.commands.output import aside, out, out_json, width
from pnnbench.console import Console


def evaluate(options: Any) -> int:
    """``pnnbench evaluate``."""
    check_accelerator(options.accelerator, "--accelerator")
    found = locate(options.run, options.runs)
    record, parameters = found.record, found.parameters
    from pnnbench.report.run_text import cells_csv, cells_text
    from pnnbench.running.rebuilding import load_parameters
    from pnnbench.running.resources import keep_memory
    from pnnbench.submitting.remeasuring import remeasure

    keep_memory()
    with door(options):
        workload, data = load_parameters(parameters, record), data_of(record, options.data)
    workload.check_ready()
    workload.to(choose(options.accelerator, gains=workload.gains_from_gpu))
    with Console(1) as console:
        result = remeasure(record, workload, data, console.say, console.share)
    parts = ("clean", "cells", "deployments")
    measured = {**record, **{part: result[part] for part in parts if part in result}}
    if options.format == "json":
        # A value that only one side has is no number.
        shown = result["difference"] if math.isfinite(result["difference"]) else None
        out_json({"run": str(found.path.parent), **result, "difference": shown})
    elif options.format == "csv":
        out(cells_csv(measured, record))
    else:
        out(cells_text(measured, width()))
        verdict = "agrees" if result["within"] else "DIFFERS"
        out(
            f"largest difference from the record: {result['difference']:.3g}, "
            f"allowed {result['tolerance']:.3g}: {verdict}"
        )
    return 0 if result["within"] else 1


def sharpness(options: Any) -> int:
    """``pnnbench sharpness``."""
    check_accelerator(options.accelerator, "--accelerator")
    located = locate(options.run, options.runs)
    record, parameters = located.record, located.parameters
    from pnnbench.evaluation.gaps import Gaps
    from pnnbench.report.run_text import gap_text, sharpness_text, spectrum_text
    from pnnbench.running.measuring import measure_job_sharpness, measure_job_spectrum
    from pnnbench.running.rebuilding import load_parameters, own_device
    from pnnbench.running.resources import keep_memory

    keep_memory()
    with door(options):
        workload, data = load_parameters(parameters, record), data_of(record, options.data)
        device = own_device(record, workload)
        unit = control_unit(record)
    workload.to(choose(options.accelerator, gains=workload.gains_from_gpu))
    found = Gaps()
    result = measure_job_sharpness(
        workload, data, record["config"], found, seed=record["job"]["seed"], device=device
    )
    if options.spectrum:
        with found.part("sharpness.spectrum"):
            result["spectrum"] = measure_job_spectrum(workload, data, record["config"], device)
    gaps = [gap.as_dict() for gap in found.found]
    if options.format == "json":
        out_json({**result, **({"gaps": gaps} if gaps else {})})
    else:
        text = [sharpness_text(result, unit, width())]
        if "spectrum" in result:
            text += ["", spectrum_text(result["spectrum"], unit, width())]
        out("\n".join([*text, *map(gap_text, gaps)]))
    return 0


def plot(options: Any) -> int:
    """``pnnbench plot``."""
    from pnnbench.records.folders import find_records
    from pnnbench.records.runs import find_run

    folder = find_run(options.run, Path(options.runs))
    if (folder / "record.json").is_file() or not find_records(folder):
        folder, record = finished(options.run, options.runs)
        with door(options):
            paths = draw(folder, record, options.data, aside)
    else:
        from pnnbench.api.tables import tables_of
        from pnnbench.commands.galleries import galleries
        from pnnbench.report.figures import draw_suite

        with door(options):
            tables = tables_of([folder])
            paths = draw_suite(tables, folder / "pictures")
            paths |= galleries(tables, [folder], folder / "pictures", options.data)
    if options.format == "json":
        out_json({name: str(path) for name, path in paths.items()})
    else:
        out("\n".join(map(str, paths.values())))
    return 0
