"""What the checks of methods, platforms and workloads have in common: a list, and one way through.

A check is a function that raises a `FaultError` with one sentence that says what to do. The first
line of its docstring is what it found when it passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

from lightning.pytorch.utilities.seed import isolate_rng

from pnnbench.errors import UserError, first_sentence, own_frames


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
#: Of a check that is for every kind.
EVERY = "every"


@dataclasses.dataclass(frozen=True)
class Check(Generic[T]):
    """One check.

    Attributes:
        function: Raises a `FaultError` if what it looks at does not pass.
        needs: Names of the checks without which it makes no sense.
        kind: Which kind of what is checked it is for; `EVERY` for all.
    """

    function: Callable[[T], None]
    needs: tuple[str, ...]
    kind: str = EVERY

    def meant_for(self, kind: str) -> bool:
        """Whether the check is for this kind."""
        return self.kind in (EVERY, kind)


class Checks(dict[str, Check[T]], Generic[T]):
    """Name -> check, in the order in which they are made."""

    def check(
        self, name: str, *needs: str, kind: str = EVERY
    ) -> Callable[[Callable[[T], None]], Callable[[T], None]]:
        """Registers a check under a name, with the checks it needs.

        Args:
            name: Name of the check.
            *needs: Checks without which this one is left out; those not meant for the kind do not
                matter.
            kind: Which kind it is for.

        Returns:
            The decorator.
        """

        def register(function: Callable[[T], None]) -> Callable[[T], None]:
            self[name] = Check(function, needs, kind)
            return function

        return register

    def run(
        self,
        trial: T,
        what: str,
        progress: Callable[[CheckResult], None] | None = None,
        *,
        kind: str = EVERY,
    ) -> list[CheckResult]:
        """Runs every check.

        Args:
            trial: What the checks look at.
            what: What it is called, such as ``"method"``, for errors that it raises.
            progress: Called after each check.
            kind: Of which kind it is.

        Returns:
            One result per check, in order. A check that makes no sense because another one failed
            is left out.
        """
        results: dict[str, CheckResult] = {}
        meant = {name: check for name, check in self.items() if check.meant_for(kind)}
        with isolate_rng(include_cuda=False):
            for name, check in meant.items():
                function, needs = check.function, [n for n in check.needs if n in meant]
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
                    said = f"{type(error).__name__}: {first_sentence(str(error))}"
                    text = "; ".join([f"The {what} raises {said}", *own_frames(error)])
                    results[name] = CheckResult(name, False, text)
                if progress is not None:
                    progress(results[name])
        return list(results.values())
