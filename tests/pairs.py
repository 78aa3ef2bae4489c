"""Pairs of a method and a platform: half of them in turn by default, all with ``-m slow``."""

from __future__ import annotations

import pytest


def marks(method: int, platform: int, *, slow: bool = False) -> list[pytest.MarkDecorator]:
    """Marks of a pair, which alternate as the squares of a chessboard do.

    Args:
        method: Place of the method among those that are tried.
        platform: Place of the platform.
        slow: Whether the pair is slow in any case.
    """
    return [pytest.mark.slow] if slow or (method + platform) % 2 else []
