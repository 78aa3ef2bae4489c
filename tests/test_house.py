"""The rooms: no import runs upwards, no two files import each other, tests mirror the package."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pnnbench"
#: Room -> rooms that it may import; every room may import itself and what stands at the top.
ALLOWED = {
    "platforms": set(),
    "data": set(),
    "records": set(),
    "metrics": set(),
    "workloads": {"platforms", "data", "metrics"},
    "methods": {"platforms", "workloads"},
    "evaluation": {"platforms", "data", "workloads"},
    "leaderboard": {"records"},
    "report": {"records", "leaderboard", "evaluation", "workloads", "platforms", "data"},
    # From leaderboard the score: what chooses settings is what ranks rows.
    "running": {
        "records", "data", "platforms", "workloads", "methods", "evaluation", "leaderboard",
    },
    # From leaderboard the score: what devices are compared by is what ranks rows.
    "submitting": {
        "records", "data", "platforms", "workloads", "methods", "evaluation", "running",
        "leaderboard",
    },
    "published": {"records", "data", "platforms", "workloads", "evaluation"},
    "api": {
        "records", "leaderboard", "report", "data", "platforms", "workloads", "methods",
        "evaluation", "running",
    },
    "commands": {
        "records", "leaderboard", "report", "data", "workloads", "evaluation", "running",
        "submitting", "published", "api",
    },
}  # fmt: skip
#: Files at the top that every room may import.
COMMON = {"accelerator", "errors", "lookup", "registry", "seeds", ""}
#: Files at the top for one room alone.
TOP = {"commands": {"arguments", "console"}}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of the package that a file imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [d if d in known else node.module for d in deeper]
        yield from (name for name in names if name.partition(".")[0] == "pnnbench")


FILES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def graph() -> dict[str, set[str]]:
    """What each module imports."""
    known = {module_name(path) for path in FILES}
    return {module_name(path): set(imports(path, known)) for path in FILES}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_no_import_runs_upwards(room: str) -> None:
    for name, found in graph().items():
        parts = name.split(".")
        if len(parts) < 2 or parts[1] != room:
            continue
        for other in found:
            target = [*other.split("."), ""][1]
            allowed = target in ALLOWED[room] | COMMON | TOP.get(room, set()) | {room}
            assert allowed, f"{name} imports {other}"


def test_every_room_has_its_rule() -> None:
    assert {p.parent.name for p in PACKAGE.glob("*/__init__.py")} == set(ALLOWED)


def test_no_file_is_reached_from_itself() -> None:
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in finished:
            return
        for other in sorted(graph().get(name, set()) - {"pnnbench", name}):
            visit(other, (*path, name))
        finished.add(name)

    for name in graph():
        visit(name, ())


def test_tests_stand_in_the_room_of_what_they_test() -> None:
    rooms = set(ALLOWED)
    for path in (ROOT / "tests").glob("*/test_*.py"):
        assert path.parent.name in rooms
    for room in rooms:
        assert (ROOT / "tests" / room).is_dir(), f"no tests of {room}"
