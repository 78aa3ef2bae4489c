"""Methods that compare settings by what the device measures."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.candidates import CandidateMethod
from pnnbench.methods.coordinate_search import CoordinateSearch
from pnnbench.methods.evolution import Evolution
from pnnbench.methods.lbfgs import LBFGS
from pnnbench.methods.spsa import SPSA
from pnnbench.running.training import fit
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

DIGITS = load("digits")


def data(images: int = 32) -> DataModule:
    return DataModule(DIGITS, batch_size=16, limit_train=images)


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        (Evolution(population=3, parents=2), 3, 3),
        (SPSA(directions=2), 4, 4),
        (CoordinateSearch(coordinates=5), 6, 11),
    ],
)
def test_each_measured_image_is_a_query_and_nothing_is_differentiated(
    method: CandidateMethod, low: int, high: int
) -> None:
    state = fit(MRRDigits(0), method, data(), epochs=1)
    assert 32 * low <= state.hardware_queries <= 32 * high
    assert state.gradient_evaluations == 0


def test_a_closure_is_counted_each_time() -> None:
    state = fit(MRRDigits(0), LBFGS(iterations=3), data(), epochs=1)
    assert state.hardware_queries == 0
    assert state.gradient_evaluations >= 2 * 3


def test_settings_beyond_the_range_are_those_at_its_edge() -> None:
    workload, method = MRRDigits(0).train(), Evolution()
    method.attach(workload)
    batch = data().train_tensors()
    name = "network.fc1.current"
    before = workload.controls()[name].detach().clone()
    loss, reached = method.measured_loss(workload, batch, {name: torch.full_like(before, 99.0)})
    assert math.isfinite(loss)
    assert torch.equal(reached[name], torch.full_like(before, 5.0))
    assert torch.equal(workload.controls()[name], before)


def test_a_loss_that_is_no_number_is_never_the_lowest(monkeypatch: Any) -> None:
    workload, method = MRRDigits(0).train(), Evolution()
    method.attach(workload)
    monkeypatch.setattr(type(workload), "loss", lambda *args: torch.tensor(math.nan))
    assert method.measured_loss(workload, data().train_tensors(), {})[0] == math.inf


def test_a_pair_with_a_reading_that_is_no_number_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload, method = MRRDigits(0).train(), SPSA(directions=2)
    method.attach(workload)
    batch, trained = data().train_tensors(), list(workload.controls().values())
    loss = type(workload).loss

    def slopes(*bad: int) -> Tensor:
        calls = iter(range(4))

        def read(*args: Any) -> Tensor:
            return torch.tensor(math.nan) if next(calls) in bad else loss(*args)

        monkeypatch.setattr(type(workload), "loss", read)
        method.calls = 1
        method.hardware.start_step(1)
        found = method.loss(workload, batch)
        assert math.isnan(float(found)) == (len(bad) == 4)
        return torch.cat([g.flatten() for g in torch.autograd.grad(found, trained)])

    both, first, last = slopes(), slopes(2), slopes(1)
    torch.testing.assert_close(both, 0.5 * (first + last))
    assert float(slopes(0, 1, 2, 3).abs().max()) == 0.0


def test_the_estimate_of_simultaneous_perturbation_follows_the_gradient() -> None:
    workload = MZIDigits(0).train()
    method = SPSA(directions=300, distance=0.02, distance_digital=0.005)
    method.attach(workload)
    method.calls = 1
    batch = data(64).train_tensors()
    trained = workload.controls(trainable=True)
    estimate = torch.autograd.grad(method.loss(workload, batch), list(trained.values()))
    with workload.extra_pass():
        exact = torch.autograd.grad(
            workload.loss(workload(batch[0]), batch), list(trained.values())
        )
    a, b = (torch.cat([g.flatten() for g in side]) for side in (estimate, exact))
    # Of 300 directions in some 2,400: the mean cosine of pure estimates is near a third.
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.15


def test_an_accepted_step_lowers_the_measured_loss() -> None:
    found: list[float] = []

    class Noted(CoordinateSearch):
        def step(self, workload: Any, batch: Any) -> float:
            before, _ = self.measured_loss(workload, batch, {})
            after = super().step(workload, batch)
            found.append(before - after)
            return after

    fit(MRRDigits(0), Noted(coordinates=20), data(), epochs=2)
    assert len(found) == 4
    assert min(found) > 0.0


def test_the_noise_of_a_reading_hides_what_one_coordinate_changes() -> None:
    """The figures that the class of the coordinate search quotes, measured again."""
    workload, method = MRRDigits(0).train(), CoordinateSearch()
    method.attach(workload)
    x, y = DataModule(DIGITS).train_tensors()
    batch = x[:32], y[:32]

    def read(noise: int, values: dict[str, Tensor]) -> float:
        method.hardware.start_step(noise)
        return method.measured_loss(workload, batch, values)[0]

    trained, controls = method.trained(workload), workload.controls()
    places = [(name, i) for name, p in trained.items() for i in range(p.numel())]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    readings, changes = [], []
    for k, (name, i) in enumerate(places[int(k)] for k in order[:400]):
        moved = trained[name].detach().clone()
        moved.view(-1)[i] += method.amount("lr", workload) if name in controls else 0.1
        readings.append(read(k, {}))
        changes.append(read(k, {name: moved}) - readings[-1])  # at the same noise
    noise, step = statistics.stdev(readings), math.sqrt(statistics.fmean(c * c for c in changes))
    assert statistics.mean(readings) == pytest.approx(6.2, abs=0.05)
    assert noise == pytest.approx(0.32, abs=0.02)
    assert step == pytest.approx(0.018, abs=0.003)
    assert statistics.median(map(abs, changes)) == pytest.approx(0.004, abs=0.001)
    assert 400 < 2 * (noise / step) ** 2 < 1000

    tier = MRRDigits.tier("quick")
    batches = tier.epochs * math.ceil(len(x) / tier.batch_size)
    assert 11 < batches * (1 + 2 * method.coordinates) / len(places) < 14


def test_evolution_and_the_closure_learn() -> None:
    state = fit(MZIDigits(0), Evolution(population=8, parents=2), data(160), epochs=6)
    assert state.losses[-1] < state.losses[0] - 0.01
    state = fit(MRRDigits(0), LBFGS(), data(160), epochs=4)
    assert state.losses[-1] < 0.5 * state.losses[0]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Evolution(population=4, parents=5), "parents is 5 of a population of 4"),
        (lambda: Evolution(population=1), "population"),
        (lambda: SPSA(distance=0.0), "distance"),
        (lambda: SPSA(distance_digital=math.nan), "distance_digital"),
        (lambda: CoordinateSearch(coordinates=0), "coordinates"),
        (lambda: LBFGS(lr=11.0), "lr is 11"),
        (lambda: LBFGS(iterations=0), "iterations"),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(make: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        make()
