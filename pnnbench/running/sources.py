"""What third-party code decides a result: the files behind a class, as one digest.

For code that was installed as a distribution these are all files of its packages. For a loose file
they are the file, what it imports beside it or from elsewhere without being installed, and the data
files that it names or opens there. The protocol revision stands for this package's own code, and
versions for what it depends on.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pnnbench import __version__
from pnnbench.errors import UserError
from pnnbench.lookup import was_edited

OWN = "pnnbench"
#: Folders that hold results or tools, never sources.
_SKIPPED = {
    "__pycache__", "build", "dist", "leaderboards", "lightning_logs", "runs", "submissions",
    "venv", "wandb",
}  # fmt: skip
#: Folders of what is installed.
_INSTALLED = {"site-packages", "dist-packages"}
#: Text constants longer than this are no names of files.
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Source:
    """Where code comes from.

    Attributes:
        distribution: Name of the installed distribution; empty for loose files.
        version: Its version; empty for loose files.
        sha256: Digest of the files; empty for this package, for which the protocol revision stands.
        files: Names of the files, relative to where their package stands; of this package none.
    """

    distribution: str
    version: str
    sha256: str = ""
    files: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What a record says of it."""
        return {
            "distribution": self.distribution,
            "version": self.version,
            "sha256": self.sha256,
            "n_files": len(self.files),
        }


def source_of(classes: Iterable[type], opened: Sequence[Path] = ()) -> Source:
    """The code behind some classes and everything they inherit from.

    Args:
        classes: Classes that decide a result.
        opened: Files that were read while they were built; those beside a loose file count.

    Returns:
        The source; of several distributions the names are joined.
    """
    tops = sorted({_top(c) for cls in classes for c in cls.__mro__} - _infrastructure() - {OWN})
    if not tops:
        return Source(OWN, __version__)
    names: dict[str, str] = {}
    files: dict[str, Path] = {}
    for top in tops:
        distribution = _distribution(top)
        if distribution is not None:
            names[distribution.metadata["Name"]] = distribution.version
            for other in _tops_of(distribution):
                files |= _package_files(other)
        else:
            loose = _loose_files(top, opened)
            _refuse_edited(loose.values())
            files |= loose
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    joined = ", ".join(names), ", ".join(names.values())
    return Source(*joined, digest.hexdigest(), tuple(sorted(files)))


def _refuse_edited(files: Iterable[Path]) -> None:
    """Refuses files that were edited after they had been imported: what runs is the old code.

    Raises:
        UserError: If one was, as far as it was looked at before.
    """
    wanted = set(files)
    for module in list(sys.modules.values()):
        place = getattr(module, "__file__", None)
        if isinstance(place, str) and Path(place) in wanted and was_edited(module):
            raise UserError(
                f"{place} was edited after it had been imported: what runs here is still the old "
                "code",
                next_step="begin a new session (a notebook: restart its kernel)",
            )


def is_loose(module: str) -> bool:
    """Whether a module is of the user's: neither this package, nor Python, nor a dependency."""
    top = module.partition(".")[0]
    return top == "__main__" or top not in {OWN, *_infrastructure()}


class _Opened:
    """Notes the files that are opened while somebody listens."""

    def __init__(self) -> None:
        self.listening: list[list[Path]] = []
        self.installed = False

    def install(self) -> None:
        if not self.installed:  # an audit hook stays for the life of the process
            sys.addaudithook(self.hook)
            self.installed = True

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self.listening and isinstance(arguments[0], str):
            for found in self.listening:
                found.append(Path(arguments[0]))


_OPENED = _Opened()


@contextmanager
def files_opened() -> Iterator[list[Path]]:
    """Context that lists the files that Python code opens inside it."""
    _OPENED.install()
    found: list[Path] = []
    _OPENED.listening.append(found)
    try:
        yield found
    finally:
        _OPENED.listening.remove(found)


def _top(cls: type) -> str:
    return cls.__module__.partition(".")[0]


@cache
def _infrastructure() -> frozenset[str]:
    """Top-level modules of Python and of what this package depends on."""
    needed: set[str] = set()
    queue = [OWN]
    while queue:
        name = queue.pop()
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requirements:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            optional = "extra ==" in requirement
            if match and not optional and (found := _normal(match[0])) not in needed:
                needed.add(found)
                queue.append(found)
    tops = {
        top
        for top, owners in _owners().items()
        if any(_normal(owner) in needed for owner in owners)
    }
    return frozenset(tops | set(sys.stdlib_module_names) | {"__main__"})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _owners() -> Mapping[str, Sequence[str]]:
    return importlib.metadata.packages_distributions()


def _distribution(top: str) -> importlib.metadata.Distribution | None:
    """The installed distribution that a top-level module really comes from."""
    for owner in _owners().get(top, ()):
        distribution = importlib.metadata.distribution(owner)
        where = _places(sys.modules.get(top))
        recorded = {
            Path(str(distribution.locate_file(f))).resolve() for f in distribution.files or ()
        }
        inside = any(p in recorded or any(p in f.parents for f in recorded) for p in where)
        # An editable installation records no file of the package itself.
        if inside or _editable(distribution):
            return distribution
    return None


def _editable(distribution: importlib.metadata.Distribution) -> bool:
    return '"editable": true' in (distribution.read_text("direct_url.json") or "")


def _tops_of(distribution: importlib.metadata.Distribution) -> list[str]:
    name = distribution.metadata["Name"]
    return sorted(top for top, owners in _owners().items() if name in owners)


def _places(module: ModuleType | None) -> list[Path]:
    """Folder or file of a top-level module."""
    if module is None:
        return []
    folders = [Path(p).resolve() for p in getattr(module, "__path__", [])]
    file = getattr(module, "__file__", None)
    return folders or ([Path(file).resolve()] if file else [])


def _package_files(top: str) -> dict[str, Path]:
    module = sys.modules.get(top)
    places = _places_on_path(top) if module is None else _places(module)
    return {name: path for place in places for name, path in _below(place)}


def _places_on_path(top: str) -> list[Path]:
    """Folder or file of a top-level module that was not imported."""
    spec = importlib.util.find_spec(top)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return [Path(p) for p in folders] or ([Path(spec.origin)] if spec and spec.origin else [])


def _below(place: Path) -> Iterator[tuple[str, Path]]:
    if place.is_file():
        yield place.name, place
        return
    for path in sorted(place.rglob("*")):
        parts = path.relative_to(place.parent).parts
        hidden = any(p.startswith(".") or p in _SKIPPED for p in parts[1:])
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield "/".join(parts), path


def _loose_files(top: str, opened: Sequence[Path]) -> dict[str, Path]:
    """A loose module or package, the loose ones that it imports, and their data files there."""
    found: dict[str, Path] = {}
    folders: set[Path] = set()
    queue = _places(sys.modules.get(top))
    seen: set[Path] = set()
    while queue:
        place = queue.pop()
        if place in seen:
            continue
        seen.add(place)
        folders.add(place.parent)
        for name, path in _below(place):
            found[name] = path
            if path.suffix == ".py":
                imported, named = _mentioned(path)
                queue += [p for i in imported for p in _imported(place.parent, i)]
                found |= {n: p for n in named if (p := _data_file(path.parent, n)) is not None}
    for path in opened:
        file = path.resolve()
        if file.is_file() and file.suffix not in (".py", ".pyc"):
            for folder in folders:
                if folder in file.parents:
                    relative = file.relative_to(folder)
                    if not set(relative.parts) & _SKIPPED:
                        found[relative.as_posix()] = file
    return found


def _mentioned(path: Path) -> tuple[set[str], set[str]]:
    """Top-level modules that a file imports, and short texts in it that may name files."""
    imported: set[str] = set()
    named: set[str] = set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return imported, named
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            imported.add(node.module.partition(".")[0])
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and 0 < len(node.value) <= _LONGEST_NAME
            and node.value.isprintable()
        ):
            named.add(node.value)
    return imported, named


def _imported(folder: Path, name: str) -> list[Path]:
    """A loose module that a file imports: beside it, else where Python finds it."""
    beside = _beside(folder, name)
    if beside is not None:
        return [beside]
    if name == OWN or name in _infrastructure() or _distribution(name) is not None:
        return []
    try:
        places = _places(sys.modules.get(name)) or _places_on_path(name)
    except (ImportError, ValueError):  # a module that does not say where it is from
        return []
    return [
        place
        for place in places
        if not _INSTALLED & set(place.parts)
        and ((place.is_file() and place.suffix == ".py") or any(place.rglob("*.py")))
    ]


def _beside(folder: Path, name: str) -> Path | None:
    file, package = folder / f"{name}.py", folder / name
    if file.is_file():
        return file
    return package if package.is_dir() and any(package.rglob("*.py")) else None


def _data_file(folder: Path, name: str) -> Path | None:
    try:
        path = folder / name
        return path.resolve() if path.is_file() and path.suffix not in (".py", ".pyc") else None
    except OSError:
        return None
