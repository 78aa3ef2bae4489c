"""Pictures inside a page: each an image of its own."""

from __future__ import annotations

import base64
import html
import re

SVG = re.compile(r"<svg[\s>]")
"""Where a picture begins in its file."""
EMBEDDED = re.compile(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]*)")
"""A picture in a page, with what it is encoded as."""
_TITLE = re.compile(r"<title>([^<]*)</title>")


def caption(name: str, svg: str) -> str:
    """What a picture says of itself.

    Args:
        name: Its name.
        svg: Its text.

    Returns:
        Its title; its name where it has none.
    """
    found = _TITLE.search(svg)
    return html.unescape(found[1]).strip() if found else name


def data_uri(name: str, svg: str) -> str:
    """A picture as a page holds it.

    Args:
        name: Its name.
        svg: Its text.

    Raises:
        ValueError: If it is not SVG text.
    """
    start = SVG.search(svg)
    if start is None:
        raise ValueError(f"picture {name!r} is not SVG text")
    encoded = base64.b64encode(svg[start.start() :].encode("utf-8")).decode("ascii")
    return f"data:image/svg+xml;base64,{encoded}"
