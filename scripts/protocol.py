"""Writes docs/protocol.md: every choice of the protocol with value, unit, reason and test.

Values are read from the code, so that the page cannot say anything else than what runs. Usage:
python scripts/protocol.py [--check]
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from choices_images import images
from choices_platforms import free_space, masks, meshes, microrings
from choices_whole import knowledge, laws, search, sharpness_figures, whole

from pnnbench.errors import UserError
from pnnbench.platforms import mzi as mzi_layer
from pnnbench.script import run_script

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "protocol.md"


SECTIONS = (
    ("All platforms", whole),
    ("Microrings", microrings),
    ("Meshes", meshes),
    ("Free space", free_space),
    ("Diffraction", masks),
    ("Images on microrings", images),
    ("Search of settings", search),
    ("Sharpness", sharpness_figures),
)


def page() -> str:
    """The whole page."""
    parts = [
        "# The protocol",
        "Every choice of the protocol with its value, its source or reason, and the test that "
        "holds "
        "it. Written by `python scripts/protocol.py` from the code; a test compares. What a choice "
        "was measured with stands beside the constant in the named module.",
    ]
    for title, choices in SECTIONS:
        rows = [
            f"| {c.what} | {c.value} | {c.why} | {_link(c.test)} |".replace("\n", " ")
            for c in choices()
        ]
        parts += [
            f"## {title}",
            "\n".join(("| Choice | Value | Why | Test |", "| - | - | - | - |", *rows)),
        ]
    told = [f"| {name} | {access} | {knows} |" for name, access, knows in knowledge()]
    parts += [
        "## Who knows what",
        "What a method is told besides training data and digital model, from what its class "
        "[declares](methods.md#what-a-class-declares) as `access` and `knows`. "
        'Boards are read without the rows that know the tested law by `--without "tested law"`.',
        "\n".join(("| Method | Access | Told |", "| - | - | - |", *told)),
        "## Laws of hyper-parameters",
        "Where `pnnbench tune` searches, in multiples of the workload's scale, for Adam; see "
        "[tuning](tuning.md).",
        "\n".join(
            (
                "| Method | Searched | Chosen by |",
                "| - | - | - |",
                *(f"| {name} | {words} | {rule} |" for name, words, rule in laws()),
            )
        ),
        "## What the models leave out",
        _left_out(),
    ]
    return "\n\n".join(parts) + "\n"


def _link(test: str) -> str:
    if not test:
        return "part of each job's hash"
    file, _, name = test.partition("::")
    return f"[{name}](../{file})"


def _left_out() -> str:
    """The list of the mesh's docstring, and what the other platforms' docstrings say."""
    text = mzi_layer.__doc__ or ""
    found = text.partition("What the model leaves out:\n")[2].partition("\nSources:")[0]
    if not found:
        raise UserError("the docstring of pnnbench.platforms.mzi has no list of what is left out")
    return "Meshes:\n\n" + found


def tests_named(text: str) -> list[tuple[str, str]]:
    """File and name of each test that the page names."""
    return [(file, name) for name, file in re.findall(r"\[(test_\w+)\]\(\.\./([\w/.]+)\)", text)]


def main() -> int:
    """Writes the page, or says whether it is what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    text = page()
    if args.check:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        raise UserError(
            f"{PAGE.name} is not what the code says", next_step="python scripts/protocol.py"
        )
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    run_script(main)
