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

from pnnbench.errors import UserError, failure_text, fold, kind_word, unknown_name
from pnnbench.workloads.amounts import canonical, parse

if TYPE_CHECKING:
    from pnnbench.methods.base import TrainingMethod
    from pnnbench.workloads.base import Workload

_PACKAGE = Path(__file__).resolve().parent
#: Whether the package stands in the project's sources; else it is installed.
IN_SOURCES = all((_PACKAGE.parent / name).exists() for name in ("pyproject.toml", "benchmarks"))
#: Where suites, boards and the page of the protocol lie: the sources, or what the wheel has of them
#: (``scripts/wheel.py``), which nothing writes to.
SHIPPED = _PACKAGE.parent if IN_SOURCES else _PACKAGE / "shipped"
#: Folder of the suite files that come with the project.
SUITES = SHIPPED / "benchmarks"
#: Folder of the boards that come with the project.
BOARDS = SHIPPED / "leaderboards"
#: The page of the protocol, which is published with the boards.
PROTOCOL = SHIPPED / "docs" / "protocol.md"

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


def registered_name(kind: str, name: str) -> str:
    """Finds the registered name that is meant.

    Args:
        kind: One of `KINDS`.
        name: A name in any case, with ``-`` or ``_``.

    Returns:
        The registered name, the same for every spelling; a name that is not registered, such as a
        class path, as it was given.
    """
    points = registered(kind)
    meant = [point for point in points if fold(point) == fold(name)]
    return meant[0] if len(meant) == 1 and name not in points else name


def is_path(name: str) -> bool:
    """Whether a name is a class path ``package.module.Class`` and no registered name."""
    return "." in name.strip(".:").replace(":", ".") and name[0] not in ".:"


def check_name(kind: str, name: str, *, where: str = "") -> str:
    """Checks a name before anything is imported.

    Args:
        kind: One of `KINDS`.
        name: Registered name or class path.
        where: Where the name was given, for the message.

    Returns:
        The registered name that is meant, or the class path as it was given.

    Raises:
        UserError: If it is neither registered nor a class path.
    """
    name = registered_name(kind, name)
    points = registered(kind)
    if name in points:
        return name
    next_step = f"pnnbench list {'platforms' if kind == 'published' else kind}"
    stem = Path(name).stem
    if stem.isidentifier() and (name.endswith(".py") or "/" in name):
        next_step = f"name the class in the file: {stem}.NAME_OF_THE_CLASS"
    elif is_path(name):
        return name
    raise unknown_name(KINDS[kind], name, points, where=where, next_step=next_step)


def resolve(kind: str, name: str, *, where: str = "") -> type[Any]:
    """Finds a class by its registered name or its path ``package.module.Class``.

    Args:
        kind: One of `KINDS` whose entry points are classes.
        name: Registered name, in any case and with ``-`` or ``_``, or class path.
        where: Where the name was given, for the message.

    Returns:
        The class.

    Raises:
        UserError: If there is no such name, module or class, or the module cannot be imported.
    """
    name = check_name(kind, name, where=where)
    points = registered(kind)
    prefix = f"{where}: " if where else ""
    module_name, _, class_name = name.replace(":", ".").rpartition(".")
    here = str(Path.cwd())
    if here not in sys.path:  # the installed command does not search the working folder
        sys.path.append(here)
    try:
        if name in points:
            return points[name].load()
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever somebody's own file raises
        module_name = points[name].module if name in points else module_name
        raise _import_failure(
            f"{prefix}cannot import {module_name!r}", module_name, error
        ) from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [
            n
            for n, v in vars(module).items()
            if isinstance(v, type) and v.__module__ == module_name
        ]
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


def _import_failure(what: str, module_name: str, error: Exception) -> UserError:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{module_name}.".startswith(f"{missing}."):
        return UserError(
            f"{what}: there is no module {missing!r}",
            next_step="install the package, or run from the folder that holds the module",
        )
    return UserError(
        f"{what}: {type(error).__name__}: {failure_text(error)}", next_step="mend the file"
    )


def method_class(name: str, *, where: str = "") -> type[TrainingMethod]:
    """Finds a training method; see `resolve`."""
    found = resolve("methods", name, where=where)
    from pnnbench.methods.base import TrainingMethod  # loads torch: once the name is right

    if not issubclass(found, TrainingMethod):
        raise UserError(
            f"{name} is not a training method",
            allowed="a subclass of pnnbench.methods.base.TrainingMethod",
        )
    return found


def workload_class(name: str, *, where: str = "") -> type[Workload]:
    """Finds a workload; see `resolve`."""
    found = resolve("workloads", name, where=where)
    from pnnbench.workloads.base import Workload  # loads torch: once the name is right

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


def _allowed(default: Any, *, amount: bool, mapping: bool) -> str:
    """What a hyper-parameter may be, in words."""
    if amount:
        return "a number, or a text with a unit such as '0.3 rad'"
    return "a number, or one for each parameter" if mapping else kind_word(default)


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
    per_parameter = getattr(cls, "per_parameter", ())
    # 1 and 1.0 are one setting, and so are "3 rad" and "3.0 rad": one hash.
    given = {
        k: float(v)
        if (isinstance(known[k], float) or k in amounts) and type(v) is int
        else canonical(v)
        if k in amounts
        else v
        for k, v in given.items()
    }
    for key in per_parameter:
        if isinstance(given.get(key), Mapping):
            given[key] = {k: float(v) if type(v) is int else v for k, v in given[key].items()}
    full = {**known, **given}
    missing = [n for n, v in full.items() if v is inspect.Parameter.empty]
    if missing:
        raise UserError(f"{prefix}{cls.__name__} needs a value for {', '.join(missing)}")
    for key, value in given.items():
        default, amount = known[key], key in amounts
        if _fits(value, default, amount=amount):
            continue
        if key in per_parameter and isinstance(value, Mapping):
            if all(_fits(v, 0.0, amount=False) for v in value.values()):
                continue
            raise UserError(
                f"{prefix}{key} is {dict(value)!r}", allowed="a number for each parameter"
            )
        hint = ""
        if isinstance(value, str) and (amount or isinstance(default, float)) and _is_number(value):
            hint = f"write it with a point, {float(value)!r}: YAML reads {value} as text"
        raise UserError(
            f"{prefix}{key} is {value!r}, {kind_word(value)}",
            allowed=_allowed(default, amount=amount, mapping=key in per_parameter),
            next_step=hint,
        )
    try:
        cls(**full)
    except UserError as error:
        raise UserError(
            f"{prefix}{error.what}", allowed=error.allowed, next_step=error.next_step
        ) from None
    except Exception as error:  # a mistake in somebody's constructor
        raise UserError(
            f"{prefix}{cls.__name__} cannot be built: {type(error).__name__}: {failure_text(error)}"
        ) from error
    return full
