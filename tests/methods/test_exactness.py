"""Each method through Lightning's Trainer against a loop written out by hand.

The loop shares the network and the task loss with the workload and nothing with the methods: it
has its own noise, perturbation, transfer function, clamping, schedule, clipping and accumulation.
Distances are relative to how far training moved the parameters. Measured on an x86 CPU: 0 to the
last bit in every case but two. NAT differs by up to 1e-6 and SAT with accumulation by up to 1e-6,
because the loop writes the same sums in another order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.data import ImageDataModule, load
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.nat import NAT
from pnnbench.methods.pruning import OpticalPruning
from pnnbench.methods.sat import SAT
from pnnbench.training import TrainingData, fit, quiet
from pnnbench.workloads.mrr import MRRDigits

# 5 batches per epoch, the last of them smaller: accumulation over 2 leaves one over.
EPOCHS, BATCH, IMAGES, SEED = 2, 32, 144, 3
BOUND = 1e-6

# Calibration B, written out.
REST_NM, HWHM_NM, TUNING, BIAS, DEPTH, MAX_MA = 0.25, 0.0636, 0.0131, 1.0, 2.0, 5.0
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

METHODS: dict[str, Callable[[], TrainingMethod]] = {
    "bp": BP,
    "bp sgd": lambda: BP(lr=0.5, optimizer="sgd", lr_digital=0.05),
    "bp-weights adam": BPWeights,
    "bp-weights sgd": lambda: BPWeights(lr=0.05, optimizer="sgd", lr_digital=0.05),
    "nat": NAT,
    "sat": SAT,
    "sat sgd": lambda: SAT(lr=0.5, optimizer="sgd", lr_digital=0.05),
    "sat adaptive": lambda: SAT(rho=0.5, adaptive=True),
    "sat all": lambda: SAT(perturb="all"),
    "pruning": lambda: OpticalPruning(strength=0.1),
}


def data() -> ImageDataModule:
    return ImageDataModule(load("digits"), batch_size=BATCH, seed=SEED, limit_train=IMAGES)


def through_trainer(method: TrainingMethod, **flags: Any) -> MRRDigits:
    workload = MRRDigits(SEED)
    method.seed = SEED
    with quiet():
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            callbacks=[method],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            deterministic=True,
            **flags,
        )
        trainer.fit(workload, datamodule=TrainingData(data()))
    return workload


class HandLoop:
    """Training written out: `method` is only asked for its name and hyper-parameters."""

    def __init__(self, method: TrainingMethod) -> None:
        self.m: Any = method
        self.net = MRRDigits(SEED).network.train()
        self.banks = [self.net.conv1, self.net.fc1, self.net.fc2]
        self.currents: list[Tensor] = [bank.current for bank in self.banks]
        own = {id(c) for c in self.currents}
        self.digital = [p for p in self.net.parameters() if id(p) not in own]
        self.weights: list[Tensor] = []
        if isinstance(method, BPWeights):
            self.weights = [
                self.weight(c).detach().clone().requires_grad_() for c in self.currents
            ]
        self.call = 0

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
                    noise = self.m.sigma * torch.randn(bank.current.shape, generator=g)
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
                    loss = loss + self.m.strength * (slope**2).sum().sqrt()
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
                p.add_(s**2 * p.grad * (self.m.rho / norm))
        for p, gradient in zip(self.net.parameters(), kept_gradients, strict=True):
            p.grad = gradient
        with autocast():
            second = self.cross_entropy(x, y)
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
    ) -> nn.Module:
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
        per_epoch = math.ceil(len(images.train_batches(0)) / accumulate_grad_batches)
        step = 0
        for epoch in range(EPOCHS):
            batches = images.train_batches(epoch)
            for i, batch in enumerate(batches):
                self.backward(x[batch], y[batch], accumulate_grad_batches, autocast)
                if (i + 1) % accumulate_grad_batches and i + 1 < len(batches):
                    continue
                if gradient_clip_val is not None:
                    nn.utils.clip_grad_norm_([*trained, *self.digital], gradient_clip_val)
                decay = 0.5 * (1.0 + math.cos(math.pi * step / (EPOCHS * per_epoch)))
                optimizer.param_groups[0]["lr"] = self.m.lr * decay
                optimizer.param_groups[1]["lr"] = self.m.lr_digital * decay
                optimizer.step()
                optimizer.zero_grad()
                self.put_back()
                step += 1
        if self.weights:
            self.program()
        return self.net


def vector(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in network.parameters()])


def distance(a: nn.Module, b: nn.Module) -> float:
    """Distance of the parameters relative to how far ``b`` moved."""
    start = vector(MRRDigits(SEED).network)
    return float((vector(a) - vector(b)).norm() / (vector(b) - start).norm())


def statistics_distance(a: nn.Module, b: nn.Module) -> float:
    """Largest relative difference of batch-norm means and variances."""
    pairs = [
        (p.double(), q.double())
        for (n, p), q in zip(a.named_buffers(), b.buffers(), strict=True)
        if "running" in n
    ]
    return max(float((p - q).norm() / q.norm()) for p, q in pairs)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METHODS)
def test_trainer_equals_hand_written_loop(
    name: str, case: str, record_property: Callable[[str, object], None]
) -> None:
    trained = through_trainer(METHODS[name](), **CASES[case]).network
    by_hand = HandLoop(METHODS[name]()).run(**CASES[case])
    found, statistics = distance(trained, by_hand), statistics_distance(trained, by_hand)
    record_property("distance", found)
    record_property("batch_norm_distance", statistics)
    assert found <= BOUND
    assert statistics <= BOUND
    steps = [int(b) for n, b in trained.named_buffers() if n.endswith("num_batches_tracked")]
    assert steps == [EPOCHS * len(data().train_batches(0))] * 2


if __name__ == "__main__":
    for name in METHODS:
        for case in CASES:
            a = through_trainer(METHODS[name](), **CASES[case]).network
            b = HandLoop(METHODS[name]()).run(**CASES[case])
            print(name, case, f"{distance(a, b):.2e} {statistics_distance(a, b):.2e}")
        print("   vs bp", distance(HandLoop(METHODS[name]()).run(), HandLoop(BP()).run()), [round(distance(HandLoop(METHODS[name]()).run(**CASES[c]), HandLoop(METHODS[name]()).run()),4) for c in CASES])
