"""Links of the README and of the pages in docs lead to files and headings that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .scripts import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(path: Path) -> list[str]:
    """The targets of a page's links, those in code left out."""
    return re.findall(r"\]\(([^()\s]+)\)", _CODE.sub("", path.read_text(encoding="utf-8")))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_page() -> None:
    assert {f"docs/{path.name}" for path in DOCS} <= {
        link.partition("#")[0] for link in links(ROOT / "README.md")
    }


def test_the_check_sees_links_and_headings(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A, b: `c` d\n[x](y.md#z) `[no](no)`\n```\n# no\n[no](no)\n```\n")
    assert links(page) == ["y.md#z"]
    assert anchors(page) == {"a-b-c-d"}
