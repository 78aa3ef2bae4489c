"""Finds methods and workloads by name, and resolves hyper-parameters.

How names are found: `pnnbench.lookup`. Published protocols are entry points too, but modules: see
`published.protocols`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pnnbench.errors import UserError, kind_word, own_code, unknown_name
from pnnbench.lookup import KINDS as KINDS
from pnnbench.lookup import check_name as check_name
from pnnbench.lookup import is_module as is_module
from pnnbench.lookup import is_path as is_path
from pnnbench.lookup import proper_name as proper_name
from pnnbench.lookup import registered as registered
from pnnbench.lookup import registered_name as registered_name
from pnnbench.lookup import resolve as resolve
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
            next_step="a plain torch.nn.Module becomes one as docs/networks.md says: "
            "pnnbench.workloads.convert.physical_network puts it on hardware",
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


def not_default(cls: type[TrainingMethod], params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a method's hyper-parameters that are not the defaults of its class, by name.

    Args:
        cls: The method.
        params: Hyper-parameters, as `method_parameters` gives them.
    """
    known = inspect.signature(cls).parameters
    return {
        name: value
        for name, value in sorted(params.items())
        if name not in known or value != known[name].default
    }


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
        with own_code(f"{cls.__name__} cannot be built"):
            cls(**full)
    except UserError as error:
        raise UserError(
            f"{prefix}{error.what}", allowed=error.allowed, next_step=error.next_step
        ) from None
    return full
