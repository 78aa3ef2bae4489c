from __future__ import annotations

import warnings

import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.evaluation.pyhessian_engine import pyhessian_eigenvalue

from .small import Quadratic, blobs, exact_hessian, trained


def test_seed_decides_and_chunks_do_not():
    workload = trained()
    x, y = blobs(60)
    a = pyhessian_eigenvalue(workload, x, y, seed=4)
    torch.randn(5)
    assert pyhessian_eigenvalue(workload, x, y, seed=4) == a
    b = pyhessian_eigenvalue(workload, x, y, seed=4, chunk=7)
    assert b.value == pytest.approx(a.value, rel=1e-5)
    assert b.products == a.products
    assert pyhessian_eigenvalue(workload, x, y, seed=5).value != a.value


def test_workload_is_untouched_and_nothing_is_warned_about():
    workload = trained()
    workload.train()
    workload.network.fc.bias.requires_grad_(False)
    x, y = blobs(40)
    workload.loss(workload(x), (x, y)).backward()
    grads = {
        n: (p.grad, p.grad.clone()) for n, p in workload.named_parameters() if p.grad is not None
    }
    state = {k: v.clone() for k, v in workload.state_dict().items()}
    counted, rng = workload.gradient_evaluations, torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pyhessian_eigenvalue(workload, x, y, seed=0)
    assert all(torch.equal(v, state[k]) for k, v in workload.state_dict().items())
    for name, p in workload.named_parameters():
        assert p.requires_grad == (name != "network.fc.bias")
        if name in grads:
            assert p.grad is grads[name][0]
            assert torch.equal(p.grad, grads[name][1])
        else:
            assert p.grad is None
    assert workload.training
    assert workload.network.norm.training
    assert workload.gradient_evaluations == counted
    assert torch.equal(torch.get_rng_state(), rng)


def test_other_parameters_by_name():
    workload = trained(dtype=torch.float64)
    x, y = blobs(50, torch.float64)
    current = {"network.conv.current": workload.network.conv.current}
    value = pyhessian_eigenvalue(workload, x, y, seed=0, parameters=current, tol=1e-6).value
    block = exact_hessian(workload, x, y)[:36, :36]
    truth = torch.linalg.eigvalsh(block)
    assert value == pytest.approx(float(truth[truth.abs().argmax()]), rel=1e-3)


def test_unused_parameter_is_named():
    workload = trained()
    workload.spare = torch.nn.Parameter(torch.zeros(3))
    x, y = blobs(10)
    chosen = {**workload.controls(), "spare": workload.spare}
    with pytest.raises(UserError, match="does not depend on spare"):
        pyhessian_eigenvalue(workload, x, y, seed=0, parameters=chosen)


def test_limit_is_reported():
    g = torch.Generator().manual_seed(0)
    workload = Quadratic(torch.zeros(30))
    x = torch.randn(200, 30, generator=g)
    result = pyhessian_eigenvalue(workload, x, x[:, 0], seed=0, tol=0.0, max_products=4)
    assert result.products == 4
    assert not result.converged
    with pytest.raises(UserError, match="max_products"):
        pyhessian_eigenvalue(workload, x, x[:, 0], seed=0, max_products=1)
