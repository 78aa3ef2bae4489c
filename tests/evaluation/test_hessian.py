from __future__ import annotations

import gc

import pytest
import torch

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation import hessian as of_hessian
from pnnbench.evaluation.hessian import CHUNK, ControlHessian, deployed, fitting_chunk
from pnnbench.evaluation.lanczos import lanczos
from pnnbench.evaluation.pyhessian_engine import pyhessian_eigenvalue
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mrr_images import MRRDigitsResNet
from pnnbench.workloads.mzi import MZIDigits

from .small import Negated, Quadratic, SmallRings, blobs, exact_hessian, trained


@pytest.mark.parametrize("kind", [SmallRings, Negated])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_eigenvalues_match_the_exact_hessian(kind, dtype):
    workload = trained(kind, dtype)
    x, y = blobs(96, dtype)
    with deployed(workload):
        h = ControlHessian(workload, x, y, chunk=40)
        assert h.size == 396
        pairs = lanczos(h.product, h.size, seed=0, top=3, tol=1e-6, rounding=h.rounding)
        below = lanczos(lambda v: -h.product(v), h.size, seed=0, tol=1e-6, rounding=h.rounding)
    power = pyhessian_eigenvalue(workload, x, y, seed=0, chunk=40, tol=1e-5, max_products=300)
    truth = torch.linalg.eigvalsh(exact_hessian(workload, x, y))
    largest = float(truth[truth.abs().argmax()])
    assert (largest < 0) == (kind is Negated), "the case must be what its name says"
    torch.testing.assert_close(pairs.top, truth.flip(0)[:3], rtol=1e-3, atol=0)
    # In either precision the errors are within their bounds, and these are not idle.
    assert ((pairs.top - truth.flip(0)[:3]).abs() <= pairs.bounds).all()
    assert abs(pairs.lowest - float(truth[0])) <= pairs.lowest_bound
    assert float(pairs.bounds[0]) < (1e-4 if dtype == torch.float32 else 1e-6) * abs(largest)
    assert -float(below.top[0]) == pytest.approx(float(truth[0]), rel=1e-4)
    assert power.value == pytest.approx(largest, rel=1e-3)
    assert power.converged
    assert power.images == 96
    assert 2 <= power.products < 300


def test_products_values_and_gradients_match_the_exact_ones():
    workload = trained(dtype=torch.float64)
    x, y = blobs(50, torch.float64)
    v = torch.randn(396, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with deployed(workload):
        h = ControlHessian(workload, x, y, chunk=7)
        product, quotients, counts = h.product_and_quotients(v)
        value, gradient = h.value_and_gradient()
        moved = h.value(h.at + 1e-5 * v) - h.value(h.at - 1e-5 * v)
    exact = exact_hessian(workload, x, y)
    torch.testing.assert_close(product, exact @ v, rtol=1e-9, atol=1e-12)
    assert counts.tolist() == [7.0] * 7 + [1.0]
    assert float(quotients @ counts) / 50 == pytest.approx(float(v @ exact @ v), rel=1e-9)
    assert value == pytest.approx(workload.loss(workload(x), (x, y)).item(), rel=1e-12)
    assert moved / 2e-5 == pytest.approx(float(gradient @ v), rel=1e-5)


def test_nothing_depends_on_the_chunk_or_on_kept_graphs():
    workload = trained()
    x, y = blobs(90)
    v = torch.randn(396, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    products, values, gradients = [], [], []
    with deployed(workload):
        for chunk, graphs in ((90, 1), (90, 0), (13, 7), (13, 3), (1, 0)):
            h = ControlHessian(workload, x, y, chunk=chunk)
            h.keep_bytes = (graphs + 0.5) * h.graph_bytes()
            first = h.product(v)
            products += [first, h.product(v)]
            assert len(h._kept) == graphs
            h.release()
            assert torch.equal(h.product(v), first)
            values.append(h.value())
            gradients.append(h.value_and_gradient()[1])
    for other in products[1:]:
        assert float((other - products[0]).norm() / products[0].norm()) < 1e-5
    for other in gradients[1:]:
        assert float((other - gradients[0]).norm() / gradients[0].norm()) < 1e-5
    assert max(values) == pytest.approx(min(values), rel=1e-5)


def test_scale_multiplies_the_logits():
    workload = trained(dtype=torch.float64)
    x, y = blobs(40, torch.float64)
    with deployed(workload):
        value = ControlHessian(workload, x, y, scale=0.4).value()
        logits = 0.4 * workload(x)
    assert value == pytest.approx(float(torch.nn.functional.cross_entropy(logits, y)), rel=1e-12)


def test_evaluation_mode_and_the_ideal_device_whatever_the_workload_was_in():
    workload = trained()
    x, y = blobs(64)
    with deployed(workload):
        expected = ControlHessian(workload, x, y).value()
    workload.train()
    with workload.operating(workload.draw_device(1.0, 5)):
        with workload.extra_pass():
            away = float(workload.loss(workload(x), (x, y)))
        with deployed(workload):
            assert ControlHessian(workload, x, y).value() == expected
        assert workload.network.fc.operation is not None
    assert abs(away - expected) > 0.05
    assert workload.training


def test_deployed_restores_after_an_exception_what_was_changed_inside():
    workload = trained()
    before = {k: v.clone() for k, v in workload.state_dict().items()}

    def change():
        with deployed(workload):
            assert not any(p.requires_grad for p in workload.parameters())
            with torch.no_grad():
                workload.network.fc.current.add_(1.0)
                workload.network.norm.running_mean.add_(1.0)
            torch.randn(3)
            raise RuntimeError("inside")

    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"):
        change()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in workload.state_dict().items())
    assert all(p.requires_grad for p in workload.parameters())


def test_linear_loss_has_a_zero_hessian():
    class Linear(Quadratic):
        def loss(self, outputs, batch):
            return outputs.mean()

    workload = Linear(torch.zeros(4))
    with deployed(workload):
        h = ControlHessian(workload, torch.randn(10, 4), torch.zeros(10), chunk=3)
        assert torch.equal(h.product(torch.ones(4).double()), torch.zeros(4).double())


def test_samples_that_do_not_fit_are_user_errors():
    workload = SmallRings()
    x, y = blobs(8)
    for images, labels in ((x, y[:4]), (x[:0], y[:0])):
        with pytest.raises(UserError, match="sample"):
            ControlHessian(workload, images, labels)
    with pytest.raises(UserError, match="chunk"):
        ControlHessian(workload, x, y, chunk=0)


@pytest.mark.slow
def test_lambda_max_of_a_residual_network_does_not_depend_on_the_chunk():
    workload = MRRDigitsResNet(0)
    data = DataModule("digits", holdout=0, limit_train=160)
    images, labels = data.train_tensors()
    workload.calibrate(images)
    found = []
    with deployed(workload):
        for chunk, kept in ((16, 0.0), (64, 0.0), (160, 2e9)):
            hessian = ControlHessian(workload, images, labels, chunk=chunk, keep_bytes=kept)
            found.append(float(lanczos(hessian.product, hessian.size, seed=1, tol=1e-7).top[0]))
    assert found == pytest.approx([found[-1]] * 3, rel=1e-6)


def test_a_chunk_fits_into_the_memory_for_its_graph(monkeypatch):
    workload = MRRDigitsResNet(0)
    images, labels = DataModule("digits", limit_train=64).train_tensors()
    with deployed(workload):
        assert fitting_chunk(workload, images, labels) == CHUNK  # small networks: as ever
        whole = ControlHessian(workload, images, labels, chunk=64).graph_bytes()
        monkeypatch.setattr(of_hessian, "GRAPH_BYTES", whole / 2)
        chunk = fitting_chunk(workload, images, labels)
        held = ControlHessian(workload, images, labels, chunk=chunk).graph_bytes()
    assert 16 <= chunk <= 32
    assert 0.9 * whole / 2 < held <= 1.01 * whole / 2


def test_a_chunk_is_large_where_the_weights_take_most_of_the_memory():
    workload = MZIDigits(0)
    images, labels = DataModule("digits", limit_train=1000).train_tensors()
    with deployed(workload):
        chunk = fitting_chunk(workload, images, labels)
        assert chunk > 2 * CHUNK
        weights, whole = (
            ControlHessian(workload, images[:n], labels[:n], chunk=n).graph_bytes()
            for n in (2, 1000)
        )
        assert chunk == pytest.approx(8 * weights / ((whole - weights) / 998), rel=0.1)
        vector = torch.linspace(-1.0, 1.0, ControlHessian(workload, images, labels).size).double()
        products = [
            ControlHessian(workload, images, labels, chunk=n).product(vector)
            for n in (chunk, CHUNK)
        ]
    torch.testing.assert_close(*products, rtol=1e-4, atol=1e-6)


def test_no_graph_outlives_its_hessian() -> None:
    """One graph of each job is a process that grows until it is ended."""

    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    workload = MRRDigits(0).eval()
    x, y = DataModule("digits", limit_train=8).train_tensors()

    def products() -> None:
        with deployed(workload, None, digital=True):
            hessian = ControlHessian(workload, x, y, chunk=4)
            hessian.product(torch.ones(hessian.size, dtype=torch.float64))
            assert hessian.graph_bytes() > 0
            fitting_chunk(workload, x, y)

    products()
    before = alive()
    for _ in range(3):
        products()
    assert alive() == before
