"""Checks of what a training method's class declares, before anything is trained."""

from __future__ import annotations

import inspect
import math
import re
from typing import get_args

from pnnbench.errors import UserError
from pnnbench.methods.base import Access, TrainingMethod
from pnnbench.methods.laws import Rule, laws_of
from pnnbench.submitting.trial import (
    FaultError,
    Trial,
    check,
)


@check("class")
def check_class(trial: Trial) -> None:
    """The class is a TrainingMethod with a docstring of its own, and a loss or a step."""
    if not issubclass(trial.cls, TrainingMethod):
        raise FaultError("The class must derive from pnnbench.methods.base.TrainingMethod.")
    if not (trial.cls.__dict__.get("__doc__") or "").strip():
        raise FaultError(
            "The class has no docstring; say what it does and describe its parameters."
        )
    if trial.cls.loss is TrainingMethod.loss and not trial.cls.takes_steps():
        raise FaultError(
            "The class has neither loss(workload, batch), which gives the loss to back-propagate, "
            "nor step(workload, batch), which sets the parameters itself; write one of them."
        )


@check("access", "class")
def check_access(trial: Trial) -> None:
    """The access that the method needs is declared."""
    if trial.cls.access not in get_args(Access):
        raise FaultError(
            f"access is {trial.cls.access!r}; set the class attribute to one of "
            f"{', '.join(get_args(Access))}."
        )


@check("defaults", "class")
def check_defaults(trial: Trial) -> None:
    """Every hyper-parameter has a default."""
    missing = [n for n, default in trial.hyper.items() if default is inspect.Parameter.empty]
    if missing:
        raise FaultError(f"Give {', '.join(missing)} a default, from a source or a search.")


@check("documented", "class")
def check_documented(trial: Trial) -> None:
    """Every hyper-parameter is described in the docstring."""
    text = f"{trial.cls.__doc__}\n{trial.cls.__init__.__doc__}"
    _, _, described = text.partition("Args:")
    missing = [
        n for n in trial.hyper if not re.search(rf"^\s*{n}\s*(\(.*\))?:", described, re.MULTILINE)
    ]
    if missing:
        raise FaultError(
            f"Describe {', '.join(missing)} in the 'Args:' section of the class docstring, "
            "with unit and range."
        )


@check("ranges", "defaults")
def check_ranges(trial: Trial) -> None:
    """Hyper-parameters out of range are rejected with a UserError."""
    bad: list[tuple[str, float]] = [
        (n, math.nan) for n, default in trial.hyper.items() if isinstance(default, float)
    ]
    bad += [("lr", value) for value in (-1.0, 0.0, math.inf) if "lr" in trial.hyper]
    for name, value in bad:
        try:
            trial.cls(**{**trial.params, name: value})
        except UserError:
            continue
        except Exception as error:
            raise FaultError(
                f"{name} = {value} raises {type(error).__name__}; raise pnnbench.errors.UserError, "
                "as check_range does."
            ) from error
        raise FaultError(
            f"{name} = {value} is accepted; check it with pnnbench.errors.check_range."
        )


@check("laws", "ranges")
def check_laws(trial: Trial) -> None:
    """The laws of what may be searched are ranges around the defaults."""
    try:
        laws = laws_of(trial.cls, {**trial.hyper, **trial.params})
    except UserError as error:
        raise FaultError(
            f"{error.what}; allowed: {error.allowed or 'see docs/tuning.md'}."
        ) from None
    except Exception as error:
        raise FaultError(
            f"A law raises {type(error).__name__}: {error}; it is given all hyper-parameters."
        ) from error
    for name, law in laws.items():
        default = trial.hyper[name]
        if isinstance(default, bool) or not isinstance(default, (int, float)):
            raise FaultError(
                f"{name} has a law, and the default {default!r}; state it as a plain number."
            )
        if not 0.0 <= law.place(float(default)) <= 1.0:
            raise FaultError(f"The default {name} = {default!r} is outside of its law, {law}.")
        for value in (law.low, law.high):
            try:
                trial.cls(**{**trial.params, name: value})
            except Exception as error:
                raise FaultError(
                    f"{name} = {value:g}, an end of its law, raises {type(error).__name__}: {error}"
                ) from error
    if trial.cls.chosen_by not in get_args(Rule):
        raise FaultError(
            f"chosen_by is {trial.cls.chosen_by!r}; set it to one of {', '.join(get_args(Rule))}."
        )


@check("units", "ranges", "access")
def check_units(trial: Trial) -> None:
    """Amounts are understood in the workload's unit and refused in another one."""
    workload, method = trial.workload(), trial.method()
    for name in trial.cls.amounts:
        if name not in trial.hyper:
            continue
        text = f"{method.amount(name, workload)!r} {method.scale(name, workload).unit}"
        advice = (
            f"check {name} with pnnbench.workloads.amounts.check_amount and read it with "
            "self.amount, or take it out of amounts."
        )
        try:
            same = trial.cls(**{**trial.params, name: text}).amount(name, workload)
            other = trial.cls(**{**trial.params, name: "1 furlong"})
        except Exception as error:
            raise FaultError(f"{name} as a text raises {type(error).__name__}; {advice}") from error
        if same != method.amount(name, workload):
            raise FaultError(f"{name} = {text!r} is not what its number stands for; {advice}")
        try:
            other.check(workload)
        except UserError:
            continue
        raise FaultError(f"{name} = '1 furlong' is accepted by check(workload); {advice}")
