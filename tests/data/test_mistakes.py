"""Mistakes in data of one's own, each told with what to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnnbench.data import Arrays, DataSet
from pnnbench.data.items import stacked
from pnnbench.errors import UserError

INPUTS, CLASSES, TEXTS = np.zeros((4, 3)), [0, 1, 0, 1], ["a", "b", "a", "b"]


def whole(inputs: Any = INPUTS, targets: Any = CLASSES) -> Arrays:
    return Arrays("own", inputs, targets, INPUTS, CLASSES, 2)


class Sound(DataSet):
    input_shape = (3,)
    n_classes = 2

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        return whole()


class Bare(DataSet):
    def load(self) -> Arrays:  # type: ignore[override]
        return whole()


class Shaped(Sound):
    input_shape = (1, 3)


class Counted(Sound):
    n_classes = 3


NUMBER = "texts; number them with np.unique(y, return_inverse=True)"
MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: whole(targets=TEXTS), f"train_targets are no array: {NUMBER}"),
    (lambda: whole(targets=np.array(TEXTS)), NUMBER),
    (lambda: whole(targets=np.array(TEXTS, dtype=object)), NUMBER),
    (lambda: whole(inputs=np.array([TEXTS] * 4)), f"train_inputs are no array: {NUMBER}"),
    (lambda: stacked([(INPUTS[0], "a")], "here"), f"here: item 0 is no pair of numbers: {NUMBER}"),
    (lambda: stacked([("a", 1)], "here"), NUMBER),
    (lambda: stacked([(INPUTS[0], np.str_("a"))], "here"), NUMBER),
    (lambda: Bare().read(), "load takes (root, download)"),
    (lambda: Shaped().read(), "states input_shape = (1, 3), and loads (3,)"),
    (lambda: Counted().read(), "states n_classes = 3, and loads 2"),
]


@pytest.mark.parametrize(("call", "words"), MISTAKES, ids=[str(i) for i in range(len(MISTAKES))])
def test_a_mistake_is_told_with_what_to_write(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        call()
    assert words in str(error.value)


def test_what_is_stated_may_be_a_list_or_be_read() -> None:
    class Listed(Sound):
        input_shape = [3]  # type: ignore[assignment]  # noqa: RUF012

    class Computed(Sound):
        @property
        def n_classes(self) -> int:  # type: ignore[override]
            return 2

    for cls in (Sound, Listed, Computed):
        assert cls().read().n_classes == 2
