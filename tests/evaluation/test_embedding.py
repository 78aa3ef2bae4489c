"""Features in the plane: the same every time, like beside like."""

from __future__ import annotations

import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.evaluation.embedding import LEAST, embedded


def clusters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(40, 8, generator=generator) + shift for shift in (0.0, 12.0)]


def test_the_same_features_have_the_same_places() -> None:
    first, again = embedded(clusters()), embedded(clusters())
    assert [part.shape for part in first] == [(40, 2), (40, 2)]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)


def test_what_is_alike_lies_together() -> None:
    one, other = embedded(clusters())
    near = torch.cdist(one, one).fill_diagonal_(torch.inf).min(1).values
    assert bool((near < torch.cdist(one, other).min(1).values).all())


def test_too_few_points_and_points_without_a_place_are_refused() -> None:
    with pytest.raises(UserError, match=f"{LEAST - 1} points"):
        embedded([torch.zeros(LEAST - 1, 3)])
    with pytest.raises(UserError, match="not finite"):
        embedded([torch.full((LEAST, 3), torch.nan)])
    assert embedded([torch.eye(LEAST)])[0].shape == (LEAST, 2)
