from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from pnnbench.published.measure import batch_statistics, parameter_product
from pnnbench.published.mrr_checkpoint import load_checkpoint

from .released import random_model, write


def test_batch_statistics_are_those_of_training_mode_and_leave_no_trace(tmp_path: Path) -> None:
    workload = load_checkpoint(write(tmp_path / "a.npz", random_model(3))).workload()
    before = {n: b.clone() for n, b in workload.network.named_buffers()}
    x = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        frozen = workload(x)
        with batch_statistics(workload):
            found = workload(x)
        assert torch.equal(workload(x), frozen)
    assert not torch.allclose(found, frozen, atol=1e-2)
    after = dict(workload.network.named_buffers())
    assert set(after) == set(before)
    assert all(torch.equal(after[n], before[n]) for n in before)
    with torch.no_grad():
        trained = workload.train()(x)
    torch.testing.assert_close(found, trained, rtol=1e-5, atol=1e-5)


def test_products_are_those_of_the_dense_hessian() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(7, 3).double(), torch.randint(2, (7,))
    unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    linear = nn.Parameter(torch.ones(1, dtype=torch.float64))
    parameters = [unused, linear, *net.parameters()]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip([n for n, _ in net.named_parameters()], values[2:], strict=True))
        output = torch.func.functional_call(net, named, (x,))
        return F.cross_entropy(output, y) + values[1].sum()

    blocks = torch.autograd.functional.hessian(loss, tuple(p.detach() for p in parameters))
    size = sum(p.numel() for p in parameters)
    dense = torch.cat(
        [
            torch.cat([b.reshape(p.numel(), -1) for b in row], 1)
            for p, row in zip(parameters, blocks, strict=True)
        ]
    )
    product = parameter_product(loss(*parameters), parameters)
    found = torch.stack([product(e) for e in torch.eye(size, dtype=torch.float64)])
    assert dense.abs().max() > 0.01
    torch.testing.assert_close(found, dense)
