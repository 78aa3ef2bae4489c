"""A package for a new training method: something that works, to be changed.

It has one class with its law of tuning, a test that runs the checks, a suite beside baselines and
the card of a submission.
"""

from __future__ import annotations

import importlib.util
import json
import keyword
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import yaml

from pnnbench.errors import UserError, fold, writing
from pnnbench.lookup import KINDS, registered
from pnnbench.registry import SUITES

_TEMPLATES = Path(__file__).parent / "template"
#: The suite that gives the baselines, with the settings that its search chose, and their labels.
_SHIPPED, _BASELINES = "quickstart", ("BP", "NAT")
#: What files, modules and classes can be called.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*")
_LONGEST = 40
#: Names of folders of every project, and of devices that some systems do not take for a file.
_TAKEN = {"tests", "docs", "build", "dist", "runs", "submissions", "aux", "con", "nul", "prn"}
ALLOWED = (
    "letters a to z, digits and single dashes or underscores between them, a letter first, at "
    f"most {_LONGEST} in all, such as tilted-sat"
)
#: The author of a card that nobody has filled in.
NOBODY = "Your Name"


def check_new_name(name: str) -> str:
    """Checks what a new method is to be called.

    Args:
        name: Such as ``"tilted-sat"``.

    Returns:
        The name as it is registered: in small letters, with dashes.

    Raises:
        UserError: If files, modules and classes cannot be called so, or something is already.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UserError(f"the name {name[:80]!a} cannot be that of a package", allowed=ALLOWED)
    proper = fold(name)
    module = proper.replace("-", "_")
    for kind in KINDS:
        if proper in map(fold, registered(kind)):
            raise UserError(
                f"there is a {KINDS[kind]} {proper!r} already",
                allowed="a name that is not registered",
                next_step=f"pnnbench list {kind}" if kind != "published" else "pnnbench list",
            )
    if proper in {path.stem for path in SUITES.glob("*.yaml")}:
        raise UserError(f"{proper!r} is the name of a suite that ships", allowed="another name")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module) or module in _TAKEN:
        raise UserError(f"{name!r} is a reserved word", allowed="another name")
    if module in sys.stdlib_module_names or module.startswith("pnnbench") or _installed(module):
        raise UserError(
            f"there is a module {module!r} already, and the new one would hide it",
            allowed="a name that no installed package has",
        )
    return proper


def _installed(module: str) -> bool:
    """Whether a module of that name is installed: outside of the present folder, or in its venv."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
    here, environment = Path.cwd().resolve(), Path(sys.prefix).resolve()
    found = [Path(place).resolve() for place in places]
    return any(p.is_relative_to(environment) or not p.is_relative_to(here) for p in found)


def new_method(name: str, out: Path, authors: Sequence[str] = ()) -> Path:
    """Writes a package with one training method that works.

    Args:
        name: What the method is called; see `check_new_name`.
        out: Folder in which the package's own folder is made.
        authors: Authors for the card; none leaves a place to fill in.

    Returns:
        The package's folder, ``out/NAME``.

    Raises:
        UserError: If the name cannot be taken, an author is no line of text, or the folder is there
            already: nothing is overwritten.
    """
    proper = check_new_name(name)
    for author in authors:
        if not author.strip() or not author.isprintable() or len(author) > 100:
            raise UserError(
                f"--author is {author[:100]!a}", allowed="1 to 100 signs that can be seen"
            )
    target = out / proper
    if target.exists() or target.is_symlink():
        raise UserError(
            f"{target} is there already, and nothing is overwritten",
            next_step="choose another name, or another place with --out",
        )
    files = dict(_files(proper, list(authors) or [NOBODY]))
    with writing(target), tempfile.TemporaryDirectory(dir=out, prefix=f".{proper}.") as made:
        whole = Path(made) / proper
        for place, text in files.items():
            path = whole / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        whole.rename(target)
    return target


def _files(name: str, authors: list[str]) -> Iterator[tuple[str, str]]:
    """The files of the package: place and text."""
    module = name.replace("-", "_")
    cls = "".join(part[0].upper() + part[1:] for part in name.split("-"))
    shipped = yaml.safe_load((SUITES / f"{_SHIPPED}.yaml").read_text(encoding="utf-8"))
    values = {
        "name": name,
        "module": module,
        "cls": cls,
        "authors": authors,
        "shipped": _SHIPPED,
        "protocol": shipped["protocol"],
        "tier": shipped["tier"],
        "workload": shipped["workloads"][0],
        "baselines": [_flow(row) for row in shipped["methods"] if row["label"] in _BASELINES],
    }
    places = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "card.json": "card.json",
        "suite.yaml": "suite.yaml",
        f"{module}/__init__.py": "init.py",
        f"{module}/method.py": "method.py",
        "tests/test_method.py": "test_method.py",
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=False,  # noqa: S701 - text, no page
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    for place, template in places.items():
        yield place, environment.get_template(f"{template}.jinja").render(**values)


def _flow(row: dict[str, Any]) -> str:
    """A row of a suite on one line."""
    text = yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip()
