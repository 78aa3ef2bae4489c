"""Finds methods, platforms and workloads: entry points for everybody, or a dotted class path.

Published protocols are entry points too, but modules: see `published.protocols`.

The project's own classes come through the same door as anybody's.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.errors import UserError, unknown_name
from pnnbench.workloads.amounts import canonical, parse

if TYPE_CHECKING:
    from pnnbench.methods.base import TrainingMethod
    from pnnbench.workloads.base import Workload

#: Folder of the suite files that come with the project.
SUITES = Path(__file__).resolve().parent.parent / "benchmarks"

#: Kind of entry point -> what one of them is called.
KINDS = {
    "methods": "method",
    "platforms": "platform",
    "workloads": "workload",
    "published": "published protocol",
}


def registered(kind: str) -> dict[str, EntryPoint]:
    """Returns the entry points of one kind by name.

    Args:
        kind: One of `KINDS`.

    Raises:
        UserError: If two installed packages register the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"pnnbench.{kind}"):
        if point.name in found and found[point.name].value != point.value:
            by_path = "" if kind == "published" else ", or name the class by its path"
            raise UserError(
                f"two packages register the {KINDS[kind]} {point.name!r}: "
                f"{found[point.name].value} and {point.value}",
                next_step=f"uninstall one of them{by_path}",
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def resolve(kind: str, name: str, *, where: str = "") -> type[Any]:
    """Finds a class by its registered name or its path ``package.module.Class``.

    Args:
        kind: One of `KINDS` whose entry points are classes.
        name: Registered name or class path.
        where: Where the name was given, for the message.

    Returns:
        The class.

    Raises:
        UserError: If there is no such name, module or class.
    """
    points = registered(kind)
    if name in points:
        return points[name].load()
    if not name.strip(".:").replace(":", ".").count(".") or name[0] in ".:":
        raise unknown_name(
            KINDS[kind], name, points, where=where, next_step=f"pnnbench list {kind}"
        )
    module_name, _, class_name = name.replace(":", ".").rpartition(".")
    prefix = f"{where}: " if where else ""
    here = str(Path.cwd())
    if here not in sys.path:  # the installed command does not search the working folder
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{prefix}cannot import {module_name!r}: {error}",
            next_step="install the package, or run from the folder that holds the module",
        ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise unknown_name("class", class_name, classes, where=f"{prefix}{module_name}")
    return found


def proper_name(kind: str, cls: type) -> str:
    """The name that stands for a class in records: registered if it is, else its path.

    Args:
        kind: One of `KINDS` whose entry points are classes.
        cls: The class.

    Returns:
        Such as ``"sat"`` or ``"my_method.SignSAT"``.
    """
    path = f"{cls.__module__}:{cls.__qualname__}"
    for name, point in registered(kind).items():
        if point.value == path:
            return name
    return path.replace(":", ".")


def method_class(name: str, *, where: str = "") -> type[TrainingMethod]:
    """Finds a training method; see `resolve`."""
    from pnnbench.methods.base import TrainingMethod

    found = resolve("methods", name, where=where)
    if not issubclass(found, TrainingMethod):
        raise UserError(
            f"{name} is not a training method",
            allowed="a subclass of pnnbench.methods.base.TrainingMethod",
        )
    return found


def workload_class(name: str, *, where: str = "") -> type[Workload]:
    """Finds a workload; see `resolve`."""
    from pnnbench.workloads.base import Workload

    found = resolve("workloads", name, where=where)
    if not issubclass(found, Workload):
        raise UserError(
            f"{name} is not a workload",
            allowed="a subclass of pnnbench.workloads.base.Workload",
        )
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fits(value: Any, default: Any, *, amount: bool) -> bool:
    """Whether a hyper-parameter has the type of its default; an amount may have a unit."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if amount:
        return number or (isinstance(value, str) and parse(value) is not None)
    if isinstance(default, float):
        return number
    return not isinstance(default, (bool, str, int)) or type(value) is type(default)


def method_parameters(
    cls: type[TrainingMethod], given: Mapping[str, Any], *, where: str = ""
) -> dict[str, Any]:
    """Resolves hyper-parameters to the full set that decides a method's result.

    Args:
        cls: The method.
        given: Hyper-parameters that differ from the defaults.
        where: Where they were given, for the message.

    Returns:
        Every hyper-parameter of the constructor by name, checked by building the method once.

    Raises:
        UserError: If one is unknown, missing, of the wrong type or out of range.
    """
    prefix = f"{where}: " if where else ""
    signature = inspect.signature(cls)
    known = {
        n: p.default
        for n, p in signature.parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    for key in given:
        if key not in known:
            raise unknown_name(
                f"hyper-parameter of {cls.__name__}",
                key,
                known,
                where=where,
                next_step="pnnbench list methods",
            )
    amounts = getattr(cls, "amounts", ())
    # 1 and 1.0 are one setting, and so are "3 rad" and "3.0 rad": one hash.
    given = {
        k: float(v)
        if (isinstance(known[k], float) or k in amounts) and type(v) is int
        else canonical(v)
        if k in amounts
        else v
        for k, v in given.items()
    }
    full = {**known, **given}
    missing = [n for n, v in full.items() if v is inspect.Parameter.empty]
    if missing:
        raise UserError(f"{prefix}{cls.__name__} needs a value for {', '.join(missing)}")
    for key, value in given.items():
        default, amount = known[key], key in amounts
        if _fits(value, default, amount=amount):
            continue
        hint = ""
        if isinstance(value, str) and (amount or isinstance(default, float)) and _is_number(value):
            hint = f"write it with a point, {float(value)!r}: YAML reads {value} as text"
        raise UserError(
            f"{prefix}{key} is {value!r}, a {type(value).__name__}",
            allowed="a float, or a text with a unit such as '0.3 rad'"
            if amount
            else f"a {type(default).__name__}",
            next_step=hint,
        )
    try:
        cls(**full)
    except UserError as error:
        raise UserError(
            f"{prefix}{error.what}", allowed=error.allowed, next_step=error.next_step
        ) from None
    return full
