"""Methods with a loss that train wrongly, or leave behind what they should not."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.workloads.base import Batch, Workload


class Plain(BP):
    """Works, and has nothing to describe."""

    def __init__(self) -> None:
        super().__init__()


class Detached(Plain):
    """Loses the gradient."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch).detach()


class PerImage(Plain):
    """Returns one loss per image."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(workload(batch[0]), batch[1], reduction="none")


class NotFinite(Plain):
    """Returns NaN."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch) * float("nan")


class TrainsSomethingElse(Plain):
    """Trains a parameter that nothing depends on."""

    def trained_parameters(self, workload: Workload) -> list[nn.Parameter]:
        return [nn.Parameter(torch.zeros(3))]


class Crashes(Plain):
    """Fails at the end of the first epoch."""

    def on_train_epoch_end(self, *args: Any) -> None:
        raise ValueError("out of paper")


class NeverPrograms(BPWeights):
    """Keeps its weights to itself."""

    def __init__(self) -> None:
        super().__init__()

    def deploy(self, workload: Workload) -> None:
        pass


class LeavesRange(Plain):
    """Goes far and does not come back."""

    def __init__(self) -> None:
        super().__init__()
        self.lr = 1.0

    def after_step(self, workload: Workload) -> None:
        pass


class TwoPasses(Plain):
    """Makes a second pass that moves the batch-norm statistics."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        with torch.no_grad():
            workload(batch[0])
        return super().loss(workload, batch)


class HeadStart(Plain):
    """Begins somewhere else."""

    def attach(self, workload: Workload) -> None:
        super().attach(workload)
        with torch.no_grad():
            for control in workload.controls().values():
                control.add_(0.01)


class Shuffles(Plain):
    """Turns the batch around, in place."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, index: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, index)
        for part in batch:
            part.copy_(part.flip(0))


class LeavesHook(Plain):
    """Adds one to the logits, which the loss does not see."""

    def attach(self, workload: Workload) -> None:
        super().attach(workload)
        workload.network.register_forward_hook(lambda module, args, out: out + 1.0)


class AddsToNetwork(Plain):
    """Keeps an auxiliary network in the wrong place."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.network.register_buffer("helper", torch.zeros(()))


class LeavesOverride(Plain):
    """Leaves its weights in the layers until training ends."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        for layer in workload.layers().values():
            layer.override_weight(layer.ideal_weight())
        return super().loss(workload, batch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        for layer in pl_module.layers().values():
            layer.override_weight(None)


class Freezes(Plain):
    """Freezes a digital parameter and forgets to thaw it."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, index: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, index)
        pl_module.network.fc2.bias.requires_grad_(False)


class Rolls(Plain):
    """Draws from Python's global generator."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch) * (1.0 + 0.1 * random.random())  # noqa: S311


class RollsNumpy(Plain):
    """Draws from NumPy's global generator."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return super().loss(workload, batch) * float(np.random.uniform(1.0, 1.1))  # noqa: NPY002


class Opaque:
    pass


class SavesObject(Plain):
    """Puts an object into the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "object": Opaque()}


class Forgets(Plain):
    """Remembers something between steps, but not in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        self.steps += 1
        return super().loss(workload, batch) * (1.0 + 0.1 * self.steps)


class CountsOn(Plain):
    """Takes it that each batch is a step."""

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step != self.calls:
            raise ValueError("lost count")


class Barges(Plain):
    """Takes the place of another method."""

    def attach(self, workload: Workload) -> None:
        workload.method = self


class Thaws(Plain):
    """Trains what is frozen."""

    def attach(self, workload: Workload) -> None:
        workload.network.requires_grad_(True)
        super().attach(workload)


class TakesAll(Plain):
    """Differentiates by all controls."""

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        loss = super().loss(workload, batch)
        torch.autograd.grad(loss, list(workload.controls().values()), retain_graph=True)
        return loss


class HoldsOn(Plain):
    """Does not let go."""

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        pass


class GrowsOlder(Plain):
    """Learns less in its second training."""

    def __init__(self) -> None:
        super().__init__()
        self.age = 0

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        self.age += 1
        return super().loss(workload, batch) / self.age

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "age": self.age}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.age = state_dict["age"]


FAULTS: list[tuple[type[Any], str, str]] = [
    (Detached, "loss", "without gradient"),
    (PerImage, "loss", "one finite number"),
    (NotFinite, "loss", "one finite number"),
    (TrainsSomethingElse, "loss", "trained_parameters"),
    (Crashes, "trains", "ValueError: out of paper"),
    (NeverPrograms, "controls-change", "network.fc1.current"),
    (LeavesRange, "controls-in-range", "project_controls"),
    (TwoPasses, "batch-norm", "is 16 after 8 steps"),
    (HeadStart, "same-start", "fc1.current"),
    (Shuffles, "same-data", "order"),
    (LeavesHook, "detached", "hooks"),
    (AddsToNetwork, "detached", "helper"),
    (LeavesOverride, "tidy", "weight override on layer conv1"),
    (Freezes, "tidy", "fc2.bias"),
    (Rolls, "reproducible", "self.generator()"),
    (RollsNumpy, "reproducible", "self.generator()"),
    (SavesObject, "plain-state", "tensors, numbers"),
    (Forgets, "resumes", "state_dict()"),
    (CountsOn, "trainer-flags", "accumulate_grad_batches"),
    (Barges, "alone", "super().attach"),
    (Thaws, "frozen", "network.conv1.current, network.conv1.bias was frozen"),
    (TakesAll, "frozen", "trainable=True"),
    (HoldsOn, "lets-go", "holds on"),
    (GrowsOlder, "lets-go", "second training"),
]
