from __future__ import annotations

import json
import math

import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.sharpness import control_spectrum, image_interval, measure_sharpness
from pnnbench.platforms.base import Device

from .small import Negated, Quadratic, SmallRings, blobs, exact_hessian, trained


@pytest.fixture(scope="module")
def measured():
    workload = trained()
    x, y = blobs(120)
    devices = [workload.draw_device(0.1, s) for s in range(3)]
    stages = []
    result = measure_sharpness(
        workload, x, y, seed=0, devices=devices, subsample=80, progress=lambda *p: stages.append(p)
    )
    return workload, x, y, devices, result, stages


def test_every_figure_against_its_definition(measured):
    workload, x, y, devices, r, stages = measured
    assert json.loads(json.dumps(r, allow_nan=False)) == r
    exact = exact_hessian(trained(), x, y)
    truth = torch.linalg.eigvalsh(exact)
    assert r["lambda_max"] == pytest.approx(float(truth[-1]), rel=1e-3)
    rounding = 1e-5 * float(truth[-1])  # of products in float32, which the bound leaves out
    assert abs(r["lambda_max"] - float(truth[-1])) <= 2 * r["lambda_max_error_bound"] + rounding
    assert r["top"] == pytest.approx([float(truth[-1]), float(truth[-2])], rel=1e-2)
    assert abs(r["lambda_min"] - float(truth[0])) <= r["lambda_min_error_bound"]
    assert r["lambda_max_low"] < r["lambda_max"] < r["lambda_max_high"]
    assert r["common_mode"] == pytest.approx(float(exact.sum()), rel=1e-3)
    assert (r["n_images"], r["n_controls"], r["converged"]) == (120, 396, 1)
    logits = workload(x).detach()
    assert r["train_loss"] == pytest.approx(float(workload.loss(logits, (x, y))), rel=1e-5)
    assert {s for s, _, _ in stages} == {
        "lambda_max",
        "lambda_max_calibrated",
        "lambda_max_subsample",
    }

    part = torch.linalg.eigvalsh(exact_hessian(trained(), x[:80], y[:80]))
    assert r["pyhessian_images"] == 80
    assert r["lambda_max_pyhessian"] == pytest.approx(float(part[-1]), rel=2e-3)
    assert r["lambda_max_subsample"] == pytest.approx(float(part[-1]), rel=1e-3)
    assert abs(r["lambda_max_subsample"] - r["lambda_max"]) > 1e-3 * r["lambda_max"]

    assert r["temperature_at_bound"] == 0
    with deployed(workload):
        hot = ControlHessian(workload, x, y, temperature=r["temperature"])
        nearby = [
            ControlHessian(workload, x, y, temperature=r["temperature"] * f) for f in (0.9, 1.1)
        ]
        assert hot.value() <= min(h.value() for h in nearby)
        assert hot.value() <= r["train_loss"]
        columns = [hot.product(e) for e in torch.eye(396, dtype=torch.float64)[:3]]

    class Calibrated(SmallRings):
        def loss(self, outputs, batch):
            return super().loss(outputs / r["temperature"], batch)

    calibrated = exact_hessian(trained(Calibrated), x, y)
    torch.testing.assert_close(torch.stack(columns), calibrated[:3], rtol=1e-3, atol=1e-5)
    assert r["lambda_max_calibrated"] == pytest.approx(
        float(torch.linalg.eigvalsh(calibrated)[-1]), rel=1e-3
    )
    assert r["ball_radius"] == pytest.approx(3e-4 * math.sqrt(396))
    assert r["ball_increase"] >= 0.45 * float(part[-1]) * r["ball_radius"] ** 2
    assert len(r["device_increases"]) == len(devices)
    assert r["device_increase"] == pytest.approx(sum(r["device_increases"]) / 3)


def test_same_seed_same_figures_and_chunks_do_not_matter(measured):
    workload, x, y, devices, r, _ = measured
    torch.randn(7)
    assert measure_sharpness(workload, x, y, seed=0, devices=devices, subsample=80) == r
    other = measure_sharpness(workload, x, y, seed=0, devices=devices, subsample=80, chunk=3)
    for name in ("lambda_max", "lambda_max_calibrated", "train_loss", "temperature", "common_mode"):
        assert other[name] == pytest.approx(r[name], rel=1e-4), name
    for name in ("ball_increase", "device_increase", "lambda_max_pyhessian"):
        assert other[name] == pytest.approx(r[name], rel=1e-3), name
    another = measure_sharpness(workload, x, y, seed=1, devices=devices, subsample=80)
    assert another["lambda_max"] == pytest.approx(r["lambda_max"], rel=1e-3)
    assert another["lambda_max"] != r["lambda_max"]


def test_workload_is_untouched():
    workload = trained()
    x, y = blobs(60)
    devices = [workload.draw_device(0.1, 0)]
    workload.train()
    workload.network.norm.eval()
    workload.loss(workload(x), (x, y)).backward()
    grads = {n: (p.grad, p.grad.clone()) for n, p in workload.named_parameters()}
    state = {k: v.clone() for k, v in workload.state_dict().items()}
    rng, counted = torch.get_rng_state(), workload.gradient_evaluations
    measure_sharpness(workload, x, y, seed=0, devices=devices)
    assert torch.equal(torch.get_rng_state(), rng)
    assert workload.gradient_evaluations == counted
    assert all(torch.equal(v, state[k]) for k, v in workload.state_dict().items())
    for name, p in workload.named_parameters():
        assert p.requires_grad
        assert p.grad is grads[name][0]
        assert torch.equal(p.grad, grads[name][1])
    assert workload.training
    assert not workload.network.norm.training
    assert all(layer.operation is None for layer in workload.layers().values())


def test_where_the_negative_eigenvalue_is_larger_only_pyhessian_follows_it():
    workload = trained(Negated)
    x, y = blobs(60)
    r = measure_sharpness(workload, x, y, seed=0, devices=[workload.draw_device(0.1, 0)])
    assert r["lambda_max"] > 0.0
    assert abs(r["lambda_min"]) > 3 * r["lambda_max"]
    assert r["lambda_max_pyhessian"] == pytest.approx(r["lambda_min"], rel=1e-2)
    assert r["lambda_max_subsample"] == r["lambda_max"]


def test_interval_covers_the_eigenvalue_of_the_population():
    scale = torch.tensor([2.0, 1.0, 0.7, 0.5, 0.3], dtype=torch.float64)
    workload = Quadratic(torch.zeros(5)).double()
    direction = torch.zeros(5, dtype=torch.float64)
    direction[0] = 1.0
    g = torch.Generator().manual_seed(0)
    hits, repeats = 0, 300
    with deployed(workload):
        for _ in range(repeats):
            x = scale * torch.randn(200, 5, generator=g, dtype=torch.float64)
            h = ControlHessian(workload, x, torch.zeros(200), chunk=10)
            top = torch.linalg.eigh(x.T @ x / 200)[1][:, -1]
            low, high = image_interval(*h.product_and_quotients(top)[1:])
            hits += low <= 4.0 <= high
    # 95 % nominal; 3 standard errors of the coverage are 4 points, skewness costs another 2.
    assert 0.89 <= hits / repeats <= 0.99


def test_interval_of_uneven_chunks_and_of_one():
    assert image_interval(torch.tensor([3.0]).double(), torch.tensor([5.0]).double()) == (3.0, 3.0)
    q, n = torch.tensor([1.0, 3.0]).double(), torch.tensor([10.0, 10.0]).double()
    low, high = image_interval(q, n)
    # Two equal chunks: mean 2, standard error 1, t quantile 12.706.
    assert low == pytest.approx(2 - 12.7062, abs=1e-3)
    assert high == pytest.approx(2 + 12.7062, abs=1e-3)


def test_spectrum_has_the_trace_of_the_exact_hessian():
    workload = trained()
    x, y = blobs(60)
    density = control_spectrum(workload, x, y, seed=0, probes=12, steps=15)
    exact = exact_hessian(trained(), x, y)
    mean, error = density.moment(1)
    assert abs(mean - float(exact.trace())) < 4 * error
    assert error < 0.3 * abs(float(exact.trace()))
    top = float(torch.linalg.eigvalsh(exact)[-1])
    assert float(density.nodes.max()) == pytest.approx(top, rel=1e-2)


def test_a_loss_without_classes_has_no_temperature():
    g = torch.Generator().manual_seed(0)
    workload = Quadratic(torch.randn(12, generator=g))
    x = torch.randn(40, 12, generator=g)
    r = measure_sharpness(workload, x, torch.zeros(40), seed=0, devices=[Device.ideal()])
    assert "temperature" not in r
    assert "lambda_max_calibrated" not in r
    truth = torch.linalg.eigvalsh((x.T @ x / 40).double())
    assert r["lambda_max"] == pytest.approx(float(truth[-1]), rel=1e-3)


def test_diverged_model_is_a_user_error():
    workload = trained()
    with torch.no_grad():
        workload.network.fc.current[0, 0] = math.nan
    x, y = blobs(30)
    with pytest.raises(UserError, match="train_loss is nan"):
        measure_sharpness(workload, x, y, seed=0, devices=[workload.draw_device(0.1, 0)])
