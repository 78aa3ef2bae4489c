from __future__ import annotations

import json
import math

import pytest
import torch
import torchmetrics
from hypothesis import assume, given
from hypothesis import strategies as st

from pnnbench.evaluation import sharpness as of_sharpness
from pnnbench.evaluation.companions import ball_increase
from pnnbench.evaluation.gaps import Gaps, NotFiniteError
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.points import (
    MINIMUM_GAIN,
    DisagreementError,
    falls_short,
    image_interval,
    is_minimum,
    require_agreement,
)
from pnnbench.evaluation.pyhessian_engine import pyhessian_eigenvalue
from pnnbench.evaluation.sharpness import measure_sharpness
from pnnbench.evaluation.spectrum import control_spectrum
from pnnbench.platforms.base import Device, derive_seed

from .small import Negated, Quadratic, SmallRings, blobs, exact_hessian, trained

HELD_OUT = blobs(90, seed=7)


@pytest.fixture(scope="module")
def measured():
    workload = trained()
    x, y = blobs(120)
    devices = [workload.draw_device(0.1, s) for s in range(3)]
    stages = []
    result = measure_sharpness(
        workload,
        x,
        y,
        seed=0,
        devices=devices,
        held_out=HELD_OUT,
        subsample=80,
        progress=lambda *p: stages.append(p),
    )
    return workload, x, y, devices, result, stages


def test_every_figure_against_its_definition(measured):
    workload, x, y, devices, r, stages = measured
    assert json.loads(json.dumps(r, allow_nan=False)) == r
    exact = exact_hessian(trained(), x, y)
    truth = torch.linalg.eigvalsh(exact)
    assert r["lambda_max"] == pytest.approx(float(truth[-1]), rel=1e-3)
    assert abs(r["lambda_max"] - float(truth[-1])) <= r["lambda_max_error_bound"]
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

    assert r["softmax_scale_at_bound"] == 0
    assert r["softmax_scale_images"] == 90
    with deployed(workload):
        unseen, *nearby = (
            ControlHessian(workload, *HELD_OUT, scale=r["softmax_scale"] * f).value()
            for f in (1.0, 0.9, 1.1)
        )
        assert unseen <= min(nearby)
        hot = ControlHessian(workload, x, y, scale=r["softmax_scale"])
        columns = [hot.product(e) for e in torch.eye(396, dtype=torch.float64)[:3]]

    class Calibrated(SmallRings):
        def loss(self, outputs, batch):
            return super().loss(outputs * r["softmax_scale"], batch)

    calibrated = exact_hessian(trained(Calibrated), x, y)
    torch.testing.assert_close(torch.stack(columns), calibrated[:3], rtol=1e-3, atol=1e-5)
    assert r["lambda_max_calibrated"] == pytest.approx(
        float(torch.linalg.eigvalsh(calibrated)[-1]), rel=1e-3
    )
    assert r["ball_radius"] == 0.5
    assert r["ball_radius_rms"] == pytest.approx(0.5 / math.sqrt(396))
    assert r["point"] == {"device_seed": None, "severity": 0.0}
    with deployed(workload):
        _, gradient = ControlHessian(workload, x, y).value_and_gradient()
    assert r["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert r["ball_increase"] >= 0.45 * float(part[-1]) * r["ball_radius"] ** 2
    assert len(r["device_increases"]) == len(devices)
    mean = sum(r["device_increases"]) / 3
    assert r["device_increase"] == pytest.approx(mean)
    error = math.sqrt(sum((i - mean) ** 2 for i in r["device_increases"]) / 2 / 3)
    # Three devices: the quantile of Student's t is 4.303.
    assert r["device_increase_high"] == pytest.approx(mean + 4.30265 * error, rel=1e-4)
    assert r["device_increase_low"] == pytest.approx(mean - 4.30265 * error, rel=1e-4)


def test_same_seed_same_figures_and_chunks_do_not_matter(measured):
    workload, x, y, devices, r, _ = measured
    torch.randn(7)
    assert (
        measure_sharpness(workload, x, y, seed=0, devices=devices, held_out=HELD_OUT, subsample=80)
        == r
    )
    other = measure_sharpness(
        workload, x, y, seed=0, devices=devices, held_out=HELD_OUT, subsample=80, chunk=17
    )
    for name in (
        "lambda_max",
        "lambda_max_calibrated",
        "train_loss",
        "softmax_scale",
        "guessing_loss",
        "common_mode",
    ):
        assert other[name] == pytest.approx(r[name], rel=1e-4), name
    for name in ("ball_increase", "device_increase", "lambda_max_pyhessian"):
        assert other[name] == pytest.approx(r[name], rel=1e-3), name
    another = measure_sharpness(
        workload, x, y, seed=1, devices=[], subsample=80, check=False, ball_steps=1
    )
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
    elsewhere = control_spectrum(
        workload, x, y, seed=0, device=workload.draw_device(0.5, 0), probes=2, steps=15
    )
    assert float(elsewhere.nodes.max()) != pytest.approx(top, rel=1e-2)


def test_a_loss_that_follows_the_scale_of_the_outputs_is_not_calibrated():
    g = torch.Generator().manual_seed(0)
    workload = Regression(torch.randn(12, generator=g))
    x = torch.randn(40, 12, generator=g)
    gaps = Gaps()
    r = measure_sharpness(
        workload, x, torch.randn(40, generator=g), seed=0, devices=[Device.ideal()], gaps=gaps
    )
    assert "softmax_scale" not in r
    assert "lambda_max_calibrated" not in r
    assert [(gap.part, gap.type) for gap in gaps.found] == [
        ("sharpness.lambda_max_calibrated", "left-out")
    ]
    assert r["at_guessing"] == 1  # random controls explain nothing of random targets
    truth = torch.linalg.eigvalsh((x.T @ x / 40).double())
    assert r["lambda_max"] == pytest.approx(float(truth[-1]), rel=1e-3)


class Regression(Quadratic):
    """The quadratic with its mean square as the metric."""

    metric_name = "mse"

    def metric(self):
        return torchmetrics.MeanSquaredError()


def parity(outputs):
    """The strongest even and the strongest odd of ten logits."""
    return outputs.unflatten(1, (5, 2)).amax(1)


class Odd(SmallRings):
    """Two classes of its own, made from ten labels: is the label odd?"""

    n_classes = 2

    def loss(self, outputs, batch):
        return super().loss(parity(outputs), (batch[0], batch[1] % 2))

    def metric(self):
        metric = super().metric()
        update = metric.update
        metric.update = lambda outputs, labels: update(parity(outputs), labels % 2)
        return metric


class OneHot(SmallRings):
    """Mean square against one-hot labels."""

    def loss(self, outputs, batch):
        return torch.nn.functional.mse_loss(
            0.01 * (outputs - outputs.mean(1, keepdim=True)),
            torch.nn.functional.one_hot(batch[1], 10).to(outputs),
        )


@pytest.mark.parametrize("kind", [Odd, OneHot])
def test_companions_take_the_workloads_own_loss_and_labels(kind):
    workload = trained(kind)
    x, y = blobs(80)
    gaps = Gaps()
    devices = [workload.draw_device(0.1, 0)]
    r = measure_sharpness(workload, x, y, seed=0, devices=devices, held_out=(x, y), gaps=gaps)
    assert gaps.found == []

    class Scaled(kind):
        def loss(self, outputs, batch):
            return super().loss(outputs * r["softmax_scale"], batch)

    truth = torch.linalg.eigvalsh(exact_hessian(trained(Scaled), x, y))
    assert r["lambda_max_calibrated"] == pytest.approx(float(truth[-1]), rel=2e-3)
    with deployed(workload):
        at, *near = (
            ControlHessian(workload, x, y, scale=r["softmax_scale"] * f).value()
            for f in (1.0, 0.8, 1.25)
        )
    assert r["softmax_scale_at_bound"] == 0
    assert at <= min(near)


def test_a_network_at_chance_says_so_and_a_trained_one_does_not():
    x, y = blobs(256, seed=1)
    for workload, expected in ((trained(steps=60), 0), (SmallRings(init_seed=3).eval(), 1)):
        r = measure_sharpness(workload, x, y, seed=0, devices=[])
        assert r["at_guessing"] == expected
        shares = torch.bincount(y).double() / len(y)
        entropy = -float((shares * shares.log()).sum())
        assert r["guessing_loss"] == pytest.approx(entropy, rel=1e-4)
    # A faint answer is an answer.
    workload = trained(steps=60)
    with torch.no_grad():
        workload.network.fc.register_forward_hook(lambda module, args, out: 0.002 * out)
    r = measure_sharpness(workload, x, y, seed=0, devices=[])
    assert r["train_loss"] > 0.98 * r["guessing_loss"]
    assert r["at_guessing"] == 0


def test_diverged_model_is_a_user_error():
    workload = trained()
    with torch.no_grad():
        workload.network.fc.current[0, 0] = math.nan
    x, y = blobs(30)
    for gaps in (None, Gaps()):
        with pytest.raises(NotFiniteError, match="train_loss is nan"):
            measure_sharpness(
                workload, x, y, seed=0, devices=[workload.draw_device(0.1, 0)], gaps=gaps
            )


def test_a_loss_that_cannot_be_differentiated_twice_keeps_what_needs_no_hessian():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return z.clone()

        @staticmethod
        def backward(ctx, gradient):
            if torch.is_grad_enabled():  # asked for a graph of the gradient
                raise RuntimeError("no second derivative")
            return gradient

    class Rough(SmallRings):
        def loss(self, outputs, batch):
            return super().loss(Once.apply(outputs), batch)

    workload = trained(Rough)
    x, y = blobs(60)
    gaps = Gaps()
    devices = [workload.draw_device(0.1, 0)]
    r = measure_sharpness(
        workload, x, y, seed=0, devices=devices, held_out=(x, y), gaps=gaps, subsample=40
    )
    assert {gap.part.partition(".")[2] for gap in gaps.found} == {
        "lambda_max",
        "common_mode",
        "lambda_max_calibrated",
        "lambda_max_subsample",
        "lambda_max_pyhessian",
        "is_minimum",
    }
    types = {gap.part: gap.type for gap in gaps.found}
    assert types.pop("sharpness.is_minimum") == "left-out"  # there is no curvature to judge by
    assert set(types.values()) == {"error"}
    assert "lambda_max" not in r
    smooth = measure_sharpness(trained(), x, y, seed=0, devices=devices, subsample=40)
    for name in ("train_loss", "guessing_loss", "at_guessing", "device_increase"):
        assert r[name] == pytest.approx(smooth[name], rel=1e-4), name
    assert r["ball_increase"] > 0.0
    with pytest.raises(RuntimeError, match="no second derivative"):
        measure_sharpness(workload, x, y, seed=0, devices=devices)


def test_a_device_without_a_finite_loss_leaves_the_others_and_no_mean(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("pnnbench.platforms.static_errors.LARGEST", 1.8e308)
    workload = trained()
    x, y = blobs(60)
    good, bad = (workload.draw_device(0.1, seed) for seed in (0, 1))
    bad.errors["fc"]["bias"].fill_(3e38)  # the sum over the inputs overflows
    gaps = Gaps()
    r = measure_sharpness(workload, x, y, seed=0, devices=[good, bad], held_out=(x, y), gaps=gaps)
    assert "device_increase" not in r
    alone = measure_sharpness(workload, x, y, seed=0, devices=[good], held_out=(x, y))
    assert r["device_increases"] == [
        pytest.approx(alone["device_increases"][0], abs=2e-6),
        None,
    ]
    assert [(gap.part, gap.type) for gap in gaps.found] == [
        ("sharpness.device_increase", "not-finite")
    ]
    assert gaps.found[0].message.endswith("1 of 2 devices: 1")
    assert json.loads(json.dumps(r, allow_nan=False)) == r
    for name in ("lambda_max", "ball_increase", "lambda_max_pyhessian", "softmax_scale"):
        assert r[name] == pytest.approx(alone[name], rel=1e-4)


def test_every_part_may_fail_alone(measured, monkeypatch):
    """The tool behind each part breaks in turn; every figure of the others is what it was."""
    import pnnbench.evaluation.sharpness as module

    workload, x, y, devices, whole, _ = measured
    tools = {
        "fit_scale": "lambda_max_calibrated",
        "guessing_loss": "at_guessing",
        "ball_increase": "ball_increase",
        "device_increases": "device_increase",
        "pyhessian_eigenvalue": "lambda_max_pyhessian",
        "image_interval": "lambda_max",
    }
    for tool, part in tools.items():
        gaps = Gaps()
        with monkeypatch.context() as patch:
            patch.setattr(module, tool, lambda *args, **kwargs: 1 / 0)
            r = measure_sharpness(
                workload, x, y, seed=0, devices=devices, held_out=HELD_OUT, subsample=80, gaps=gaps
            )
        judged = [] if part in ("lambda_max", "at_guessing") else ["is_minimum"]
        assert ("is_minimum" in r) == bool(judged)
        found = [gap.part for gap in gaps.found if gap.part != "sharpness.is_minimum"]
        assert found == [f"sharpness.{part}"]
        assert part not in r
        assert r["point"] == whole["point"]
        costs = {name for name in r if name == "products" or name.endswith("error_bound")}
        costs.add("point")
        if part == "lambda_max":  # without its vector the ascent in the ball has one start less
            costs.add("ball_increase")
            with deployed(workload):
                chosen = ControlHessian(workload, x[:80], y[:80])
                without = ball_increase(chosen, whole["ball_radius"], steps=5)
            assert r["ball_increase"] == pytest.approx(without, rel=1e-6)
        for name in set(r) - costs:
            assert r[name] == pytest.approx(whole[name], rel=2e-3), (part, name)


@pytest.mark.parametrize(
    ("power", "top", "lowest", "bound", "agrees"),
    [
        (0.999, 1.0, -0.2, 0.1, True),
        (0.9, 1.0, -0.2, 0.1, False),
        (-3.02, 1.0, -3.0, 0.1, True),
        (1.0, 1.0, -3.0, 0.1, False),
        (-0.5, 1.0, -0.5, 0.1, False),
    ],
)
def test_pyhessian_agrees_with_the_eigenvalue_of_largest_magnitude(
    power, top, lowest, bound, agrees
):
    if agrees:
        require_agreement(power, top, lowest, bound)
    else:
        with pytest.raises(DisagreementError, match=rf"{power:g}.*{top:g}.*{lowest:g}"):
            require_agreement(power, top, lowest, bound)


def test_a_disagreement_with_pyhessian_is_a_gap_with_both_numbers(monkeypatch):
    """Two iterations are far from enough for power iteration, when it is asked again too."""
    monkeypatch.setattr(of_sharpness, "SHARPER", 1.0)
    workload = trained()
    x, y = blobs(60)
    gaps = Gaps()
    r = measure_sharpness(
        workload, x, y, seed=0, devices=[], held_out=(x, y), pyhessian_tol=1.0, gaps=gaps
    )
    (gap,) = gaps.found
    assert (gap.part, gap.type) == ("sharpness.lambda_max_pyhessian", "error")
    assert f"{r['lambda_max']:.6g}" in gap.message
    assert "lambda_max_pyhessian" not in r
    plain = measure_sharpness(workload, x, y, seed=0, devices=[], held_out=(x, y), check=False)
    assert plain == {n: v for n, v in r.items() if n != "lambda_max_subsample"}


def test_without_held_out_images_or_at_a_bound_nothing_is_calibrated():
    workload = trained()
    x, y = blobs(60)
    wrong = (x, (y + 1) % 10)  # no answer is right: the best scale is the least
    for held_out, words in ((None, "no images"), ((x[:0], y[:0]), "no images"), (wrong, "an end")):
        gaps = Gaps()
        r = measure_sharpness(
            workload, x, y, seed=0, devices=[], held_out=held_out, check=False, gaps=gaps
        )
        (gap,) = gaps.found
        assert (gap.part, gap.type) == ("sharpness.lambda_max_calibrated", "left-out")
        assert words in gap.message
        assert "lambda_max_calibrated" not in r
        assert r.get("softmax_scale_at_bound") == (1 if held_out is wrong else None)
        assert r["at_guessing"] == 0


@given(
    curvatures=st.lists(st.floats(1e-3, 10.0), min_size=3, max_size=3),
    at=st.lists(st.floats(-5.0, 5.0), min_size=3, max_size=3),
)
def test_a_safe_step_gains_what_the_rule_says_or_more(curvatures, at):
    """0.5 sum h x^2: one step of 1 / max h, and no less than g^2 / 2 max h is gained."""
    h = torch.tensor(curvatures, dtype=torch.float64)
    x = torch.tensor(at, dtype=torch.float64)
    top, gradient = h.max(), h * x
    gained = 0.5 * (h * x.square()).sum() - 0.5 * (h * (x - gradient / top).square()).sum()
    least = gradient.square().sum() / (2.0 * top)
    assert float(gained) >= float(least) * (1.0 - 1e-9)


@given(
    slope=st.floats(0.0, 10.0),
    top=st.floats(1e-3, 10.0),
    lowest=st.floats(-10.0, 10.0),
    unit=st.floats(1e-3, 1e3),
    loss=st.floats(1e-3, 1e3),
)
def test_the_rule_for_minima_is_free_of_units(slope, top, lowest, unit, loss):
    def judged(unit, loss):
        return is_minimum(
            {
                "gradient_norm": slope * loss / unit,
                "lambda_max": top * loss / unit**2,
                "lambda_min": lowest * loss / unit**2,
                "guessing_loss": loss,
            }
        )

    gain = slope**2 / (2.0 * top) / MINIMUM_GAIN
    assume(abs(gain - 1.0) > 1e-6 and abs(lowest + top) > 1e-6)
    assert judged(unit, loss) == judged(1.0, 1.0) == (gain < 1.0 and lowest > -top)


def test_pyhessian_that_stops_short_is_asked_once_more(measured):
    workload, x, y, _, r, _ = measured

    found = measure_sharpness(
        workload, x, y, seed=0, devices=[], subsample=80, ball_steps=1, pyhessian_tol=0.1
    )
    assert found["lambda_max_pyhessian"] == pytest.approx(r["lambda_max_pyhessian"], rel=0.02)
    direct = pyhessian_eigenvalue(
        workload, x[:80], y[:80], seed=derive_seed("pyhessian", 0), tol=0.1
    )
    assert falls_short(direct.value, r["lambda_max_subsample"], r["lambda_min"])
    assert found["pyhessian_products"] > direct.products


@pytest.mark.parametrize(
    ("power", "top", "lowest", "short"),
    [
        (0.97, 1.0, -0.2, True),
        (0.99, 1.0, -0.2, False),
        (1.1, 1.0, -0.2, False),
        (-2.0, 1.0, -3.0, True),
    ],
)
def test_an_iteration_falls_short_of_the_larger_magnitude(power, top, lowest, short):
    assert falls_short(power, top, lowest) is short
