from __future__ import annotations

import torch
from torch import Tensor, nn

from pnnbench.workloads.replaced import call_replaced


class Twice(nn.Module):
    """One module under two names, and one parameter in two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.same = self.one
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.own = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.same(self.one(x)))) * self.own


def test_a_parameter_is_replaced_wherever_it_is_used_and_put_back() -> None:
    module, x = Twice(), torch.randn(2, 3)
    before = dict(module.named_parameters())
    assert list(before) == ["own", "one.weight", "one.bias", "first.weight"]
    other = {n: (2.0 * p).detach().requires_grad_() for n, p in before.items()}
    for _ in range(2):
        y = call_replaced(module, other, x)
        assert all(p is before[n] for n, p in module.named_parameters())
    expected = x
    for _ in range(2):
        expected = expected @ other["one.weight"].T + other["one.bias"]
    for _ in range(2):
        expected = expected @ other["first.weight"].T
    torch.testing.assert_close(y, expected * other["own"])
    gradients = torch.autograd.grad(y.square().sum(), list(other.values()))
    assert all(bool(g.any()) for g in gradients)


def test_the_rest_stays_as_it_is() -> None:
    module, x = Twice(), torch.randn(2, 3)
    y = call_replaced(module, {"own": torch.zeros(3)}, x)
    assert not y.any()
    assert bool(module(x).any())
