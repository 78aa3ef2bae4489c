"""Puts suites and boards into the wheel: they lie beside the package, not in it.

A build step of ``pyproject.toml``. An installed package finds them in ``pnnbench/shipped``, laid
out as the project is (`pnnbench.registry`). Boards of older protocols, pages and pictures stay in
the sources: what a board consists of is enough to show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from setuptools.command.build_py import build_py

#: Folder of the package that holds them.
SHIPPED = Path("pnnbench") / "shipped"
#: What is shipped of the project: patterns relative to its folder.
PATTERNS = (
    "benchmarks/*.yaml",
    "benchmarks/search/*.json",
    "benchmarks/lengths/*.yaml",
    "leaderboards/*/*.json",
    "leaderboards/*/records/*.json",
    "leaderboards/*/parameters/*",
    "docs/protocol.md",
)
#: Folders of ``leaderboards`` that are no boards but hold those of an older protocol.
OLDER = ("pnnbench-",)


def shipped(root: Path) -> Iterator[Path]:
    """The files that are shipped, relative to the project's folder, in a fixed order.

    Args:
        root: The project's folder.
    """
    for pattern in PATTERNS:
        for path in sorted(root.glob(pattern)):
            parts = path.relative_to(root).parts
            if path.is_file() and not parts[1].startswith(OLDER):
                yield path.relative_to(root)


class BuildWithBoards(build_py):
    """Builds the package, and puts beside its modules what it ships."""

    def _shipped(self) -> dict[str, str]:
        """Built file -> file of the sources; none in an editable install, which uses these."""
        if self.editable_mode:
            return {}
        root = Path()
        return {str(Path(self.build_lib) / SHIPPED / p): str(root / p) for p in shipped(root)}

    def run(self) -> None:
        """Builds."""
        super().run()
        for target, source in self._shipped().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target, preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Names of all files that are built."""
        return [*super().get_outputs(include_bytecode), *self._shipped()]

    def get_output_mapping(self) -> dict[str, str]:
        """Built file -> file of the sources."""
        return {**super().get_output_mapping(), **self._shipped()}
