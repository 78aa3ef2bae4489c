"""Signs that a terminal or a browser obeys instead of showing: names in records may hold any."""

from __future__ import annotations

#: Such a sign -> how Python and JSON write it. JSON text has none below 32 left, so that what is
#: written here of the others reads the same in it.
_SHOWN = {
    sign: f"\\x{sign:02x}" if sign < 32 else f"\\u{sign:04x}"
    for sign in (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
    if chr(sign) not in "\n\t"
}


def visible(text: str) -> str:
    """A text in which nothing is obeyed or turns the line around, lines and tabs apart.

    Args:
        text: What is to be shown; JSON stays the JSON of the same values.
    """
    return text.translate(_SHOWN)
