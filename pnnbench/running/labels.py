"""Labels of rows: nobody else's, and from strangers of letters that read as they look."""

from __future__ import annotations

import re
import unicodedata

from pnnbench.errors import UserError
from pnnbench.lookup import registered

#: What a label may have, in words.
LETTERS = "Latin letters, small Greek ones, digits, signs and single spaces"
_APART = re.compile(r"[^a-z0-9]+")


def strange_character(label: str) -> str | None:
    """Finds a character of a label that may be taken for another one, or for none.

    Letters of other alphabets that look like Latin ones, wide and joined forms, marks that lie over
    a letter, blanks that are no spaces, and spaces at an end or side by side.

    Args:
        label: The label.

    Returns:
        Its code point, such as ``"U+0412"``; None if there is none.
    """
    for i, sign in enumerate(label):
        blank = sign == " " and (i in (0, len(label) - 1) or label[i - 1] == " ")
        if blank or not _reads_as_itself(sign):
            return f"U+{ord(sign):04X}"
    return None


def _reads_as_itself(sign: str) -> bool:
    if sign.isascii():
        return sign.isprintable()
    if unicodedata.normalize("NFKC", sign) != sign:
        return False
    category, name = unicodedata.category(sign), unicodedata.name(sign, "")
    if category in ("Lu", "Ll"):
        return name.startswith(("LATIN SMALL LETTER", "LATIN CAPITAL LETTER", "GREEK SMALL LETTER"))
    return category in ("Sm", "Pd")


def check_owner(label: str, method: str, where: str = "row.label") -> None:
    """Refuses the name of a method of this package as the label of another one.

    Args:
        label: The label; of another's method what stands before its first comma counts too.
        method: Registered name or class path of the row's method.
        where: The label's place, for the message.

    Raises:
        UserError: If a reader would take the row for one of that method.
    """
    owners: dict[str, set[str]] = {}
    points = registered("methods")
    for name, point in points.items():
        for said in (name, point.value.partition(":")[2]):
            owners.setdefault(_folded(said), set()).add(name)
    ours = any(method in names for names in owners.values())
    for said in (label,) if ours else (label, label.partition(",")[0]):
        theirs = owners.get(_folded(said), {method})
        if method not in theirs:
            name = min(theirs)
            package = points[name].value.partition(".")[0].partition(":")[0]
            raise UserError(
                f"{where} is {label!a:.80}, the name of the method {name} of {package}, and the "
                f"row is of {method!a:.80}",
                allowed="a name of its own",
                next_step="give the row another label, or the class another name",
            )


def _folded(text: str) -> str:
    words = [word for word in _APART.split(text.casefold()) if word != "on"]
    return "".join(words)
