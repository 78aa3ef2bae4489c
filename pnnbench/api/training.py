"""`pnnbench.train`: one training, as the jobs of a suite have it, of objects or of names."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_safetensors

from pnnbench.accelerator import SINGLE, check_precision, choose
from pnnbench.api.parts import method as build_method
from pnnbench.api.parts import workload as build_workload
from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.platforms.base import Device
from pnnbench.records.store import canonical, write_whole
from pnnbench.registry import proper_name
from pnnbench.running.entries import MethodEntry
from pnnbench.running.loose_code import code_digest
from pnnbench.running.sources import source_of
from pnnbench.running.training import (
    DivergedError,
    RunState,
    deployed,
    fit,
    generator_state,
    restore_generators,
    seed_generators,
)
from pnnbench.seeds import check_seed
from pnnbench.workloads.base import Workload

#: Called with (epochs done, epochs in all, mean training loss of the epoch).
Report = Callable[[int, int, float], None]
#: File in the folder of a training that says which one it is.
NAME = "training.json"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network after its training.

    Attributes:
        workload: It, calibrated on the device it is used on, in evaluation mode.
        method: The method that trained it.
        tier: Name of the tier.
        seed: Seed of the training.
        epochs: Passes over the training images.
        data: Its data.
        losses: Mean training loss of each epoch.
        seconds: Time of the training, in s.
        gradient_evaluations: Passes recorded for differentiation.
        hardware_queries: Inputs measured on hardware, those of the calibration included.
        device: The device that a method in situ has trained on; None for the ideal one.
    """

    workload: Workload
    method: TrainingMethod
    tier: str
    seed: int
    epochs: int
    data: DataModule
    losses: tuple[float, ...]
    seconds: float
    gradient_evaluations: int
    hardware_queries: int
    device: Device | None


def train(
    workload: str | type[Workload] | Workload | TrainedNetwork,
    method: str | type[TrainingMethod] | TrainingMethod = "bp",
    *,
    data: Any = None,
    tier: str = "quick",
    seed: int = 0,
    epochs: int | None = None,
    accelerator: str = "auto",
    precision: str = SINGLE,
    root: str | Path | None = None,
    folder: str | Path | None = None,
    report: Report | None = None,
) -> TrainedNetwork:
    """Trains a network, as the jobs of a suite are trained: to the same bits.

    The order of the data, the method's own draws and its training device follow the seed. Batch
    norm and full scales of the read-out are calibrated at the end. The global generators of torch,
    Python and NumPy are afterwards where they were.

    Args:
        workload: Name or class, whose initial parameters follow ``seed``, or a workload, or a
            trained network, which is trained on; it stays as it is.
        method: Name or class, for its defaults, or a method (`pnnbench.method`).
        data: Another data set than that of the named workload, as `pnnbench.workload` takes it.
        tier: How much to train: ``"smoke"`` (seconds), ``"quick"``, ``"standard"``, ``"paper"``; a
            workload has some of them.
        seed: Seed of the training, at least 0.
        epochs: Passes over the training images, at least 1; None for those of the tier.
        accelerator: Where it is trained: ``"cpu"``, ``"cuda"``, or ``"auto"``, the CPU unless the
            workload gains from a GPU and there is one. The trained network stays there.
        precision: ``"32"``, ``"bf16-mixed"`` or, on a GPU, ``"16-mixed"``.
        root: Data folder; None for where the set was read before, else the default place. A
            set is read once in a process.
        folder: Where the state is kept after each epoch, so that the same call goes on after an
            interruption; None keeps nothing. It belongs to one training.
        report: Called after each epoch with epochs done, epochs in all and the mean loss.

    Returns:
        The trained network, which `pnnbench.evaluate` takes.

    Raises:
        UserError: If a name or value is wrong, the method cannot train the workload, the data are
            missing, the folder is that of another training, or the loss is no longer finite.
    """
    check_seed("seed", seed)
    precision = check_precision(precision)
    untrained = _untrained(workload, seed, data)
    place = choose(accelerator, gains=untrained.gains_from_gpu, precision=precision)
    trainer = method if isinstance(method, TrainingMethod) else build_method(method)
    amount = untrained.tier(tier)
    passes = amount.epochs if epochs is None else _whole("epochs", epochs)
    if not trainer.supports(untrained):
        raise UserError(
            f"{type(trainer).__name__} cannot train {untrained.name}",
            next_step="pnnbench list methods shows what each can train",
        )
    trainer.check(untrained)
    untrained.check_ready()
    images = data_of(untrained, tier, seed=seed, root=root)
    kept = None if folder is None else Path(folder)
    if kept is not None:
        _claim(kept, _identity(untrained, trainer, tier, seed, passes, images, precision))
    before = generator_state()
    state = RunState(report)
    try:
        seed_generators(seed)
        trainer.seed, trainer.train_device = seed, seed
        working = copy.deepcopy(untrained)
        fit(
            working,
            trainer,
            images,
            epochs=passes,
            folder=kept,
            state=state,
            device=place,
            precision=precision,
        )
    except DivergedError as error:
        raise UserError(
            f"the training diverged: {error}", next_step="a smaller step: method('NAME', lr=...)"
        ) from None
    finally:
        restore_generators(before)
    trained = deployed(working, copy.deepcopy(untrained)).to(place)
    device = None if trainer.access == "in_silico" else trained.training_device(seed)
    chosen, _ = images.train_tensors(slice(amount.calibration_images))
    trained.calibrate(chosen, device=device)
    trained.eval()
    return TrainedNetwork(
        trained,
        trainer,
        tier,
        seed,
        passes,
        images,
        tuple(state.losses),
        state.seconds,
        state.gradient_evaluations,
        state.hardware_queries + trained.hardware_queries - untrained.hardware_queries,
        device,
    )


def _untrained(
    given: str | type[Workload] | Workload | TrainedNetwork, seed: int, data: Any
) -> Workload:
    """The workload that is meant; raises UserError for anything else."""
    found = given.workload if isinstance(given, TrainedNetwork) else given
    if not isinstance(found, Workload):
        return build_workload(found, seed, **({} if data is None else {"data": data}))
    if data is not None:
        raise UserError(
            f"data are given beside {type(found).__name__}, which has been built with its own",
            allowed="data= beside the name of a workload",
            next_step="pnnbench.train(pnnbench.workload(NAME, data=...), ...)",
        )
    return found


def _whole(name: str, value: int) -> int:
    """An integer of at least 1; raises UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} is {value!r}", allowed="an integer, at least 1")
    return value


def entry_of(method: TrainingMethod, epochs_factor: float = 1.0) -> MethodEntry:
    """The row of a method, with all hyper-parameters that can be written down."""
    params = {}
    for name in _parameters(type(method)):
        if hasattr(method, name):
            value = getattr(method, name)
            params[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    name = proper_name("methods", type(method))
    return MethodEntry(name, name, params, epochs_factor)


def _parameters(cls: type) -> list[str]:
    """Names of a class's hyper-parameters, those that it hands on as ``**kwargs`` among them."""
    found: dict[str, None] = {}
    for begin in (vars(c)["__init__"] for c in cls.__mro__ if "__init__" in vars(c)):
        parameters = inspect.signature(begin).parameters.values()
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        found |= {p.name: None for p in [*parameters][1:] if p.kind in named}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return list(found)


def _identity(
    workload: Workload,
    method: TrainingMethod,
    tier: str,
    seed: int,
    epochs: int,
    data: DataModule,
    precision: str,
) -> dict[str, Any]:
    """What decides a training, as plain values."""
    start = to_safetensors({k: v.contiguous() for k, v in workload.tensors().items()})
    row = entry_of(method)
    for name in _parameters(type(method)):
        if name not in row.params:
            raise UserError(
                f"{type(method).__name__} does not keep its hyper-parameter {name!r}, so that "
                "nothing says whether a folder is that of its training",
                allowed=f"self.{name} = {name} in its __init__, or no folder=",
            )
    parts = [type(module) for module in workload.network.modules()]
    environments = [layer.environment_class for layer in workload.layers().values()]
    classes = [type(method), type(workload), *parts, *environments]
    files = source_of([*classes, workload.data_set.source()]).sha256
    # The loss of `pnnbench.physical` is part of its class, which stands in this package.
    code = code_digest([*dict.fromkeys(classes), getattr(workload, "task_loss", None)])
    return {
        "workload": proper_name("workloads", type(workload)),
        "parameters at the start": hashlib.sha256(start).hexdigest(),
        "method": row.name,
        "hyper-parameters": dict(row.params),
        "tier": tier,
        "seed": seed,
        "epochs": epochs,
        "data": data.arrays.fingerprint,
        "devices": workload.devices.describe(),
        "network": hashlib.sha256(canonical(workload.describe(tier))).hexdigest(),
        "code": hashlib.sha256(f"{files} {code}".encode()).hexdigest(),
        **({} if precision == SINGLE else {"precision": precision}),
    }


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Says in a folder which training it is for; refuses that of another one."""
    path, identity = folder / NAME, json.loads(json.dumps(identity))
    advice = "give each training a folder of its own, or remove this one"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            differing = [key for key, value in identity.items() if found.get(key) != value]
        except (AttributeError, ValueError):
            raise UserError(f"{path} cannot be read", next_step=advice) from None
        if differing:
            # Another method is other code: the first is enough to say.
            named = [key for key in differing if key not in ("network", "code")] or differing
            raise UserError(
                f"{folder} holds another training: {', '.join(named)} differ",
                next_step=advice,
            )
        return
    if (folder / "last.ckpt").exists():
        raise UserError(f"{folder} holds a training without {NAME}", next_step=advice)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(identity, indent=1, sort_keys=True) + "\n").encode())


def data_of(
    workload: Workload,
    tier: str,
    *,
    seed: int = 0,
    root: str | Path | None = None,
) -> DataModule:
    """The data of a workload at a tier, split and limited as those of a job.

    Args:
        workload: The workload.
        tier: Name of the tier.
        seed: Seed of their order.
        root: Data folder; None for where the set was read before, else the default place. A
            set is read once in a process.

    Returns:
        The data module.

    Raises:
        UserError: If the workload has no such tier, or the data are missing.
    """
    amount = workload.tier(tier)
    return DataModule(
        workload.data_set,
        batch_size=amount.batch_size,
        seed=seed,
        holdout=amount.validation_images,
        limit_train=amount.train_images,
        limit_test=amount.test_images,
        root=None if root is None else str(root),
        augmentation=workload.augmentation,
    )
