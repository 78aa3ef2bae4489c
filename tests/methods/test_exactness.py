"""Each method through Lightning's Trainer against a loop written out by hand.

The loop shares the network and the task loss with the workload and nothing with the methods: it
has its own noise, perturbation, transfer function, clamping, schedule, clipping and accumulation.

- float64: ten batches, to 1e-12 of how far training moved the parameters. One rounding is 1e-16;
  ten steps leave room for ten thousand of them.
- float32 and bf16: one step, since rounding tips a ReLU or a maximum and the tip grows from step to
  step. The oracle is the loop's step in float64. How far rounding moves a step depends on the
  processor and its libraries, so it is measured, on the loop itself in the precision in question:
  the Trainer's step has to be off by as much, within a factor of `SAME`. Gradients are of a network
  without kinks; losses, which have none, of the workload's own network.
- Resuming gives the same bits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.data import DataModule, load
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.nat import NAT
from pnnbench.methods.pruning import OpticalPruning
from pnnbench.methods.sat import SAT
from pnnbench.running.training import TrainingData, fit, quiet
from pnnbench.workloads.base import Batch
from pnnbench.workloads.mrr import MRRDigits, mrr_layers
from pnnbench.workloads.networks import DigitsNet

# 5 batches per epoch, the last of them smaller: accumulation over 2 leaves one over.
EPOCHS, BATCH, IMAGES, SEED = 2, 32, 144, 3

# Calibration B, written out.
REST_NM, HWHM_NM, TUNING, BIAS, DEPTH, MAX_MA = 0.25, 0.0636, 0.0131, 1.116, 2.117, 5.0
HIGHEST = BIAS - DEPTH / (1.0 + (REST_NM / HWHM_NM) ** 2)

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clip": {"gradient_clip_val": 0.1},
    "accumulate": {"accumulate_grad_batches": 2},
    "bf16": {"precision": "bf16-mixed"},
    "all three": {
        "gradient_clip_val": 0.1,
        "accumulate_grad_batches": 2,
        "precision": "bf16-mixed",
    },
}

SGD: dict[str, Any] = {"optimizer": "sgd", "lr_digital": 0.05}
METHODS: dict[str, Callable[[], TrainingMethod]] = {
    "bp": lambda: BP(lr="0.02 mA"),
    "bp sgd": lambda: BP(lr="0.5 mA^2", **SGD),
    "bp-weights adam": lambda: BPWeights(lr="0.002 weight"),
    "bp-weights sgd": lambda: BPWeights(lr="0.05 weight^2", **SGD),
    "nat": lambda: NAT(sigma="0.2 HWHM", lr="0.02 mA"),
    "sat": lambda: SAT(rho="1 mA", lr="0.02 mA"),
    "sat sgd": lambda: SAT(rho="1 mA", lr="0.5 mA^2", **SGD),
    "sat adaptive": lambda: SAT(rho="0.5 relative", adaptive=True, lr="0.02 mA"),
    "sat all": lambda: SAT(rho="1 mA", perturb="all", lr="0.02 mA"),
    "pruning": lambda: OpticalPruning(strength="0.1 HWHM", lr="0.02 mA"),
}


DIGITS = load("digits")

#: Rounding errors of two correct computations of a step add up from thousands of draws each, so
#: that their norms are alike; methods and cases that are not the same are further apart.
SAME = 4.0
#: Roundings that a loss goes through one after the other: inputs, weights and outputs of three
#: layers, twice where the gradient of a first pass says where the second is taken.
ROUNDINGS = 18


def number(amount: str) -> float:
    """The number of an absolute amount, such as ``"0.02 mA"``."""
    return float(amount.split()[0])


def data() -> DataModule:
    return DataModule(DIGITS, batch_size=BATCH, seed=SEED, limit_train=IMAGES)


class SmoothNet(DigitsNet):
    """The network with softplus for ReLU and mean for maximum: no kink for rounding to cross."""

    def physical(self, h: Tensor) -> Tensor:
        h = F.avg_pool2d(F.softplus(self.norm1(self.conv1(h))), 2)
        return self.fc2(F.softplus(self.norm2(self.fc1(h.flatten(1)))))


class SmoothDigits(MRRDigits):
    def build_network(self) -> SmoothNet:
        return SmoothNet(*mrr_layers())


class Doubled(TrainingData):
    """Training images as float64."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch[0].double(), batch[1]


@dataclasses.dataclass
class Trained:
    """What training left.

    Attributes:
        tensors: What it moved; see `tensors`.
        gradients: What the optimiser met at its last step, by parameter.
        losses: Loss of each batch.
    """

    tensors: dict[str, Tensor]
    gradients: dict[str, Tensor]
    losses: list[float]


class Losses(pl.Callback):
    """Keeps the loss of each batch."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.found.append(float(outputs["loss"]) * trainer.accumulate_grad_batches)


def through_trainer(
    method: TrainingMethod,
    dtype: torch.dtype = torch.float32,
    workload_class: type[MRRDigits] = MRRDigits,
    steps: int = -1,
    **flags: Any,
) -> Trained:
    workload, losses = workload_class(SEED).to(dtype), Losses()
    method.seed = SEED
    with quiet():
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            max_steps=steps,
            callbacks=[method, losses],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            deterministic=True,
            **flags,
        )
        source = Doubled if dtype == torch.float64 else TrainingData
        trainer.fit(workload, datamodule=source(data()))
    weights = getattr(method, "weights", {})
    return Trained(tensors(workload, weights), gradients(workload, weights), losses.found)


class HandLoop:
    """Training written out: `method` is only asked for its name and hyper-parameters."""

    def __init__(
        self,
        method: TrainingMethod,
        dtype: torch.dtype,
        workload_class: type[MRRDigits] = MRRDigits,
    ) -> None:
        self.m: Any = method
        self.workload = workload_class(SEED).to(dtype)
        self.net: Any = self.workload.network.train()
        self.banks = [self.net.conv1, self.net.fc1, self.net.fc2]
        self.currents: list[Tensor] = [bank.current for bank in self.banks]
        own = {id(c) for c in self.currents}
        self.digital = [p for p in self.net.parameters() if id(p) not in own]
        self.weights: list[Tensor] = []
        if isinstance(method, BPWeights):
            self.weights = [self.weight(c).detach().clone().requires_grad_() for c in self.currents]
        self.call = 0
        self.losses: list[float] = []

    @staticmethod
    def detuning(current: Tensor) -> Tensor:
        return (REST_NM - TUNING * current**2) / HWHM_NM

    def weight(self, current: Tensor) -> Tensor:
        return BIAS - DEPTH / (1.0 + self.detuning(current) ** 2)

    def cross_entropy(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.net(x), y)

    def buffers(self) -> list[Tensor]:
        return [b.clone() for b in self.net.buffers()]

    def backward(
        self, x: Tensor, y: Tensor, share: int, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        """Adds the gradient of one batch, divided by ``share``, to ``.grad``."""
        self.call += 1
        if isinstance(self.m, SAT):
            self.sharpness_aware(x, y, share, autocast)
            return
        with autocast():
            if isinstance(self.m, NAT):
                text = f"method:{SEED}:{self.call}".encode()
                seed = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
                g = torch.Generator().manual_seed(seed)
                for bank in self.banks:
                    noise = number(self.m.sigma) * torch.randn(bank.current.shape, generator=g)
                    u = self.detuning(bank.current) - noise
                    bank.override_weight(BIAS - DEPTH / (1.0 + u * u))
            if self.weights:
                for bank, weight in zip(self.banks, self.weights, strict=True):
                    bank.override_weight(weight)
            loss = self.cross_entropy(x, y)
            if isinstance(self.m, OpticalPruning):
                for current in self.currents:
                    u = self.detuning(current)
                    slope = 2.0 * DEPTH * u / (1.0 + u**2) ** 2
                    loss = loss + number(self.m.strength) * (slope**2).sum().sqrt()
        self.losses.append(float(loss.detach()))
        (loss / share).backward()
        for bank in self.banks:
            bank.override_weight(None)

    def sharpness_aware(
        self, x: Tensor, y: Tensor, share: int, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        """SAM in place: climb, take the gradient there, put the parameters back."""
        group = self.currents + (self.digital if self.m.perturb == "all" else [])
        held = self.buffers()
        kept_gradients = [p.grad for p in self.net.parameters()]
        for p in self.net.parameters():
            p.grad = None
        with autocast():
            first = self.cross_entropy(x, y)
        first.backward()
        kept = [p.detach().clone() for p in group]
        with torch.no_grad():
            for buffer, old in zip(self.net.buffers(), held, strict=True):
                buffer.copy_(old)
            size = [p.abs() if self.m.adaptive else torch.ones_like(p) for p in group]
            squares = [((s * p.grad) ** 2).sum() for s, p in zip(size, group, strict=True)]
            norm = math.sqrt(sum(float(s) for s in squares))
            for s, p in zip(size, group, strict=True):
                p.add_(s**2 * p.grad * (number(self.m.rho) / norm))
        for p, gradient in zip(self.net.parameters(), kept_gradients, strict=True):
            p.grad = gradient
        with autocast():
            second = self.cross_entropy(x, y)
        self.losses.append(float(second.detach()))
        (second / share).backward()
        with torch.no_grad():
            for p, old in zip(group, kept, strict=True):
                p.copy_(old)

    @torch.no_grad()
    def put_back(self) -> None:
        for current in self.currents:
            current.clamp_(0.0, MAX_MA)
        for weight in self.weights:
            weight.clamp_(BIAS - DEPTH, HIGHEST)

    @torch.no_grad()
    def program(self) -> None:
        for current, weight in zip(self.currents, self.weights, strict=True):
            w = weight.double().clamp(max=HIGHEST)
            u = (DEPTH / (BIAS - w) - 1.0).clamp(min=0.0).sqrt()
            squared = (REST_NM - HWHM_NM * u) / TUNING
            current.copy_(squared.clamp(min=0.0).sqrt().clamp(0.0, MAX_MA))

    def run(
        self,
        gradient_clip_val: float | None = None,
        accumulate_grad_batches: int = 1,
        precision: str = "32",
        steps: int | None = None,
    ) -> Trained:
        def autocast() -> AbstractContextManager[Any]:
            if precision == "bf16-mixed":
                return torch.autocast("cpu", dtype=torch.bfloat16)
            return nullcontext()

        trained = self.weights or self.currents
        groups = [{"params": trained}, {"params": self.digital}]
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(groups)
            if self.m.optimizer == "adam"
            else torch.optim.SGD(groups, lr=1.0, momentum=0.5)
        )
        images = data()
        x, y = images.train_tensors()
        x = x.to(self.currents[0].dtype)
        per_epoch = math.ceil(len(images.train_batches(0)) / accumulate_grad_batches)
        total = EPOCHS * per_epoch if steps is None else steps
        step = 0
        found: dict[str, Tensor] = {}
        for epoch in range(EPOCHS):
            batches = images.train_batches(epoch)
            for i, batch in enumerate(batches):
                if step == total:
                    break
                self.backward(x[batch], y[batch], accumulate_grad_batches, autocast)
                if (i + 1) % accumulate_grad_batches and i + 1 < len(batches):
                    continue
                if gradient_clip_val is not None:
                    nn.utils.clip_grad_norm_([*trained, *self.digital], gradient_clip_val)
                decay = 0.5 * (1.0 + math.cos(math.pi * step / total))
                optimizer.param_groups[0]["lr"] = number(self.m.lr) * decay
                optimizer.param_groups[1]["lr"] = self.m.lr_digital * decay
                optimizer.step()
                found = gradients(self.workload, self.named_weights())
                optimizer.zero_grad()
                self.put_back()
                step += 1
        if self.weights:
            self.program()
        return Trained(tensors(self.workload, self.named_weights()), found, self.losses)

    def named_weights(self) -> dict[str, Tensor]:
        return dict(zip(self.workload.layers(), self.weights, strict=False))


#: Right before a batch norm: the true gradient is zero, and Adam makes whole steps of its rounding.
WITHOUT_EFFECT = ("conv1.bias", "fc1.bias")


def tensors(workload: MRRDigits, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What training moved. Digital weights take the place of the currents where there are some.

    Biases right before a batch norm are left out, with the running means that follow them.
    """
    found = {
        name: value.detach().clone()
        for name, value in workload.network.state_dict().items()
        if name not in WITHOUT_EFFECT and "full_scale" not in name
    }
    for name, weight in weights.items():
        found[f"{name}.weight"] = weight.detach().clone()
    return found


def gradients(workload: MRRDigits, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradients of what is trained, by the names of `tensors`."""
    named = dict(workload.network.named_parameters()) | {
        f"{name}.weight": weight for name, weight in weights.items()
    }
    return {
        name: p.grad.clone()
        for name, p in named.items()
        if p.grad is not None and name not in WITHOUT_EFFECT
    }


def norm(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Euclidean norm of the differences."""
    return math.sqrt(sum(float((p.double() - q.double()).square().sum()) for p, q in pairs))


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Distance of the trained tensors relative to how far those of ``b`` moved."""
    start = MRRDigits(SEED)
    weights = {n: m.ideal_weight() for n, m in start.layers().items()}
    origin = tensors(start, weights)
    moved = [n for n in a if n.endswith(("weight", "bias", "current"))]
    if "fc1.weight" in a:
        moved = [n for n in moved if not n.endswith("current")]

    return norm((a[n], b[n]) for n in moved) / norm((b[n], origin[n]) for n in moved)


def statistics_distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Largest relative difference of batch-norm variances."""
    names = [n for n in a if n.endswith("running_var")]
    return max(float((a[n] - b[n]).double().norm() / b[n].double().norm()) for n in names)


def apart(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> float:
    """Distance of gradients relative to their size."""
    assert found.keys() == exact.keys()
    size = norm((e, torch.zeros_like(e)) for e in exact.values())
    return norm((found[n], e) for n, e in exact.items()) / size


def by_hand(
    name: str,
    dtype: torch.dtype,
    case: str = "plain",
    workload_class: type[MRRDigits] = MRRDigits,
    steps: int | None = None,
) -> Trained:
    return HandLoop(METHODS[name](), dtype, workload_class).run(**CASES[case], steps=steps)


def loss_bound(case: str) -> float:
    """Relative error of a loss: each rounding moves it by the unit of the precision at most."""
    return ROUNDINGS * (2.0**-8 if "precision" in CASES[case] else 2.0**-24)


def exact_step(name: str, case: str, workload_class: type[MRRDigits]) -> Trained:
    """One step by hand in float64, from the values that float32 holds, autocast or not."""
    flags = {k: v for k, v in CASES[case].items() if k != "precision"}
    return HandLoop(METHODS[name](), torch.float64, workload_class).run(**flags, steps=1)


@pytest.mark.parametrize("case", ["plain", "clip", "accumulate"])
@pytest.mark.parametrize("name", METHODS)
def test_trainer_equals_hand_written_loop_in_float64(name: str, case: str) -> None:
    trained = through_trainer(METHODS[name](), torch.float64, **CASES[case])
    expected = by_hand(name, torch.float64, case)
    assert distance(trained.tensors, expected.tensors) <= 1e-12
    assert statistics_distance(trained.tensors, expected.tensors) <= 1e-12
    for layer in ("conv1", "fc1", "fc2"):  # the programmed currents, where weights are trained
        key = f"{layer}.current"
        torch.testing.assert_close(
            trained.tensors[key], expected.tensors[key], rtol=1e-10, atol=1e-10
        )
    batches = EPOCHS * len(data().train_batches(0))
    assert int(trained.tensors["norm1.num_batches_tracked"]) == batches
    assert int(trained.tensors["norm2.num_batches_tracked"]) == batches
    assert len(trained.losses) == batches
    assert trained.losses == pytest.approx(expected.losses, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METHODS)
def test_one_step_is_off_by_the_rounding_of_its_precision(name: str, case: str) -> None:
    exact = exact_step(name, case, SmoothDigits)
    loop = by_hand(name, torch.float32, case, SmoothDigits, steps=1)
    trained = through_trainer(METHODS[name](), torch.float32, SmoothDigits, 1, **CASES[case])
    rounding = apart(loop.gradients, exact.gradients)
    assert rounding / SAME <= apart(trained.gradients, exact.gradients) <= rounding * SAME
    if "sgd" in name:  # a step of Adam has the size of the rate, however small the gradient
        rounding = distance(loop.tensors, exact.tensors)
        assert rounding / SAME <= distance(trained.tensors, exact.tensors) <= rounding * SAME


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METHODS)
def test_the_loss_of_a_step_is_right_to_its_precision(name: str, case: str) -> None:
    trained = through_trainer(METHODS[name](), steps=1, **CASES[case])
    exact = exact_step(name, case, MRRDigits).losses
    assert len(trained.losses) == CASES[case].get("accumulate_grad_batches", 1)
    assert trained.losses == pytest.approx(exact, rel=loss_bound(case))


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_another_case_would_be_seen(name: str) -> None:
    exact = exact_step(name, "plain", SmoothDigits).gradients
    fine, coarse = (
        apart(by_hand(name, torch.float32, case, SmoothDigits, steps=1).gradients, exact)
        for case in ("plain", "bf16")
    )
    assert coarse > SAME * fine  # one precision in the place of the other
    for case in ("clip", "accumulate"):
        assert apart(exact_step(name, case, SmoothDigits).gradients, exact) > SAME * coarse, case


def test_a_step_of_another_method_would_be_seen() -> None:
    names = ("bp", "nat", "sat", "sat adaptive", "pruning")
    smooth = {name: exact_step(name, "plain", SmoothDigits).gradients for name in names}
    losses = {name: exact_step(name, "plain", MRRDigits).losses[0] for name in names}
    for a, b in itertools.permutations(names, 2):
        coarse = by_hand(a, torch.float32, "bf16", SmoothDigits, steps=1).gradients
        by_step = apart(smooth[b], smooth[a]) > SAME * apart(coarse, smooth[a])
        by_loss = losses[b] != pytest.approx(losses[a], rel=loss_bound("bf16"))
        assert by_step or by_loss, (a, b)


def test_other_training_would_be_seen() -> None:
    runs = {name: by_hand(name, torch.float64).tensors for name in METHODS if "weights" not in name}
    for name in ("nat", "sat", "sat adaptive", "sat all", "pruning"):
        assert distance(runs[name], runs["bp"]) > 0.1, name
    for name, case in itertools.product(runs, ("clip", "accumulate")):
        assert distance(by_hand(name, torch.float64, case).tensors, runs[name]) > 0.01, (name, case)
    assert distance(runs["sat all"], runs["sat"]) > 0.001
    assert distance(runs["sat sgd"], runs["bp sgd"]) > 0.1


class StoppedError(Exception):
    pass


def stop_at_the_end(done: int, total: int, loss: float) -> None:
    if done == total:
        raise StoppedError


@pytest.mark.parametrize("name", METHODS)
def test_resuming_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    def train(folder: Path, *, stop: bool = False) -> dict[str, Tensor]:
        workload, method = MRRDigits(SEED), METHODS[name]()
        method.seed = SEED
        report = stop_at_the_end if stop else None
        fit(workload, method, data(), epochs=EPOCHS, folder=folder, report=report)
        found = dict(workload.network.state_dict())
        return {**found, **{f"{n}.weight": w for n, w in getattr(method, "weights", {}).items()}}

    whole = train(tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(tmp_path / "parts", stop=True)
    assert (tmp_path / "parts" / "last.ckpt").is_file()
    resumed = train(tmp_path / "parts")
    assert [n for n in whole if not torch.equal(whole[n], resumed[n])] == []
    # From scratch with one epoch of the schedule less, the result is another one.
    once = MRRDigits(SEED)
    fit(once, METHODS[name](), data(), epochs=EPOCHS - 1)
    assert not torch.equal(once.network.fc1.current, whole["fc1.current"])


@pytest.mark.parametrize("perturb", ["controls", "all"])
def test_batch_norm_after_a_sharpness_aware_step_is_that_of_one_pass(perturb: str) -> None:
    x, y = (t[:BATCH] for t in data().train_tensors())
    x = x.double()
    workload, method = MRRDigits(SEED).double().train(), SAT(rho="1 mA", perturb=perturb)
    method.attach(workload)
    method.loss(workload, (x, y)).backward()

    hand = HandLoop(SAT(rho="1 mA", perturb=perturb), torch.float64)
    group = hand.currents + (hand.digital if perturb == "all" else [])
    before = hand.buffers()
    gradients = torch.autograd.grad(hand.cross_entropy(x, y), group)
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    with torch.no_grad():
        for buffer, old in zip(hand.net.buffers(), before, strict=True):
            buffer.copy_(old)
        for p, g in zip(group, gradients, strict=True):
            p.add_(g / norm)
        hand.net(x)
    for (name, found), one_pass in zip(
        workload.network.named_buffers(), hand.net.buffers(), strict=True
    ):
        torch.testing.assert_close(found, one_pass, rtol=1e-12, atol=1e-12, msg=name)
    assert int(workload.network.norm1.num_batches_tracked) == 1
    unperturbed = MRRDigits(SEED).double().train()
    unperturbed(x)
    moved = unperturbed.network.norm2.running_var - workload.network.norm2.running_var
    assert float(moved.abs().max()) > 1e-4
