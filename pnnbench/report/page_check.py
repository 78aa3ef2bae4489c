"""Whether the pages of a published board are those that its records give, and nothing else there.

What pictures show is not looked at: other versions of what draws them draw other points.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pnnbench.leaderboard.board_check import LARGEST, NUMBERS, PAGES, is_current, republish
from pnnbench.leaderboard.model import Table
from pnnbench.records import index, parameters, published, searches, verifications
from pnnbench.records.findings import Finding
from pnnbench.records.folders import ASIDE, PARTIAL, walk
from pnnbench.records.inspecting import PARTS
from pnnbench.records.surroundings import HASH_IN_NAME, KNOWN
from pnnbench.report.embedded import EMBEDDED, SVG
from pnnbench.report.page import render_html
from pnnbench.report.reading import board_page
from pnnbench.report.text import render_markdown
from pnnbench.report.text_check import compare, read_text

PICTURES = "pictures"
_TABLE, PAGE = PAGES
_TEXTS = ("README.md", _TABLE)
_TOP = {PAGE, NUMBERS, "protocol.md", index.NAME, searches.NAME, *_TEXTS}
_PNG = b"\x89PNG\r\n\x1a\n"


def check_pages(folder: Path, tables: Sequence[Table]) -> Iterator[Finding]:
    """Makes the pages of a board again and holds them against those that are there.

    Args:
        folder: The board's folder. One of an earlier protocol is kept as it is, and passes.
        tables: What its records make.

    Yields:
        What differs, what is no picture, and what no publishing writes.
    """
    if not is_current(tables):
        return
    step = republish(folder)
    there = dict(_pictures(folder / PICTURES))
    shown = _shown(folder / PAGE, there)
    try:
        made = {"README.md": board_page(tables), _TABLE: render_markdown(tables)}
        made[PAGE] = render_html(tables, {name: there[name] for name in shown})
    except Exception as error:  # figures that are no figures raise whatever they like
        words = f"cannot be made again ({type(error).__name__}: {error!s:.100})"
        yield Finding(folder / PAGE, "board", words, f"pnnbench doctor {folder / 'records'}")
        return
    found = {name: compare(folder / name, text, step) for name, text in made.items()}
    yield from filter(None, found.values())
    yield from _no_pictures(folder / PICTURES, step)
    yield from _foreign(folder, None if found[PAGE] else shown, step)


def _pictures(folder: Path) -> Iterator[tuple[str, str]]:
    """Names of the pictures of a board, each with its text from where the picture begins."""
    for path in sorted(folder.glob("*.svg")):
        try:
            text = read_text(path)
        except (OSError, ValueError):
            continue
        start = SVG.search(text)
        if start is not None:
            yield path.stem, text[start.start() :]


def _shown(page: Path, pictures: Mapping[str, str]) -> list[str]:
    """Names of the pictures that a page shows, in its order, among those that are there."""
    names = {base64.b64encode(text.encode()).decode(): name for name, text in pictures.items()}
    try:
        text = read_text(page)
    except (OSError, ValueError):
        return []
    return [names[data] for data in dict.fromkeys(EMBEDDED.findall(text)) if data in names]


def _no_pictures(folder: Path, step: str) -> Iterator[Finding]:
    for path in sorted(folder.glob("*")):
        is_right = {".svg": _is_svg, ".png": _is_png}.get(path.suffix)
        if is_right is None or not path.is_file():
            continue
        if path.stat().st_size > LARGEST or not is_right(path.read_bytes()):
            words = f"is no {path.suffix[1:].upper()} picture"
            yield Finding(path, "board", words, f"rm {path}, then {step}")


def _is_svg(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    return SVG.search(text) is not None and text.rstrip().endswith("</svg>")


def _is_png(data: bytes) -> bool:
    """Whether bytes are the chunks of a PNG, each with its checksum, from first to last."""
    if not data.startswith(_PNG):
        return False
    at, kinds = len(_PNG), []
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + size
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[at + 4 : end])):
            return False
        kinds.append(kind)
        at = end + 4
    return at == len(data) and kinds[:1] == [b"IHDR"] and kinds[-1:] == [b"IEND"]


def _foreign(folder: Path, shown: Sequence[str] | None, step: str) -> Iterator[Finding]:
    """Files that no publishing writes, and pictures of the page that are not there.

    Args:
        folder: The board.
        shown: Names of the pictures that its page shows; None where it is not known.
        step: The command that writes the board anew.
    """
    pictures = {f"{name}{end}" for name in shown or () for end in (".svg", ".png")}
    jobs = {path.stem for path in (folder / published.FOLDER).glob("*.json")}
    for here, _, files in walk(folder):
        place = here.relative_to(folder).parts
        if any(part.endswith(PARTIAL) or part == ASIDE for part in place):
            continue
        for name in files:
            if name.startswith(".") or Path(name).suffix.lower() not in KNOWN:
                continue  # told of any folder of records
            if not _is_own(place, name, None if shown is None else pictures, jobs):
                words = "is nothing that publishing a board writes"
                yield Finding(here / name, "board", words, "look at it, and take it out")
    for name in sorted(pictures):
        if not (folder / PICTURES / name).is_file():
            yield Finding(folder / PICTURES / name, "board", "is missing", step)


def _is_own(place: tuple[str, ...], name: str, pictures: set[str] | None, jobs: set[str]) -> bool:
    """Whether a file is one of those that stand in a published board."""
    match place:
        case ():
            return name in _TOP
        case (published.FOLDER,):
            return name.endswith(".json") and HASH_IN_NAME.fullmatch(name[:-5]) is not None
        case (published.FOLDER, folder):
            tensors = {f"{part}.safetensors" for part in PARTS}
            return name in tensors and folder in jobs
        case (parameters.FOLDER,):
            return name == parameters.INDEX or name.removesuffix(".safetensors") in jobs
        case ("pictures",):
            return pictures is None or name in pictures
        case (*_, verifications.FOLDER):
            return True
    return False
