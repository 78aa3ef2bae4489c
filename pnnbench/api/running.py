"""`pnnbench.run`: a suite, as ``pnnbench run`` runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pnnbench.accelerator import check_accelerator
from pnnbench.api.folders import writable
from pnnbench.api.results import Results, results_of
from pnnbench.running.jobs import run_suite
from pnnbench.running.selection import not_searched, select, supported
from pnnbench.running.suites import load_suite, suite_path


def run(
    suite: str | Path,
    runs: str | Path = "runs",
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    add: Sequence[str] = (),
    adopt: bool = True,
    accelerator: str = "auto",
    precision: str | None = None,
    root: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Results:
    """Runs all jobs of a suite that are not finished, one after another.

    Called again it goes on where it was interrupted.

    Args:
        suite: A suite file, or the name of one that comes with the project
            (`pnnbench.list_suites`).
        runs: Folder of all runs, made if it is not there.
        only: Labels of the rows to run; none for all.
        seeds: Seeds in place of the suite's; None for those.
        add: Methods that become rows at their defaults: names or class paths.
        adopt: Whether jobs that another suite has finished, or that are published here, are taken
            over.
        accelerator: Where it is computed: ``"cpu"``, ``"cuda"``, or ``"auto"``, the CPU unless the
            workload gains from a GPU and there is one.
        precision: Precision of the training, ``"32"``, ``"bf16-mixed"`` or, on a GPU,
            ``"16-mixed"``; None for that of the suite. What is measured is measured in single
            precision.
        root: Data folder; None for where the set was read before, else the default place. A
            set is read once in a process.
        say: Told in lines what goes on, ``print`` for example; None for silence.

    Returns:
        The results of the suite so far, rows and seeds of earlier calls among them. A job that
        failed is among them with its error.

    Raises:
        UserError: If something in the suite is wrong, or its data are missing.
    """
    check_accelerator(accelerator)
    told = say or (lambda line: None)
    data = None if root is None else str(root)
    whole = load_suite(suite_path(suite), root=data)
    chosen, skipped = supported(
        select(whole, only=only, seeds=seeds, add=add, precision=precision, root=data)
    )
    folder = writable("runs", Path(runs))
    for line in [*skipped, *not_searched(chosen)]:
        told(line)
    run_suite(chosen, folder, say=told, root=data, elsewhere=adopt, accelerator=accelerator)
    return results_of([folder / chosen.name])
