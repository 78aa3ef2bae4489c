"""Finds texts of a picture that overlap or stick out."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


def in_the_way(figure: Figure, monkeypatch: pytest.MonkeyPatch, more_than: int = 10) -> list[str]:
    """Draws a figure of more than so many texts and names those that overlap or stick out."""
    drawn: list[Text] = []
    draw = Text.draw

    def spy(self: Text, renderer: object) -> None:
        draw(self, renderer)
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", spy)
        figure.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in dict.fromkeys(drawn)]
    edge = figure.bbox.padded(0.5)
    bad = [t for t, b in boxes if not (edge.contains(b.x0, b.y0) and edge.contains(b.x1, b.y1))]
    for (a, one), (b, other) in combinations(boxes, 2):
        if one.padded(-0.5).overlaps(other.padded(-0.5)):
            bad.append(f"{a} / {b}")
    assert len(boxes) > more_than
    return bad
