"""``pnnbench check``, ``data`` and ``reproduce``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench import __version__
from pnnbench.commands.output import out, out_json
from pnnbench.console import Console
from pnnbench.errors import UserError, unknown_name
from pnnbench.registry import (
    KINDS,
    check_name,
    is_module,
    is_path,
    registered,
    registered_name,
    resolve,
)

if TYPE_CHECKING:
    from pnnbench.submitting.checks import CheckResult

#: Kinds of classes that have checks, in the order in which a name is looked for.
CHECKED = ("methods", "workloads", "platforms")


def merged(params: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Hyper-parameters that were given in several places, the last of each counting."""
    return {key: value for part in params or [] for key, value in part.items()}


def _kind(name: str) -> tuple[str, str]:
    """What a name is of, by where it is registered or what its class is, and the proper name."""
    for kind in CHECKED:
        if registered_name(kind, name) in registered(kind):
            return kind, registered_name(kind, name)
    if not is_path(name) or is_module(name):
        every = [known for kind in CHECKED for known in registered(kind)]
        if is_module(name):
            check_name("methods", name)  # says how to name a class in a file
        raise unknown_name("method, workload or platform", name, every, next_step="pnnbench list")
    cls = resolve("methods", name)
    from pnnbench.submitting.workload_checks import kind_of

    return kind_of(cls), name


def _checked(
    kind: str, name: str, params: dict[str, Any], workload: str | None
) -> list[CheckResult]:
    if kind == "methods":
        from pnnbench.submitting.conformance import check_method

        return check_method(name, params=params, workload=workload)
    if kind == "workloads":
        from pnnbench.submitting.workload_checks import check_workload

        return check_workload(name)
    from pnnbench.submitting.platform_checks import check_platform

    return check_platform(name)


def check(options: Any) -> int:
    """``pnnbench check``."""
    kind, name = _kind(options.name)
    workload = options.workload and check_name("workloads", options.workload)
    given = [f"--{flag}" for flag in ("workload", "params", "all") if getattr(options, flag)]
    if kind != "methods" and given:
        raise UserError(f"{given[0]} is for methods, and {name} is a {KINDS[kind]}")
    if options.all and workload:
        raise UserError("--all and --workload together", allowed="one of them")
    params = merged(options.params)
    if not options.all:
        results = _checked(kind, name, params, workload)
        failed = sum(not r.passed for r in results)
        if options.format == "json":
            checks = [dataclasses.asdict(result) for result in results]
            out_json({"pnnbench": __version__, "failed": failed, "checks": checks})
        else:
            _tell(results)
        return 1 if failed else 0
    from pnnbench.submitting.conformance import check_everywhere

    everywhere = check_everywhere(name, params=params)
    failed = sum(not r.passed for results in everywhere.values() for r in results or ())
    if options.format == "json":
        found = {
            name: None if results is None else [dataclasses.asdict(r) for r in results]
            for name, results in everywhere.items()
        }
        out_json({"pnnbench": __version__, "failed": failed, "workloads": found})
        return 1 if failed else 0
    for name, told in everywhere.items():
        out(f"{name}:" if told is not None else f"{name}: not supported")
        _tell(told or ())
    return 1 if failed else 0


def _tell(results: Sequence[CheckResult]) -> None:
    for result in results:
        out(f"{'ok  ' if result.passed else 'FAIL'}  {result.name}: {result.message}")
    if results:
        failed = sum(not r.passed for r in results)
        out(f"{len(results) - failed} passed, {failed} failed")


def data(options: Any) -> int:
    """``pnnbench data``."""
    from pnnbench.data import check_data, resolve_data

    data_set = resolve_data(check_data(options.name))
    if options.download:
        data_set.fetch(options.root)
    arrays, originals = data_set.arrays(options.root), data_set.originals(options.root)
    found = {
        "name": arrays.name,
        "n_train": len(arrays.train_targets),
        "n_test": len(arrays.test_targets),
        "n_test_seen": originals.seen,
        "input_shape": list(arrays.input_shape),
        "n_classes": arrays.n_classes,
        "fingerprint": arrays.fingerprint,
    }
    if options.format == "json":
        out_json(found)
    else:
        out(
            f"{arrays.name}: {found['n_train']} training and {found['n_test']} test inputs of "
            f"{' x '.join(map(str, arrays.input_shape))}, "
            + (f"{arrays.n_classes} classes" if arrays.n_classes else "real targets")
            + f", {arrays.fingerprint}"
        )
        for line in originals.remarks():
            out(line)
    return 0


def reproduce(options: Any) -> int:
    """``pnnbench reproduce``."""
    platform = check_name("published", options.platform)
    if options.checkpoints is None:
        raise UserError(
            "--checkpoints is missing",
            allowed="a folder of .npz files, or one of them",
            next_step=f"pnnbench reproduce {platform} --checkpoints FOLDER",
        )
    from pnnbench.published.protocols import find_protocol
    from pnnbench.published.report import render

    protocol = find_protocol(platform)
    root = Path(options.data) if options.data else None
    with Console(1) as console:

        def progress(done: int, total: int) -> None:
            console.say(f"{done}/{total} measurements")
            console.share(done / max(total, 1))

        report = protocol(Path(options.checkpoints), data_root=root, progress=progress)
    out(render(report, options.format))
    return 0 if report.ok else 1
