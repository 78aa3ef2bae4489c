"""What there is: names with one line each, read from the sources without importing a class."""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

from pnnbench.registry import SUITES, registered


def list_methods() -> dict[str, str]:
    """The training methods that are installed, other packages' among them.

    Returns:
        Registered name -> the first line of its description.

    Raises:
        UserError: If two packages register one name.
    """
    return _described("methods")


def list_platforms() -> dict[str, str]:
    """The platforms that are installed; as `list_methods`."""
    return _described("platforms")


def list_workloads() -> dict[str, str]:
    """The workloads, pairs of a platform and a task, that are installed; as `list_methods`."""
    return _described("workloads")


def list_data() -> dict[str, str]:
    """The data sets that are installed; as `list_methods`."""
    return _described("data")


def list_suites() -> dict[str, str]:
    """The suites that come with the project.

    Returns:
        Name, as `pnnbench.run` takes it, -> what the suite is for.
    """
    import yaml

    found = {}
    for path in sorted(SUITES.glob("*.yaml")):
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
        found[path.stem] = str(text.get("description", ""))
    return found


def _described(kind: str) -> dict[str, str]:
    return {name: summary(point) for name, point in registered(kind).items()}


def summary(point: EntryPoint) -> str:
    """The first line of the description of a registered class.

    Args:
        point: Its entry point.

    Returns:
        The line, from the source of its module where the class stands there, so that nothing is
        imported; else from the class. Empty where there is none, or the class cannot be imported.
    """
    source = _source(point.module)
    if source is not None:
        lines = _first_lines(source)
        if point.attr in lines:
            return lines[point.attr]
    try:
        doc = point.load().__doc__
    except Exception:  # whatever somebody's own file raises: whoever asks for the class is told
        return ""
    return next(iter((doc or "").strip().splitlines()), "")


def _source(module: str) -> Path | None:
    """The source of a module, found without importing it or the packages above it."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
        for i in range(len(rest)):
            if spec is None:
                return None
            name = ".".join((top, *rest[: i + 1]))
            spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    except (ImportError, ValueError):
        return None
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") else None


@lru_cache
def _first_lines(source: Path) -> dict[str, str]:
    """Name of each class of a file -> the first line of its description."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}
    return {
        node.name: next(iter((ast.get_docstring(node) or "").splitlines()), "")
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
