"""The checks that every training method must pass: `pnnbench check`, and our own tests.

A method is trained a few times on a small slice of the embedded digits, which takes seconds; see
`pnnbench.submitting.declaration` and `pnnbench.submitting.method_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pnnbench.errors import UserError
from pnnbench.registry import method_parameters, resolve, workload_class
from pnnbench.submitting import declaration, method_checks  # noqa: F401 - register their checks
from pnnbench.submitting.trial import (
    CHECKS,
    IMAGE_WORKLOADS,
    SEED,
    WORKLOADS,
    CheckResult,
    Trial,
    kind_of,
    on_digits,
)


def check_method(
    method: type[Any] | str,
    params: Mapping[str, Any] | None = None,
    *,
    workload: str | None = None,
    progress: Callable[[CheckResult], None] | None = None,
) -> list[CheckResult]:
    """Runs every check on a method.

    Args:
        method: The class, its registered name or its path ``package.module.Class``.
        params: Hyper-parameters that differ from the defaults.
        workload: Name of a workload on the embedded digits; None takes the first that the method
            supports.
        progress: Called after each check.

    Returns:
        One result per check, in order. A check that makes no sense because another one failed is
        left out.

    Raises:
        UserError: If there is no such class or hyper-parameter.
    """
    cls = resolve("methods", method) if isinstance(method, str) else method
    if params:
        method_parameters(cls, params)
    chosen = None if workload is None else workload_class(workload)
    if chosen is not None and not on_digits(chosen):
        raise UserError(
            f"{workload} is not a workload on the embedded digits",
            allowed=", ".join(w.name for w in (*WORKLOADS, *IMAGE_WORKLOADS)),
        )
    trial = Trial(cls, params or {}, chosen)
    return CHECKS.run(trial, "method", progress, kind=kind_of(cls))


def check_everywhere(
    method: type[Any] | str,
    params: Mapping[str, Any] | None = None,
    *,
    progress: Callable[[str, CheckResult], None] | None = None,
) -> dict[str, list[CheckResult] | None]:
    """Runs every check on a method on the digits of every platform that it supports.

    Args:
        method: The class, its registered name or its path ``package.module.Class``.
        params: Hyper-parameters that differ from the defaults.
        progress: Called after each check, with the name of the workload.

    Returns:
        Name of the workload -> results as of `check_method`; None where the method does not support
        the platform.

    Raises:
        UserError: If there is no such class or hyper-parameter, or no platform is supported.
    """
    cls = resolve("methods", method) if isinstance(method, str) else method
    supports = getattr(cls, "supports", None)
    found: dict[str, list[CheckResult] | None] = {}
    for workload in WORKLOADS:
        name = workload.name
        if supports is not None and not supports(workload(SEED)):
            found[name] = None
            continue
        told = None if progress is None else partial(progress, name)
        found[name] = check_method(cls, params, workload=name, progress=told)
    if not any(found.values()):
        raise UserError(
            f"{cls.__name__} supports none of {', '.join(found)}",
            next_step="see what its supports() looks at",
        )
    return found
