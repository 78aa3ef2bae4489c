"""Pages are filled in from the templates of this package."""

from __future__ import annotations

import functools
from pathlib import Path

import jinja2

from pnnbench.report.visible import visible

_TEMPLATES = Path(__file__).parent / "templates"


def fill(template: str, /, **values: object) -> str:
    """Fills in a template.

    Args:
        template: Name of the file.
        values: What it names; text is escaped, a name without a value is an error. What a terminal
            or a browser would obey stands there as its code.

    Returns:
        The page, with a final newline.
    """
    page = visible(_environment().get_template(template).render(**values))
    return page if page.endswith("\n") else page + "\n"


@functools.cache
def _environment() -> jinja2.Environment:
    """Made once: a template that was read stays compiled."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
