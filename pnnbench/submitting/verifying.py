"""Re-evaluates a submission: from its tensors and the registry, and nothing that it says.

`verify_here` does so in this process, with the classes of this package only; ``pnnbench verify``
calls it in a process of its own, see `pnnbench.submitting.isolated`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pnnbench import __version__
from pnnbench.data.datamodule import DataModule
from pnnbench.errors import UserError
from pnnbench.evaluation.harness import job_cells, measure_clean
from pnnbench.lookup import only
from pnnbench.records.checks import plain
from pnnbench.records.index import workload_of
from pnnbench.registry import BOARDS
from pnnbench.running.jobs import data_module
from pnnbench.running.measuring import Share, measure, no_share
from pnnbench.submitting.bundle import MANIFEST
from pnnbench.submitting.controls import learned, left_out, other_devices, peeked
from pnnbench.submitting.copies import published_of
from pnnbench.submitting.differences import CLAIMED, Difference, differences, exact
from pnnbench.submitting.held_out import (
    LEAST_DEVICES,
    compare,
    measure_secret,
    scores_by_device,
    secret_devices,
)
from pnnbench.submitting.received import Received, Seed
from pnnbench.submitting.rounding import count_undecided, output_rounding
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import FROZEN, Cell

#: Version of what `verify_here` returns.
FORMAT = 1
#: Allowed change of a buffer that is derived here, relative to the largest value in it.
_BUFFER = 1e-3


@dataclasses.dataclass(frozen=True)
class _Measured:
    """One seed, measured here.

    Attributes:
        verdict: What is reported of it.
        public: Robust score of each public device; None where there is none.
        held_out: The same of held-out ones; None where none were asked for.
        higher: Whether more of the metric is better.
        chance: What guessing reaches; None where it has no value.
        images: Numbers of test and validation images.
        validation: The clean metric on validation images; None where there are none.
        accuracy: Whether the metric is the accuracy.
        told: What is looked for among published rows, see `pnnbench.submitting.copies`.
    """

    verdict: dict[str, Any]
    public: Any
    held_out: Any
    higher: bool
    chance: float | None
    images: tuple[int, int]
    validation: float | None
    accuracy: bool
    told: dict[str, Any]


def verify_here(
    path: Path | str,
    *,
    say: Callable[[str], None] = lambda line: None,
    share: Share = no_share,
    root: str | None = None,
    key: bytes | None = None,
) -> dict[str, Any]:
    """Re-evaluates a submission.

    Args:
        path: The folder, or the zip.
        say: Told about progress.
        share: Told which share of the work is done.
        root: Data folder; None for the default place.
        key: A maintainer's secret, of whose devices the score is measured too.

    Returns:
        Plain values: ``submission`` (SHA-256 of ``submission.json``), what row it is, for each seed
        its ``differences``, which ``failed``, ``confirmed``, the ``badges``, what is only
        ``claimed``, and with a key ``held_out``, see `pnnbench.submitting.held_out.compare`.
        ``controls`` says whether it has ``learned`` anything, of ``images`` whether it has
        ``peeked`` at the tests, see `pnnbench.submitting.controls`, which ``published`` rows have
        these networks, see `pnnbench.submitting.copies`, ``seeds_left_out`` how many there are, and
        ``training_devices`` which seeds have another one than their own.

    Raises:
        UserError: If it is no submission, or cannot be measured.
    """
    with only("own"):
        received = Received(path, root)
        said = received.submission
        found: list[_Measured] = []
        for i, seed in enumerate(received.seeds):
            say(f"seed {seed.number}")

            def part(done: float, i: int = i) -> None:
                share((i + done) / len(received.seeds))

            found.append(_measured(received, seed, said.protocol, say, part, root, key))
    confirmed = all(not one.verdict["differences"] for one in found)
    result: dict[str, Any] = {
        "format": FORMAT,
        "pnnbench": __version__,
        "submission": received.bundle.sha256(MANIFEST),
        "suite": said.suite,
        "protocol": said.protocol,
        "workload": said.workload,
        "tier": said.tier,
        "row": said.row.label,
        "seeds": [one.verdict for one in found],
        "failed": [
            {"seed": seed, "record": record["checksum"], "status": record["status"]}
            for seed, record in received.failed.items()
        ],
        "confirmed": confirmed,
        "badges": ["claimed", *(["recomputed"] if confirmed else [])],
        "controls": {
            **_controls(found),
            "published": [
                {**one, "seed": found[one["seed"]].verdict["seed"]}
                for one in published_of([one.told for one in found], BOARDS)
            ],
            "seeds_left_out": left_out(said.seeds),
            "training_devices": other_devices(
                {**{seed.number: seed.record for seed in received.seeds}, **received.failed}
            ),
        },
        "claimed": list(CLAIMED),
        "versions": {"torch": str(torch.__version__)},
    }
    if key is not None:
        if any(one.held_out is None or one.public is None for one in found):
            raise UserError(
                f"{said.workload} at tier {said.tier} has no score over devices",
                next_step="verify it without --key",
            )
        told = compare([o.public for o in found], [o.held_out for o in found], found[0].higher)
        result["held_out"] = dict(told)
        seen = result["controls"]["images"]
        if confirmed and not told["memorised"] and not (seen and seen["peeked"]):
            result["badges"].append("held-out")
    return result


def _controls(found: Sequence[_Measured]) -> dict[str, Any]:
    """Whether the row has learned anything, and from what it should not have."""
    first = found[0]
    clean = [one.verdict["clean"] for one in found]
    images = first.images[0] if first.accuracy else None
    seen = None
    if first.accuracy:
        seen = peeked(clean, [one.validation for one in found], first.images)
    return {
        "learned": learned(clean, first.chance, first.higher, images),
        "images": None if seen is None else dict(seen),
    }


@dataclasses.dataclass(frozen=True)
class Computed:
    """One seed, computed from its tensors.

    Attributes:
        workload: The trained, calibrated workload.
        data: Its data.
        measured: The measured part of a record.
        tensors: The tensors as they were given.
        accuracy: Whether the metric is the accuracy.
        rounding: How far outputs may differ on another machine; see `output_rounding`.
    """

    workload: Workload
    data: DataModule
    measured: dict[str, Any]
    tensors: Mapping[str, Tensor]
    accuracy: bool
    rounding: float


def compute(
    received: Received,
    seed: Seed,
    say: Callable[[str], None] = lambda line: None,
    share: Share = no_share,
    root: str | None = None,
) -> Computed:
    """Computes everything that the tensors of a seed tell.

    Args:
        received: The submission.
        seed: One of its seeds.
        say: Told about progress.
        share: Told which share of the work is done.
        root: Data folder; None for the default place.
    """
    workload, tensors = received.trained(seed)
    job = seed.job
    data = data_module(job, root)
    device = None if seed.access == "in_silico" else workload.training_device(job.device)
    images = data.train_tensors(slice(job.config["tier"]["calibration_images"]))[0]
    workload.calibrate(images, device=device)
    rounding = output_rounding(workload, data.test_tensors()[0])
    accuracy = count_undecided(workload, rounding)
    measured = plain(measure(job, workload, data, say, share, device=device))
    return Computed(workload, data, measured, tensors, accuracy, rounding)


def compare_with(record: Mapping[str, Any], seed: Seed, made: Computed) -> list[Difference]:
    """Holds a record against what was computed.

    Args:
        record: A record of the seed.
        seed: What the registry says that it should be of.
        made: What was computed from its tensors.

    Returns:
        Every field that differs.
    """
    job = seed.job
    return [
        *exact("job", record["job"], plain(job.spec())),
        *exact("config", record["config"], plain(dict(job.config))),
        *_access(seed, record),
        *_buffers(made.workload, made.tensors),
        *differences(record, made.measured, accuracy=made.accuracy, rounding=made.rounding),
    ]


def _measured(
    received: Received,
    seed: Seed,
    protocol: str,
    say: Callable[[str], None],
    share: Share,
    root: str | None,
    key: bytes | None,
) -> _Measured:
    """Measures one seed and holds its record against what comes out."""
    weight = 0.5 if key is not None else 1.0
    made = compute(received, seed, say, lambda done: share(weight * done), root)
    workload, data, computed = made.workload, made.data, made.measured
    job, record = seed.job, seed.record
    found = compare_with(seed.record, seed, made)
    cells = job_cells(workload, job.tier, data.test_tensors()[0])
    steps = {step["name"]: step["values"] for step in computed.get("deployments", [])}
    frozen = [cell["value"] for cell in computed["cells"]]
    values = frozen if workload.headline == FROZEN else steps[workload.headline]
    public = scores_by_device(cells, values, workload.headline)
    secret = None
    if key is not None:
        secret = _secret(workload, data, cells, key, protocol, say, share)
    verdict = {
        "seed": seed.number,
        "record": record["checksum"],
        "parameters": record["parameters"]["sha256"],
        "hash": job.spec()["hash"],
        "clean": computed["clean"],
        "score": None if public is None else float(public.mean()),
        "lambda_max": computed["sharpness"].get("lambda_max"),
        "rounding": made.rounding,
        "differences": [dataclasses.asdict(d) for d in found],
    }
    held_back, labels = data.validation_tensors()
    validation = measure_clean(workload, held_back, labels).value if len(labels) else None
    return _Measured(
        verdict,
        public,
        secret,
        workload.higher_is_better,
        workload.chance,
        (computed["data"]["n_test"], len(labels)),
        validation,
        made.accuracy,
        {
            "parameters": record["parameters"]["sha256"],
            "workload": workload_of(job.spec()),
            "tier": job.tier,
            "fingerprint": computed["data"]["fingerprint"],
            "images": computed["data"]["n_test"] if made.accuracy else None,
            "cells": computed["cells"],
        },
    )


def _secret(
    workload: Workload,
    data: DataModule,
    cells: Sequence[Cell],
    key: bytes,
    protocol: str,
    say: Callable[[str], None],
    share: Share,
) -> Any:
    """The robust score on each of a maintainer's devices."""
    if workload.devices.label:
        raise UserError(
            "this submission was measured on devices of its own, so that none can be held out",
            next_step="verify it without --key",
        )
    count = max(LEAST_DEVICES, len({c.device_seed for c in cells if c.device_seed is not None}))
    say(f"{count} held-out devices")
    return measure_secret(
        workload,
        data,
        cells,
        secret_devices(key, protocol, count),
        lambda done, total: share(0.5 + 0.5 * done / total),
    )


def _access(seed: Seed, record: Mapping[str, Any]) -> list[Difference]:
    """What the method is handed and knows, where the registry says it."""
    told = record["provenance"].get("method")
    recorded = told if isinstance(told, dict) else {}
    found = list(exact("provenance.method.access", recorded.get("access"), seed.access))
    if seed.knows is not None:
        found += exact("provenance.method.knows", recorded.get("knows"), list(seed.knows))
    return found


def _buffers(workload: Workload, tensors: Mapping[str, Any]) -> list[Difference]:
    """Tensors that are no parameters: derived here, or fixed by the registry."""
    parameters = {name for name, _ in workload.network.named_parameters()}
    found = []
    for name, own in workload.tensors().items():
        if name in parameters or not own.numel():
            continue
        here, given = (_numbers(tensor) for tensor in (own, tensors[name]))
        size, apart = float(here.abs().max()), float((given - here).abs().max())
        if apart > _BUFFER * size:
            found.append(Difference(f"tensors.{name}", apart, 0.0, _BUFFER * size))
    return found


def _numbers(tensor: Tensor) -> Tensor:
    """A tensor of any type as real numbers in double precision."""
    return torch.view_as_real(tensor).double() if tensor.is_complex() else tensor.double()
