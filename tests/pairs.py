"""Pairs of a method and a platform: half of them in turn by default, all with ``-m slow``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import pytest

M = TypeVar("M")
P = TypeVar("P")
Marks = list[pytest.MarkDecorator]


def in_turn(
    methods: Iterable[M], platforms: Iterable[P], supported: Callable[[M, P], bool]
) -> Iterator[tuple[M, P, Marks]]:
    """Pairs that go together, with marks that alternate as the squares of a chessboard do.

    The only platform of a method is never slow.
    """
    every = list(platforms)
    for i, method in enumerate(methods):
        found = [platform for platform in every if supported(method, platform)]
        for j, platform in enumerate(found):
            later = len(found) > 1 and (i + j) % 2
            yield method, platform, [pytest.mark.slow] if later else []
