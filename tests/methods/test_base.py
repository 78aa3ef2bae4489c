from __future__ import annotations

import math
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
from pnnbench.methods.nat import NAT
from pnnbench.methods.pruning import OpticalPruning
from pnnbench.methods.sat import SAT
from pnnbench.registry import method_class, registered
from pnnbench.running.training import TrainingData, quiet
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.mrr import MRRDigits

METHODS = [BP, BPWeights, NAT, OpticalPruning, SAT]


def fit(module: pl.LightningModule, *callbacks: pl.Callback, **flags: Any) -> None:
    data = DataModule(load("digits"), batch_size=16, limit_train=80)  # 5 batches
    with quiet():
        pl.Trainer(
            callbacks=list(callbacks),
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"max_epochs": 1, **flags},
        ).fit(module, datamodule=TrainingData(data))


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e7, True, "fast"])
@pytest.mark.parametrize("name", ["lr", "lr_digital"])
def test_learning_rates_out_of_range_are_refused(
    cls: type[TrainingMethod], name: str, value: Any
) -> None:
    with pytest.raises(UserError, match=f"^{name} is"):
        cls(**{name: value})


@pytest.mark.parametrize("cls", METHODS)
def test_an_unknown_optimiser_is_refused(cls: type[TrainingMethod]) -> None:
    with pytest.raises(UserError, match="adam, sgd"):
        cls(optimizer="adamw")  # type: ignore[call-arg]


@pytest.mark.parametrize("cls", METHODS)
def test_methods_name_their_source_and_access(cls: type[TrainingMethod]) -> None:
    assert cls.source
    assert cls.access == "in_silico"


class Watch(pl.Callback):
    """Notes the learning rates of each step."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.rates.append([group["lr"] for group in optimizer.param_groups])


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 10), (2, 6)])
def test_the_learning_rates_go_to_zero_on_a_cosine(accumulate: int, steps: int) -> None:
    watch = Watch()
    method = BP(lr="0.4 mA", lr_digital=0.01)
    fit(MRRDigits(0), watch, method, max_epochs=2, accumulate_grad_batches=accumulate)
    decay = [0.5 * (1.0 + math.cos(math.pi * i / steps)) for i in range(steps)]
    assert watch.rates == [pytest.approx([0.4 * d, 0.01 * d]) for d in decay]


@pytest.mark.parametrize(
    ("name", "cls", "extra"),
    [("adam", torch.optim.Adam, {}), ("sgd", torch.optim.SGD, {"momentum": 0.5})],
)
def test_the_optimiser_holds_every_parameter_once(
    name: str, cls: type[torch.optim.Optimizer], extra: dict[str, float]
) -> None:
    found: list[torch.optim.Optimizer] = []

    class Keep(pl.Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            found.extend(trainer.optimizers)

    workload = MRRDigits(0)
    fit(workload, Keep(), BP(optimizer=name))
    assert len(found) == 1
    assert isinstance(found[0], cls)
    controls, digital = found[0].param_groups
    assert {k: controls[k] for k in extra} == extra
    held = [id(p) for p in [*controls["params"], *digital["params"]]]
    assert held == [
        id(p) for p in [*workload.controls().values(), *workload.digital_parameters().values()]
    ]
    assert sorted(held) == sorted(id(p) for p in workload.parameters())


def test_random_draws_follow_the_seed_and_the_number_of_the_call() -> None:
    def draw(seed: int, call: int) -> list[float]:
        method = BP()
        method.seed, method.calls = seed, call
        assert torch.equal(
            torch.rand(3, generator=method.generator()), torch.rand(3, generator=method.generator())
        )
        return torch.rand(3, generator=method.generator()).tolist()

    assert draw(1, 5) == draw(1, 5)
    assert len({tuple(draw(seed, call)) for seed in range(4) for call in range(4)}) == 16


def test_each_batch_is_one_call() -> None:
    numbers: list[int] = []

    class Notes(BP):
        """Notes the number of the call."""

        def loss(self, workload: Workload, batch: Batch) -> Tensor:
            numbers.append(self.calls)
            return super().loss(workload, batch)

    fit(MRRDigits(0), Notes(), accumulate_grad_batches=2, max_epochs=2)
    assert numbers == list(range(1, 11))


def test_the_state_is_restored() -> None:
    method = BP()
    method.calls = 17
    again = BP()
    again.load_state_dict(method.state_dict())
    assert again.calls == 17


@pytest.mark.parametrize("pair", [(BP, SAT), (SAT, BP), (NAT, BPWeights)])
def test_two_methods_in_one_trainer_are_refused(pair: tuple[type[Any], type[Any]]) -> None:
    first, second = pair
    text = f"two training methods in one Trainer: {first.__name__} and {second.__name__}"
    with pytest.raises(UserError, match=text):
        fit(MRRDigits(0), first(), second())


def test_a_second_training_with_the_same_method_is_fine() -> None:
    workload, method = MRRDigits(0), BP()
    fit(workload, method)
    fit(workload, method)
    assert method.calls == 5


def test_only_workloads_can_be_trained() -> None:
    with pytest.raises(UserError, match=r"BP trains workloads, not LightningModule"):
        BP().setup(pl.Trainer(logger=False, accelerator="cpu"), pl.LightningModule(), "fit")


#: What built-in methods are told of the tests; those not named know nothing.
TOLD = {
    "nat": ("gaussian on controls",),
    "nat-in-situ": ("gaussian on controls", "one device"),
    "random-environment": ("tested law",),
    "sat-environment": ("tested law",),
    "sat-outward": ("tested law",),
}


@pytest.mark.parametrize("name", registered("methods"))
def test_what_a_method_knows_is_computed_from_its_class(name: str) -> None:
    cls = method_class(name)
    device = ("one device",) if cls.access != "in_silico" else ()
    assert cls.told() == TOLD.get(name, device)


def test_no_declaration_hides_the_device() -> None:
    class Shy(BP):
        access = "in_situ_internal"
        knows = ()

    class Twice(Shy):
        knows = ("one device", "tested law")

    assert Shy.told() == ("one device",)
    assert Twice.told() == ("tested law", "one device")


def test_the_base_class_has_no_loss() -> None:
    with pytest.raises(NotImplementedError):
        TrainingMethod(0.1).loss(MRRDigits(0), (torch.ones(1), torch.ones(1)))


@pytest.mark.parametrize("cls", METHODS)
def test_training_lowers_the_loss(cls: type[TrainingMethod]) -> None:
    data = DataModule(load("digits"), limit_train=80)
    x, y = data.train_tensors()

    def task_loss(workload: MRRDigits) -> float:
        workload.calibrate(x)
        with torch.no_grad():
            return workload.loss(workload(x), (x, y)).item()

    workload = MRRDigits(0)
    fit(workload, cls(lr=0.05), max_epochs=6)
    assert task_loss(workload) < 0.8 * task_loss(MRRDigits(0))
    for current in workload.controls().values():
        assert 0.0 <= current.min().item() <= current.max().item() <= 5.0
