"""A user's network as a workload: its layers on a platform, its loss, the platform's grid."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from pnnbench.data import resolve_data
from pnnbench.errors import UserError, check_count
from pnnbench.platforms.freespace import Layout
from pnnbench.platforms.mzi_matrix import PORTS, MZIMatrix
from pnnbench.workloads.base import Batch, Workload
from pnnbench.workloads.choosing import LayerReport, Modules, choose
from pnnbench.workloads.classification import Classification
from pnnbench.workloads.converted import (
    ConvertedNetwork,
    copied,
    knowing_physical,
    physical_network,
)
from pnnbench.workloads.freespace import FreeSpaceWorkload, misalignments
from pnnbench.workloads.layer_kinds import common_layout, kinds_of
from pnnbench.workloads.mrr import MRRWorkload
from pnnbench.workloads.mzi import IMBALANCES, SEVERITIES, MZIWorkload
from pnnbench.workloads.regression import Regression
from pnnbench.workloads.task_losses import (
    LossFunction,
    check_training_step,
    checked_loss,
    has_training_step,
    step_loss,
    usual_loss,
)
from pnnbench.workloads.tiers import SMOKE, Tier

__all__ = ["ConvertedNetwork", "LayerReport", "Modules", "physical", "physical_network"]

#: Tiers of a network whose task nobody has measured: a check, and what takes minutes.
TIERS: Mapping[str, Tier] = {
    "smoke": SMOKE,
    "quick": Tier(epochs=5, batch_size=64, n_devices=5, validation_images=100),
}
#: Platform -> workload whose grid, scales and unit a converted network has.
BASES: Mapping[str, type[Workload]] = {
    "mrr": MRRWorkload,
    "mzi": MZIWorkload,
    "freespace": FreeSpaceWorkload,
}


class _OfTheUser:
    """Mixin: the network and the task of a user, as `physical` is given them."""

    #: The user's network as it was given, and how it is converted.
    given: ClassVar[tuple[nn.Module, str, Modules, Mapping[str, Any]]]
    task_loss: ClassVar[tuple[LossFunction | None]]
    network: ConvertedNetwork

    def build_network(self) -> ConvertedNetwork:
        """Converts a copy of the user's network."""
        model, platform, modules, options = self.given
        return physical_network(model, platform, modules, **options)

    @property
    def report(self) -> tuple[LayerReport, ...]:
        """What became of each module of the network."""
        return self.network.report

    def describe(self, tier: str) -> dict[str, Any]:
        """Adds what became of each module, and a digest of the network as it was given."""
        model = self.given[0]
        digest = hashlib.sha256(repr(model).encode())
        for name, value in model.state_dict().items():
            digest.update(name.encode())
            if isinstance(value, Tensor):
                plain = value.detach().cpu().contiguous().flatten().view(torch.uint8)
                digest.update(plain.numpy().tobytes())
        lines = [dataclasses.asdict(line) for line in self.report]
        start = {"modules": lines, "sha256": digest.hexdigest()}
        return {**super().describe(tier), "given": start}  # type: ignore[misc]

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The user's loss, that of the network's own `training_step`, or the usual one."""
        classifies = isinstance(self, Classification) and not isinstance(self, Regression)
        if classifies and outputs.dim() == 2:
            cast(Classification, self)._check_outputs(outputs)
        (own,) = self.task_loss
        if own is not None:
            return checked_loss(own(outputs, batch[1]))
        if has_training_step(self.network.model):
            with knowing_physical(self.network.model):
                return step_loss(self.network.model, outputs, batch)
        return usual_loss(outputs, batch[1])


def physical(
    model: nn.Module,
    platform: str = "mrr",
    modules: Modules = None,
    *,
    data: Any = None,
    loss: LossFunction | None = None,
    n_classes: int | None = 10,
    scale: str | None = None,
    tiers: Mapping[str, Tier] = TIERS,
    name: str = "",
    **options: Any,
) -> Workload:
    """Turns a network into a workload: its linear layers and convolutions on a platform.

    The workload trains under every method that supports it (``Trainer(callbacks=[SAT()]).fit(
    workload, loader)``), and is measured over the platform's grid. Weights, modes, precision and
    device are those of the network, which is copied; see `physical_network` for what becomes
    physical. A network of the user's as a workload of a suite is a subclass of the platform's
    workload (`MRRWorkload`, `MZIWorkload`, `FreeSpaceWorkload`) whose ``build_network`` returns
    ``physical_network(...)``: it draws new weights for each seed.

    Levels of a mesh's grid and the severity of its training device are those of one mesh of 64
    ports times sqrt(64 / columns), with the columns of interferometers of all layers together; they
    are not measured. The other platforms have the levels of their own workloads.

    Args:
        model: The network, batch first, with one tensor as its output. A LightningModule keeps its
            loss.
        platform: ``"mrr"``, ``"mzi"`` or ``"freespace"``.
        modules: Which modules become physical; see `physical_network`.
        data: Name of the data set that it is run on, which has the classes; not needed for a loader
            of one's own.
        loss: (outputs, targets) -> mean loss. None: that of a LightningModule's `training_step` on
            given outputs; else cross-entropy for class targets, mean squared error for real ones.
        n_classes: Number of classes of one's own loader, at least 2, for the level of guessing;
            None for real targets, which are scored by their mean squared error.
        scale: ``"per-layer"`` or None; see `physical_network`.
        tiers: Tier name -> how much to run.
        name: Name of the workload; that of the network's class and the platform if empty.
        **options: Options of the platform's layers; see `physical_network`.

    Returns:
        The workload; its ``report`` has a line for each module.

    Raises:
        UserError: As `physical_network`; if the loss of a LightningModule's `training_step` cannot
            be asked for.
    """
    if loss is not None and not callable(loss):
        raise UserError(f"loss is {loss!r}", allowed="a function of outputs and targets")
    kinds, model = kinds_of(platform, options), copied(model)
    if loss is None and has_training_step(model):
        check_training_step(model)
    attributes: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"{type(model).__name__} on {platform}.",
        "name": name or f"{type(model).__name__}-{platform}".lower(),
        "tiers": dict(tiers),
        "task_loss": (loss,),
    }
    if data is not None:
        attributes["data"] = data
        n_classes = resolve_data(data).n_classes
    else:
        chance = None if n_classes is None else 1.0 / check_count("n_classes", n_classes, low=2)
        attributes.update(n_classes=n_classes, chance=chance)
    if platform == "freespace":
        layout = options.get("layout")
        if layout is None:
            layout = common_layout(choose(model, platform, kinds, modules)[0])
        options = {**options, "layout": layout}
        attributes.update(layout=layout, environment_ranges=_ranges(layout))
    attributes["given"] = (model, platform, modules, {"scale": scale, **options})
    task = () if n_classes is not None else (Regression,)
    title = f"{type(model).__name__}On{platform.upper()}"
    made: type[Workload] = type(title, (_OfTheUser, *task, BASES[platform]), attributes)
    workload = made()
    if isinstance(workload, MZIWorkload):
        _set_levels(made, workload)
    return workload


def _ranges(layout: Layout) -> Mapping[str, float]:
    return misalignments(layout).training_ranges()


def _set_levels(made: type[Any], workload: Workload) -> None:
    """Levels of one published mesh over the root of how many times its columns are met."""
    layers = workload.layers().values()
    columns = sum(layer.light_path for layer in layers if isinstance(layer, MZIMatrix))
    factor = math.sqrt(PORTS / columns)

    def levels(published: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(float(f"{level * factor:.2g}") for level in published)

    made.severities = made.counted = levels(SEVERITIES)
    made.imbalances = made.imbalances_counted = levels(IMBALANCES)
    made.training_severity = float(f"{MZIWorkload.training_severity * factor:.2g}")
