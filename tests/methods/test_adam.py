from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pnnbench.methods.adam import Adam

SHAPES = [(7, 3), (5,), (), (64, 100)]


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def groups(chosen: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": chosen[:2], "lr": 0.05}, {"params": chosen[2:], "lr": 0.002}]


def train(cls: type, steps: int = 12, skip: int = 3, **options: Any) -> tuple[list[Tensor], Any]:
    chosen = parameters(options.pop("dtype", torch.float32))
    optimizer = cls(groups(chosen), **options)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        for i, p in enumerate(chosen):
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            if i == 1 and step % skip == 0:
                p.grad = None  # its own age
        optimizer.step()
        schedule.step()
    return [p.detach() for p in chosen], optimizer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": torch.float64},
        {"betas": (0.5, 0.9), "eps": 1e-4},
        {"amsgrad": True},
        {"weight_decay": 0.1},
        {"maximize": True},
    ],
)
def test_it_has_the_bits_of_torchs_own(options: dict[str, Any]) -> None:
    ours, mine = train(Adam, **options)
    theirs, other = train(torch.optim.Adam, foreach=False, **options)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for a, b in zip(mine.state.values(), other.state.values(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_either_goes_on_from_the_others_checkpoint() -> None:
    _, optimizer = train(Adam)
    kept = copy.deepcopy(optimizer.state_dict())
    found = []
    for cls in (Adam, torch.optim.Adam):
        chosen = parameters()
        other = cls(groups(chosen))
        other.load_state_dict(copy.deepcopy(kept))
        for p in chosen:
            p.grad = torch.ones_like(p)
        other.step()
        found.append([p.detach() for p in chosen])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_closure_is_taken_with_gradients() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer = Adam([p], lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert float(optimizer.step(closure)) == 3.0
    assert bool((p < 1.0).all())


def test_hooks_run() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer, seen = Adam([p], lr=0.1), []
    optimizer.register_step_post_hook(lambda *args: seen.append(1))
    optimizer.step()
    assert seen == [1]
