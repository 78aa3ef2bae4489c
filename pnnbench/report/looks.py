"""One look for each method, in all pictures: colour, marker and dashes follow from its label."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class MethodStyle:
    """The look of one method.

    Hue and marker shape name the family of the method, fill and dashes the variant, so that the
    methods stay apart in grey print.

    Attributes:
        color: Hexadecimal colour, of the Okabe-Ito palette.
        marker: Matplotlib's marker code.
        fillstyle: How the marker is filled: ``full``, ``none``, ``left`` or ``bottom``.
        linestyle: Matplotlib's line style: a name, or an offset and a dash pattern.
    """

    color: str
    marker: str
    fillstyle: str
    linestyle: str | tuple[int, tuple[float, ...]]

    def marks(self) -> dict[str, Any]:
        """Returns the keyword arguments of ``Axes.plot`` for the markers alone."""
        return {
            "color": self.color,
            "marker": self.marker,
            "fillstyle": self.fillstyle,
            "markerfacecolor": "white" if self.fillstyle == "none" else self.color,
            "markerfacecoloralt": "white",
            "markeredgecolor": self.color,
            "markeredgewidth": 1.0,
        }

    def line(self) -> dict[str, Any]:
        """Returns the keyword arguments of ``Axes.plot`` for line and markers."""
        return {**self.marks(), "linestyle": self.linestyle}


# Okabe and Ito, Color Universal Design (2008): told apart with every common colour vision.
_FAMILIES = {
    "bp on weights": ("#0072B2", "s"),
    "bp weights": ("#0072B2", "s"),
    "bp": ("#333333", "o"),
    "nat": ("#009E73", "^"),
    "sat misalignment": ("#D55E00", "p"),
    "sat in turns": ("#D55E00", "h"),
    "sat equation 4": ("#D55E00", "H"),
    "sat rotation": ("#D55E00", "H"),
    "sat shift": ("#D55E00", "H"),
    "sat scale": ("#D55E00", "H"),
    "sat alpha": ("#D55E00", ">"),
    "sat": ("#D55E00", "D"),
    "random misalignment in turns same law as sat": ("#56B4E9", "*"),
    "random misalignment in turns": ("#56B4E9", "d"),
    "random misalignment same law as sat": ("#56B4E9", "8"),
    "random misalignment whole range": ("#56B4E9", ">"),
    "random misalignment": ("#56B4E9", "<"),
    "pat": ("#E69F00", "P"),
    "dat": ("#56B4E9", "X"),
    "optical pruning": ("#CC79A7", "v"),
    "pruning": ("#CC79A7", "v"),
}
_OTHERS = tuple(
    (color, marker)
    for marker in ("P", "X", "p", "<", ">", "h", "8", "*")
    for color in ("#E69F00", "#56B4E9", "#7F7F7F")
)
_VARIANTS: tuple[tuple[str, str | tuple[int, tuple[float, ...]]], ...] = (
    ("full", "-"),
    ("none", (0, (5.0, 2.0))),
    ("left", (0, (1.2, 1.6))),
    ("bottom", (0, (6.0, 1.6, 1.2, 1.6))),
    ("right", (0, (3.0, 1.2, 1.2, 1.2, 1.2, 1.2))),
    ("top", (0, (9.0, 2.5))),
)
# The variants of the project's own suites, of all families or of one; every other name is hashed.
_KNOWN_VARIANTS = {
    "": 0,
    "equal gradients": 1,
    "sgd": 1,
    "published step": 2,
    "sgd published step": 3,
    "adaptive": 3,
    "in situ": 1,
    "internal": 1,
    "bp sgd": 3,
    "bp adam": 5,
    "published settings": 2,
    "read out": 1,
    "output": 2,
    "on weights": 1,
    "searched step": 4,
    "published radius": 4,
    "sat rotation alone": 2,
    "sat shift alone": 3,
    "sat scale alone": 4,
    "only": 1,
    "outwards": 2,
    "as printed": 0,
    "by the sign": 1,
    "published code": 5,
    "sat alpha 0.01": 0,
    "sat alpha 0.1": 1,
    "sat alpha 1": 2,
    "sat alpha 10": 3,
}


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")


def _family(label: str) -> tuple[str, str] | None:
    """The family that a label begins with, and the words after it."""
    words = re.sub(r"[^\w.]+", " ", label.lower()).strip()
    for family in _FAMILIES:
        if words == family or words.startswith(family + " "):
            return family, words[len(family) :].strip()
    return None


def _known_variant(family: str, variant: str) -> int | None:
    """The fixed place of a variant, which a family may have of its own."""
    own = _KNOWN_VARIANTS.get(f"{family} {variant}")
    return own if own is not None else _KNOWN_VARIANTS.get(variant)


def _looks(label: str) -> Iterator[MethodStyle]:
    """The looks of a label in order of preference; all there are."""
    known = _family(label)
    if known is not None:
        family, variant = known
        start = _known_variant(family, variant)
        if start is None:
            start = 1 + _digest(variant) % (len(_VARIANTS) - 1)
        for i in range(len(_VARIANTS)):
            yield MethodStyle(*_FAMILIES[family], *_VARIANTS[(start + i) % len(_VARIANTS)])
    start = _digest(label)
    for i in range(start, start + len(_OTHERS) * len(_VARIANTS)):
        variant_of = i // len(_OTHERS) % len(_VARIANTS)
        yield MethodStyle(*_OTHERS[i % len(_OTHERS)], *_VARIANTS[variant_of])


def method_styles(labels: Iterable[str]) -> dict[str, MethodStyle]:
    """Gives each method its look, which follows from its label alone.

    Args:
        labels: Labels of methods. The project's own and their variants (``"SAT, adaptive"``) have
            fixed looks; any other label is hashed to one. Only where two labels of one picture
            would look the same does the later one, in alphabetical order, take the next free look.

    Returns:
        Label to look, in the order given; no two are the same up to 144 methods.
    """
    given = list(dict.fromkeys(labels))
    taken: dict[str, MethodStyle] = {}

    def hashed_last(label: str) -> tuple[bool, str]:
        known = _family(label)
        return (known is None or _known_variant(*known) is None, label)

    for label in sorted(given, key=hashed_last):
        free = (look for look in _looks(label) if look not in taken.values())
        taken[label] = next(free, next(_looks(label)))
    return {label: taken[label] for label in given}
