"""What the checks of methods, platforms and workloads have in common: a list, and one way through.

A check is a function that raises a `FaultError` with one sentence that says what to do. The first
line of its docstring is what it found when it passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

from lightning.pytorch.utilities.seed import isolate_rng

from pnnbench.errors import UserError


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: Name of the check.
        passed: Whether the class passed.
        message: What was found, and what to do if it failed.
    """

    name: str
    passed: bool
    message: str


class FaultError(Exception):
    """A check that the class does not pass; the text says what to do."""


T = TypeVar("T")


class Checks(dict[str, tuple[Callable[[T], None], tuple[str, ...]]], Generic[T]):
    """Name -> check and the names of the checks without which it makes no sense, in order."""

    def check(self, name: str, *needs: str) -> Callable[[Callable[[T], None]], Callable[[T], None]]:
        """Registers a check under a name, with the checks it needs.

        Args:
            name: Name of the check.
            *needs: Checks without which this one is left out.

        Returns:
            The decorator.
        """

        def register(function: Callable[[T], None]) -> Callable[[T], None]:
            self[name] = (function, needs)
            return function

        return register

    def run(
        self, trial: T, what: str, progress: Callable[[CheckResult], None] | None = None
    ) -> list[CheckResult]:
        """Runs every check.

        Args:
            trial: What the checks look at.
            what: What it is called, such as ``"method"``, for errors that it raises.
            progress: Called after each check.

        Returns:
            One result per check, in order. A check that makes no sense because another one failed
            is left out.
        """
        results: dict[str, CheckResult] = {}
        with isolate_rng(include_cuda=False):
            for name, (function, needs) in self.items():
                if any(need not in results or not results[need].passed for need in needs):
                    continue
                try:
                    function(trial)
                    found = (function.__doc__ or "").splitlines()[0]
                    results[name] = CheckResult(name, True, found)
                except FaultError as fault:
                    results[name] = CheckResult(name, False, str(fault))
                except UserError as error:
                    words = "; ".join(p for p in (error.what, error.allowed, error.next_step) if p)
                    text = f"The {what} raises UserError: {words}"
                    results[name] = CheckResult(name, False, text)
                except Exception as error:
                    text = f"The {what} raises {type(error).__name__}: {error}"
                    results[name] = CheckResult(name, False, text)
                if progress is not None:
                    progress(results[name])
        return list(results.values())
