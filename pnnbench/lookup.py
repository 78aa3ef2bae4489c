"""Finds classes by name: entry points for everybody, or a dotted class path.

The project's own classes come through the same door as anybody's. What a record names was written
by somebody else: there the door is narrower, see `only` and `received`.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pnnbench.errors import UserError, failure_text, fold, unknown_name

#: Kind of entry point -> what one of them is called.
KINDS = {
    "methods": "method",
    "platforms": "platform",
    "workloads": "workload",
    "data": "data set",
    "published": "published protocol",
}
#: Which names are resolved: ``"any"``, class paths among them; ``"registered"`` ones, of packages
#: that somebody has installed; or ``"own"``, those of this package.
Door = Literal["any", "registered", "own"]
_DOOR: ContextVar[Door | None] = ContextVar("door", default=None)
_OWN = __name__.partition(".")[0]


@contextmanager
def only(door: Door) -> Iterator[None]:
    """Context in which only some names are resolved.

    Args:
        door: Which.
    """
    token = _DOOR.set(door)
    try:
        yield
    finally:
        _DOOR.reset(token)


@contextmanager
def received() -> Iterator[None]:
    """Context in which names come from a record: registered ones, unless `only` says otherwise.

    A class path in a record would import, and so run, a file that lies beside it.
    """
    with only(_DOOR.get() or "registered"):
        yield


def registered(kind: str) -> dict[str, EntryPoint]:
    """Returns the entry points of one kind by name.

    Args:
        kind: One of `KINDS`.

    Raises:
        UserError: If two installed packages register the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in _installed(kind, tuple(_state(folder) for folder in sys.path)):
        if not _may_pass(point):
            continue
        if point.name in found and found[point.name].value != point.value:
            by_path = "" if kind == "published" else ", or name the class by its path"
            raise UserError(
                f"two packages register the {KINDS[kind]} {point.name!r}: "
                f"{found[point.name].value} and {point.value}",
                next_step=f"uninstall one of them{by_path}",
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def _state(folder: str) -> tuple[str, int]:
    """A folder of the path and when something was last put into it or taken out (0: never)."""
    place = Path(folder).absolute()
    try:
        return str(place), place.stat().st_mtime_ns
    except OSError:
        return str(place), 0


@lru_cache(maxsize=64)
def _installed(kind: str, folders: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a kind; the folders are those that they are read from, and the key."""
    return tuple(entry_points(group=f"pnnbench.{kind}"))


def _may_pass(point: EntryPoint) -> bool:
    """Whether an entry point counts: of a received folder that is the present one, none does."""
    door = _DOOR.get()
    if door in (None, "any") or point.module.partition(".")[0] == _OWN:
        return True
    if door == "own" or point.dist is None:
        return False
    return Path(str(point.dist.locate_file(""))).resolve() != Path.cwd()


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
    if stem.isidentifier() and is_module(name):
        next_step = f"name the class in the file: {stem}.NAME_OF_THE_CLASS"
    elif kind == "data" and Path(name).is_dir():
        next_step = f"a folder of images is image-folder:{name}"
    elif is_path(name):
        _check_door(kind, name, where)
        return name
    raise unknown_name(KINDS[kind], name, points, where=where, next_step=next_step)


def is_module(name: str) -> bool:
    """Whether a name is that of a file of Python, of which a class was to be named."""
    beside = name.isidentifier() and Path(f"{name}.py").is_file()
    return name.endswith(".py") or "/" in name or beside


def _check_door(kind: str, name: str, where: str) -> None:
    """Refuses a class path where names come from somebody else."""
    door = _DOOR.get()
    if door in (None, "any"):
        return
    prefix = f"{where}: " if where else ""
    trusting = "--trust runs it, if you know who wrote it" if door == "registered" else ""
    raise UserError(
        f"{prefix}the {KINDS[kind]} {name!r} is code of its author, and no registered name",
        allowed=", ".join(registered(kind)),
        next_step=trusting,
    )


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
    try:
        if name in points:
            return points[name].load()
        here = str(Path.cwd())
        if here not in sys.path:  # the installed command does not search the working folder
            sys.path.append(here)
        module = importlib.import_module(module_name)
        was_edited(module)  # notes what it was imported from
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


#: File of a module -> the module, and the digest of the file when it was first looked at.
_IMPORTED: dict[str, tuple[ModuleType, str]] = {}


def was_edited(module: ModuleType) -> bool:
    """Whether the file of a module that is imported is another one than when first looked at.

    Args:
        module: The module.
    """
    place = getattr(module, "__file__", None)
    try:
        digest = hashlib.sha256(Path(str(place)).read_bytes()).hexdigest()
    except OSError:  # none, or one that is gone
        return False
    known, before = _IMPORTED.setdefault(str(place), (module, digest))
    if known is not module:  # imported again
        _IMPORTED[str(place)] = (module, digest)
        return False
    return before != digest


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
