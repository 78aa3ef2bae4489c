"""`pnnbench.evaluate`: a network on its platform's grid, measured as the jobs of a suite are."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_safetensors
from torch import nn

from pnnbench.accelerator import choose, describe, device_of
from pnnbench.api.locating import locate
from pnnbench.api.parts import PHYSICAL
from pnnbench.api.results import Results
from pnnbench.api.training import TrainedNetwork, data_of, entry_of
from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError, check_kind
from pnnbench.leaderboard.ranking import build
from pnnbench.lookup import only
from pnnbench.platforms.base import Device
from pnnbench.records.store import SCHEMA, seal
from pnnbench.registry import proper_name, registered, registered_name
from pnnbench.running.entries import MethodEntry
from pnnbench.running.job_specs import Job
from pnnbench.running.measuring import NothingMeasuredError, measure, require_measured
from pnnbench.running.provenance import git_state, versions
from pnnbench.running.rebuilding import load_parameters, own_device, require_contents
from pnnbench.running.training import DivergedError
from pnnbench.workloads.base import Workload
from pnnbench.workloads.networks import modes_kept

#: Suite of what is measured here, and the protocol by which.
SUITE, PROTOCOL = "evaluate", "pnnbench-2"
#: What a training costs, in a record.
_COST = ("gradient_evaluations", "hardware_queries", "train_seconds")
#: Stands for the method of a network that does not say how it was trained.
UNKNOWN = "unknown"
_ALLOWED = "a Workload, what pnnbench.train gives, or a name for pnnbench.load_network"


def evaluate(
    network: Workload | TrainedNetwork | str | Path,
    *,
    tier: str | None = None,
    devices: int | None = None,
    label: str | None = None,
    sharpness: bool = False,
    accelerator: str | None = None,
    root: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    trust: bool = False,
) -> Results:
    """Measures a network, clean and on every cell of its platform's perturbation grid.

    The figures are those that a suite's job has, to the bits: same test devices, environments, shot
    noise and images. The network stays as it is.

    Args:
        network: What `pnnbench.train` gave, a workload that is trained already (and calibrated, if
            its read-out has full scales), or what `pnnbench.load_network` takes.
        tier: How much to measure; None for the tier of the training, else ``"quick"``.
        devices: Test devices, the first so many of the grid, at least 1; None for all.
        label: Name of the row; None for the method's.
        sharpness: Whether the Hessian of the loss is measured too, which takes longer.
        accelerator: Where it is measured, in single precision: ``"cpu"``, ``"cuda"`` or
            ``"auto"``, see `pnnbench.train`; None for where the network is, and is afterwards.
        root: Data folder; None for where the set was read before, else the default place. A
            set is read once in a process.
        say: Told in lines how far it is.
        trust: As for `pnnbench.load_network`.

    Returns:
        The results of one run of the suite ``evaluate``, in memory only: a record that nobody has
        run does not stand among those that somebody has.

    Raises:
        UserError: If a name or value is wrong, data are missing or others than those of a run's
            record, or nothing could be measured.
    """
    given = _given(network, trust)
    workload, seed = given.workload, given.seed
    workload.check_ready()
    before = device_of(workload.network)
    place = before
    if accelerator is not None:
        place = choose(accelerator, gains=workload.gains_from_gpu)
    tier = given.tier if tier is None else tier
    images = given.data
    if images is None or tier != given.tier or root is not None:
        images = data_of(workload, tier, seed=seed, root=root)
    if given.fingerprint is not None:
        require_contents(workload.data_set.name, images.arrays.fingerprint, given.fingerprint)
    config = workload.describe(tier)
    tested = _devices(config["test_devices"], devices)
    config["test_devices"] = tested
    job = Job(
        SUITE,
        PROTOCOL,
        tier,
        proper_name("workloads", type(workload)),
        given.entry if label is None else dataclasses.replace(given.entry, label=label),
        seed,
        config,
        images.arrays.fingerprint,
        {},
        train_device=given.train_device,
        data=workload.brought,
    )
    started = datetime.now(UTC)
    try:
        workload.to(place)
        with modes_kept(workload):
            measured = measure(
                job,
                workload,
                images,
                say or (lambda line: None),
                device=given.device,
                devices=tested,
                sharp=sharpness,
            )
        require_measured(measured)
    except (DivergedError, NothingMeasuredError) as error:
        raise UserError(f"{job.title()}: {error}") from None
    finally:
        workload.to(before)
    tensors = {k: v.contiguous() for k, v in workload.tensors().items()}
    record = seal(
        {
            "schema": SCHEMA,
            "protocol": PROTOCOL,
            "status": "ok",
            "job": job.spec(),
            "config": config,
            "parameters": {
                "file": "parameters.safetensors",
                "sha256": hashlib.sha256(to_safetensors(tensors)).hexdigest(),
            },
            "provenance": {
                **({"method": given.told} if given.told else {}),
                "versions": versions(),
                **({"arithmetic": describe(place)} if place.type != "cpu" else {}),
                "git": git_state(),
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            **measured,
            "cost": {**given.cost, **measured["cost"]},
        }
    )
    return Results([record], build([record]))


@dataclasses.dataclass(frozen=True)
class _Given:
    """A network and what is known of its training.

    Attributes:
        workload: The network.
        entry: The row that it is.
        told: What its method may and knows; empty where that is not known.
        tier: Name of the tier.
        seed: Seed of the training.
        device: The device that a method in situ has trained on; None for the ideal one.
        data: Its data, where they have been read.
        cost: What the training took.
        fingerprint: That of the data that it was measured on before; None if it was not.
        train_device: Number of the training device; None for that of the seed.
    """

    workload: Workload
    entry: MethodEntry
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tier: str = "quick"
    seed: int = 0
    device: Device | None = None
    data: DataModule | None = None
    cost: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(_COST, 0))
    fingerprint: str | None = None
    train_device: int | None = None


def _given(network: Workload | TrainedNetwork | str | Path, trust: bool) -> _Given:
    if isinstance(network, TrainedNetwork):
        method = network.method
        cost = (network.gradient_evaluations, network.hardware_queries, network.seconds)
        return _Given(
            network.workload,
            entry_of(method, network.epochs / network.workload.tier(network.tier).epochs),
            {"access": method.access, "knows": list(method.told())},
            network.tier,
            network.seed,
            network.device,
            network.data,
            dict(zip(_COST, cost, strict=True)),
        )
    if isinstance(network, Workload):
        return _Given(network, MethodEntry(UNKNOWN, UNKNOWN, {}, 1.0))
    is_network = isinstance(network, nn.Module)
    check_kind(
        "network",
        network,
        (str, Path),
        allowed=_ALLOWED,
        next_step=PHYSICAL if is_network else "",
    )
    if registered_name("workloads", str(network)) in registered("workloads"):
        raise UserError(
            f"{str(network)!r} names a workload, which is not trained yet",
            allowed=_ALLOWED,
            next_step=f"pnnbench.evaluate(pnnbench.train({str(network)!r}))",
        )
    found = locate(network)
    record, job = found.record, found.record["job"]
    with only("any" if trust else "registered"):
        workload = load_parameters(found.parameters, record)
        device = own_device(record, workload)
    row = job["method"]
    return _Given(
        workload,
        MethodEntry(row["name"], row["label"], row["params"], job["epochs_factor"]),
        record["provenance"].get("method", {}),
        job["tier"],
        job["seed"],
        device,
        fingerprint=record["data"]["fingerprint"],
        train_device=job["seeds"]["train_device"],
        cost={name: record["cost"][name] for name in _COST},
    )


def _devices(known: list[int], count: int | None) -> list[int]:
    """The first so many test devices of a grid."""
    if count is None:
        return list(known)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(known):
        allowed = f"an integer in [1, {len(known)}]" if known else "None: the grid has no devices"
        raise UserError(f"devices is {count!r}", allowed=allowed)
    return sorted(known)[:count]
