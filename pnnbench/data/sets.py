"""Data sets by name, class path, class or object. Importing this loads neither torch nor others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.data.base import DataSet
from pnnbench.errors import UserError, kind_word
from pnnbench.lookup import check_name, proper_name, registered, registered_name, resolve

if TYPE_CHECKING:
    from pnnbench.data.arrays import Arrays

_ALLOWED = (
    "a registered name, NAME:ARGUMENT such as image-folder:PATH, a class path, or a "
    "pnnbench.data.DataSet or LightningDataModule, class or object"
)


def names() -> tuple[str, ...]:
    """Names of the registered data sets."""
    return tuple(registered("data"))


def resolve_data(given: Any, *, where: str = "") -> DataSet:
    """Finds a data set.

    Args:
        given: A registered name; ``NAME:ARGUMENT`` for a set that takes one, such as
            ``image-folder:PATH``; a class path ``package.module.Class``; or a class or an object:
            a `DataSet` or a LightningDataModule.
        where: Where it was given, for the message.

    Returns:
        The data set. One class, with one argument, is one object in a process.

    Raises:
        UserError: If there is no such set, or it is something else.
    """
    if isinstance(given, str):
        head, colon, argument = given.partition(":")
        name = registered_name("data", head)
        if colon and name in registered("data"):
            cls = resolve("data", name, where=where)
            return _with_argument(cls, name, argument) if argument else _of_class(cls)
        return _of_class(resolve("data", given, where=where))
    if isinstance(given, DataSet):
        return given
    if isinstance(given, type):
        return _of_class(given)
    if _is_data_module(type(given)):
        from pnnbench.data.lightning import DataModuleSet

        return DataModuleSet(given)
    prefix = f"{where}: " if where else ""
    raise UserError(f"{prefix}the data set is {given!r}, {kind_word(given)}", allowed=_ALLOWED)


def check_data(given: str, *, where: str = "") -> str:
    """Checks the name of a data set before anything is imported.

    Args:
        given: As for `resolve_data`.
        where: Where it was given, for the message.

    Returns:
        The name, a registered one in its own spelling.

    Raises:
        UserError: If it is neither registered nor a class path.
    """
    head, colon, argument = given.partition(":")
    name = registered_name("data", head)
    if colon and name in registered("data"):
        return f"{name}:{argument}"
    return check_name("data", given, where=where)


def reference_of(data: DataSet) -> str:
    """The text by which `resolve_data` finds a set again, in another process.

    Args:
        data: The set.

    Returns:
        A registered name, such a name with its argument, or a class path.
    """
    name = proper_name("data", data.maker())
    return f"{name}:{data.argument}" if data.argument else name


def load(name: Any, root: str | Path | None = None, download: bool = False) -> Arrays:
    """Reads a data set and checks it.

    Args:
        name: As for `resolve_data`.
        root: Data folder. None means the folder in the environment variable PNNBENCH_DATA, or
            ``~/.cache/pnnbench/data`` when that is not set. Not used by sets without files there.
        download: Whether missing files may be downloaded through torchvision. The environment
            variable PNNBENCH_DOWNLOAD=1 does the same.

    Returns:
        The set, with its fingerprint.

    Raises:
        UserError: If the name is unknown, or files are missing, damaged or cannot be downloaded.
    """
    return resolve_data(name).read(root, download)


def fetch(name: Any, root: str | Path | None = None) -> Path | None:
    """Downloads a set through torchvision if it is not there, and checks every file.

    Damaged files are replaced.

    Args:
        name: As for `resolve_data`.
        root: Data folder; None as for `load`.

    Returns:
        The data folder, or None for a set that needs no files.

    Raises:
        UserError: If the name is unknown or the download fails.
    """
    return resolve_data(name).fetch(root)


def _is_data_module(cls: type) -> bool:
    """Whether a class is a LightningDataModule, of either package that has one."""
    return any(base.__name__ == "LightningDataModule" for base in cls.__mro__)


def _with_argument(cls: type[Any], name: str, argument: str) -> DataSet:
    if not getattr(cls, "takes", ""):
        raise UserError(f"the data set {name!r} takes no argument, and has {argument!r}")
    if (cls, argument) not in _MADE:
        _MADE[cls, argument] = resolve_data(cls(argument))
    return _MADE[cls, argument]


#: The one object of each class, and of each class with an argument.
_MADE: dict[Any, DataSet] = {}


def _of_class(cls: type[Any]) -> DataSet:
    if cls in _MADE:
        return _MADE[cls]
    if not (issubclass(cls, DataSet) or _is_data_module(cls)):
        raise UserError(f"{cls.__name__} is not a data set", allowed=_ALLOWED)
    try:
        made = cls()
    except TypeError as error:
        raise UserError(
            f"the data set {cls.__name__} cannot be made without arguments: {error}",
            allowed="a class whose arguments have defaults; in Python an object of it, in a suite "
            "file a subclass that fills them in",
        ) from None
    return _MADE.setdefault(cls, resolve_data(made))
