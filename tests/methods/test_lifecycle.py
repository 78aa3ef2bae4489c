"""Methods let go when training ends, start anew with each training, and leave what is frozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.coordinate_search import CoordinateSearch
from pnnbench.methods.dat import DAT, DATInternal
from pnnbench.methods.environment import RandomEnvironment, SATEnvironment, SATOutward
from pnnbench.methods.evolution import Evolution
from pnnbench.methods.lbfgs import LBFGS
from pnnbench.methods.nat import NAT, NATInSitu
from pnnbench.methods.pat import PAT
from pnnbench.methods.pruning import OpticalPruning
from pnnbench.methods.sat import SAT, SATInSitu
from pnnbench.methods.spsa import SPSA
from pnnbench.running.training import quiet
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.diffractive import DiffractiveDigits
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

from ..pairs import in_turn

DIGITS = load("digits")
WORKLOADS: list[type[Workload]] = [MRRDigits, MZIDigits, FreeSpaceDigits, DiffractiveDigits]
METHODS: dict[str, Callable[[], TrainingMethod]] = {
    "bp": BP,
    "bp, sgd": lambda: BP(optimizer="sgd"),
    "bp-weights": BPWeights,
    "nat": NAT,
    "nat-in-situ": NATInSitu,
    "pat": PAT,
    "sat": SAT,
    "sat, adaptive": lambda: SAT(adaptive=True),
    "sat, all": lambda: SAT(perturb="all"),
    "sat-in-situ": SATInSitu,
    "sat-in-situ, all": lambda: SATInSitu(perturb="all"),
    "dat": lambda: DAT(count=1),
    "dat-internal": lambda: DATInternal("both", count=1),
    "pruning": OpticalPruning,
    "random-environment": RandomEnvironment,
    "sat-environment": SATEnvironment,
    "sat-environment, all": lambda: SATEnvironment(perturb="all"),
    "sat-outward": SATOutward,
    "evolution": lambda: Evolution(population=2, parents=1),
    "coordinate-search": lambda: CoordinateSearch(coordinates=2),
    "spsa": lambda: SPSA(directions=1),
    "lbfgs": lambda: LBFGS(iterations=1),
}
BUILT = {cls: cls(0) for cls in WORKLOADS}
PAIRS = [
    pytest.param(METHODS[name], cls, id=f"{name} {cls.name}", marks=marks)
    for name, cls, marks in in_turn(
        METHODS, WORKLOADS, lambda name, cls: METHODS[name]().supports(BUILT[cls])
    )
]


def trained(
    workload: Workload, method: TrainingMethod, *others: pl.Callback, **flags: Any
) -> pl.Trainer:
    data = DataModule(DIGITS, batch_size=16, limit_train=48)
    with quiet():
        trainer = pl.Trainer(
            callbacks=[*others, method],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"max_epochs": 1, **flags},
        )
        trainer.fit(workload, datamodule=data)
    return trainer


def tensors(workload: Workload) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in workload.network.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def assert_free(workload: Workload, method: TrainingMethod) -> None:
    assert workload.method is None
    assert not hasattr(method, "hardware")
    for layer in workload.layers().values():
        assert layer.weight_override is None
        assert layer.operation is None
        assert layer.field_tap is layer.read_out_tap is None
        assert not layer._forward_pre_hooks


@pytest.mark.parametrize(("make", "cls"), PAIRS)
def test_one_object_trains_twice_as_two_fresh_ones(
    make: Callable[[], TrainingMethod], cls: type[Workload]
) -> None:
    reused, found = make(), []
    for seed in (0, 1):
        workload = cls(seed)
        trained(workload, reused)
        assert_free(workload, reused)
        assert reused.calls == 3
        found.append(tensors(workload))
    fresh = cls(1)
    trained(fresh, make())
    assert same(found[1], tensors(fresh))


@pytest.mark.parametrize("cls", WORKLOADS)
def test_a_second_method_takes_over(cls: type[Workload]) -> None:
    workload = cls(0)
    for method in (BP(), SAT(), NATInSitu(), BPWeights(), NAT()):
        before = tensors(workload)
        trained(workload, method)
        assert not same(before, tensors(workload))
    assert workload.method is None


def test_a_method_goes_on_to_a_workload_of_another_platform() -> None:
    for method in (BPWeights(), SAT(), PAT()):
        for cls in WORKLOADS:
            trained(cls(0), method)
            assert method.calls == 3


class Fails(pl.Callback):
    """Fails at the second batch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, index: int) -> None:
        if index == 1:
            raise self.error


@pytest.mark.parametrize("error", [ValueError("dark"), KeyboardInterrupt()])
@pytest.mark.parametrize("make", [BP, SATInSitu, lambda: DATInternal("both", count=1)])
def test_it_lets_go_when_training_fails(
    error: BaseException, make: Callable[[], TrainingMethod]
) -> None:
    workload, method = MZIDigits(0), make()
    with pytest.raises((ValueError, SystemExit)):
        trained(workload, method, Fails(error))
    assert_free(workload, method)
    trained(workload, SAT())


def test_it_lets_go_when_its_own_loss_fails() -> None:
    class Dark(PAT):
        """Fails behind its measurement."""

        def loss(self, workload: Workload, batch: Batch) -> Tensor:
            super().loss(workload, batch)
            raise ValueError("dark")

    workload, method = MRRDigits(0), Dark()
    with pytest.raises(ValueError, match="dark"):
        trained(workload, method)
    assert_free(workload, method)


def test_a_refused_second_method_leaves_neither_attached() -> None:
    workload = MRRDigits(0)
    with pytest.raises(UserError, match="two training methods in one Trainer"):
        trained(workload, BP(), SAT())
    assert workload.method is None


def test_tests_and_predictions_neither_attach_nor_start_anew() -> None:
    workload, method = MRRDigits(0), BP()
    trainer = trained(workload, method)
    method.setup(trainer, workload, "test")
    assert workload.method is None
    assert method.calls == 3
    other = SAT()
    other.attach(workload)
    method.teardown(trainer, workload, "fit")
    assert workload.method is other


@pytest.mark.parametrize("method", [BP(), PAT()])
def test_without_hardware_the_attribute_does_not_exist(method: TrainingMethod) -> None:
    assert not hasattr(method, "hardware")
    assert getattr(method, "hardware", None) is None
    with pytest.raises(UserError, match="hardware"):
        _ = method.hardware


def test_the_seed_is_not_changed_behind_the_back_of_the_device() -> None:
    method = PAT()
    method.seed = 3
    method.attach(MZIDigits(0))
    method.seed = 3
    with pytest.raises(UserError, match="seed is set to 4 when the device of seed 3"):
        method.seed = 4
    silent = BP()
    silent.attach(MZIDigits(0))
    silent.seed = 4
    assert silent.seed == 4


# What is frozen.


def freeze(workload: Workload) -> dict[str, Tensor]:
    """Freezes a part of the controls (all of a layer if there are more) and digital parameters."""
    controls, digital = workload.controls(), workload.digital_parameters()
    layers = list(workload.layers())
    chosen = [n for n in controls if n.startswith(f"network.{layers[0]}.")]
    if len(layers) == 1:
        chosen = chosen[-1:] if len(chosen) > 1 else []
    chosen += list(digital)[::2]
    for name in chosen:
        {**controls, **digital}[name].requires_grad_(False)
    return {name: {**controls, **digital}[name].detach().clone() for name in chosen}


@pytest.mark.parametrize(("make", "cls"), PAIRS)
def test_what_is_frozen_keeps_its_bits_and_the_rest_is_trained(
    make: Callable[[], TrainingMethod], cls: type[Workload]
) -> None:
    workload, method = cls(0), make()
    frozen = freeze(workload)
    before = {n: p.detach().clone() for n, p in workload.named_parameters()}
    if isinstance(method, BPWeights) and cls is MZIDigits:
        with pytest.raises(UserError, match="layer 'mesh' cannot be programmed with gamma frozen"):
            trained(workload, method)
        return
    trained(workload, method)
    after = dict(workload.named_parameters())
    for name, value in frozen.items():
        assert torch.equal(after[name], value), name
        assert not after[name].requires_grad
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    # The gradient of a bias right before a batch norm may be zero to the bit.
    assert set(workload.controls(trainable=True)) <= moved


class Masked(SAT):
    """Sharpness-aware training whose gradients are masked where another workload is frozen."""

    frozen: frozenset[str] = frozenset()

    def step_to_worst(self, workload: Workload, first: Tensor, group: Any) -> dict[str, Tensor]:
        group = {n: p for n, p in group.items() if n not in self.frozen}
        return super().step_to_worst(workload, first, group)


@pytest.mark.parametrize("cls", [MRRDigits, MZIDigits, FreeSpaceDigits])
@pytest.mark.parametrize("rho", [0.1, "absolute"])
@pytest.mark.parametrize("params", [{}, {"adaptive": True}, {"perturb": "all"}])
def test_it_is_sharpness_aware_training_with_gradients_masked(
    cls: type[Workload], rho: Any, params: dict[str, Any]
) -> None:
    if rho == "absolute":
        unit = "relative" if params.get("adaptive") else cls(0).control_scale.unit
        rho = f"0.2 {unit}"
    workload, whole = cls(0).train(), cls(0).train()
    frozen = freeze(workload)
    masked = Masked(rho=rho, **params)
    masked.frozen = frozenset(frozen)
    x, y = (t[:20] for t in DataModule(DIGITS).train_tensors())
    SAT(rho=rho, **params).loss(workload, (x, y)).backward()
    masked.loss(whole, (x, y)).backward()
    others = dict(whole.named_parameters())
    for name, p in workload.named_parameters():
        if name in frozen:
            assert p.grad is None
        elif p.grad is not None:
            torch.testing.assert_close(p.grad, others[name].grad, rtol=1e-4, atol=1e-7)


def test_noise_falls_on_frozen_rings_and_dither_does_not() -> None:
    """Every ring has errors of its fabrication; only what can be set is dithered."""
    x, y = (t[:20] for t in DataModule(DIGITS).train_tensors())
    free, frozen = MRRDigits(0).train(), MRRDigits(0).train()
    freeze(frozen)
    assert torch.equal(NAT().loss(free, (x, y)), NAT().loss(frozen, (x, y)))
    seen = []
    for workload in (free, frozen):
        method = NATInSitu()
        method.attach(workload)
        measure = method.hardware.measure
        method.hardware.measure = lambda h, c, m=measure: seen.append(c) or m(h, c)  # type: ignore[method-assign]
        method.loss(workload, (x, y))
    assert set(seen[1]) == set(frozen.controls(trainable=True)) < set(seen[0])
    assert all(torch.equal(seen[0][n], seen[1][n]) for n in seen[1])


def test_with_all_controls_frozen_the_digital_part_is_trained() -> None:
    for method in (BP(), SAT(), SAT(perturb="all"), SATInSitu(), NATInSitu(), BPWeights()):
        workload = MZIDigits(0)
        for p in workload.controls().values():
            p.requires_grad_(False)
        before = tensors(workload)
        trained(workload, method)
        after = tensors(workload)
        assert {n for n in after if torch.equal(before[n], after[n])} >= {"mesh.theta", "mesh.phi"}
        assert not torch.equal(before["front.fc1.weight"], after["front.fc1.weight"])


def test_with_everything_frozen_there_is_nothing_to_train() -> None:
    workload = MRRDigits(0)
    workload.requires_grad_(False)
    with pytest.raises(UserError, match="every parameter of MRRDigits is frozen"):
        trained(workload, BP())
