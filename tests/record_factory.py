"""Records as a real run of a microring suite writes them, with drawn numbers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from pnnbench.records.store import SCHEMA, canonical, file_sha256, job_hash, seal, write_record

DEVICES = tuple(range(1000, 1020))
FINGERPRINT = "sha256:" + "5e" * 32
IMAGES = 10000
SEVERITIES = (0.1, 0.25, 0.5, 1.0)
FINE = (-0.25, -0.15, -0.05, 0.05, 0.15, 0.25)
WIDE = (20.0, 21.0, 23.0)
SILENT = ("temperature-wide", -2.0)
"""Axis and level of the condition that the workload gives no weight."""
METHODS = ("BP", "BP on weights", "NAT", "SAT", "Pruning")
NAMES = {"BP": "bp", "BP on weights": "bp-weights", "NAT": "nat", "SAT": "sat", "BP 2x": "bp"}
STRENGTH = {"BP": 0.9, "BP on weights": 0.6, "NAT": 1.1, "SAT": 1.4, "Pruning": 0.8, "BP 2x": 0.92}


def _share(accuracy: float) -> float:
    """A share of the test images: a whole number of them."""
    return round(accuracy * IMAGES) / IMAGES


def _cells(
    rng: np.random.Generator, strength: float, devices: Sequence[int], shift: dict[int, float]
) -> list[dict[str, Any]]:
    conditions = [("device", s, "x measured spread", s, 22.0) for s in SEVERITIES]
    conditions += [("temperature-fine", d, "degC", 0.1, 22.0 + d) for d in FINE]
    conditions += [("temperature-wide", t - 22.0, "degC", 0.1, t) for t in WIDE]
    seed_effect = rng.normal(0, 0.004)
    cells = []
    for axis, level, unit, severity, degc in conditions:
        loss = {"device": 0.25, "temperature-fine": 1.5, "temperature-wide": 2.0}[axis]
        drop = loss * abs(level) / strength
        for device in devices:
            value = 0.975 - drop * 0.5 + seed_effect + shift[device] + rng.normal(0, 0.003)
            floor = 0.1 + rng.normal(0, 0.004)
            cells.append(
                {
                    "axis": axis,
                    "level": level,
                    "unit": unit,
                    "severity": severity,
                    "environment": {"temperature_degc": degc},
                    "device_seed": device,
                    "value": _share(min(1.0, max(floor, value))),
                    "counts": (axis, level) != SILENT,
                }
            )
    return cells


def make_record(
    label: str = "SAT",
    seed: int = 0,
    *,
    suite: str = "mrr_mnist",
    tier: str = "standard",
    protocol: str = "pnnbench-2",
    fingerprint: str = FINGERPRINT,
    devices: Sequence[int] = DEVICES,
    sealed: bool = True,
) -> dict[str, Any]:
    """One finished job: 13 conditions on 20 devices, 260 cells."""
    methods = sorted(STRENGTH)
    rng = np.random.default_rng([seed, methods.index(label)])
    strength = STRENGTH[label]
    shift = {d: float(np.random.default_rng(d).normal(0, 0.01)) for d in devices}
    job: dict[str, Any] = {
        "suite": suite,
        "tier": tier,
        "workload": "mrr-mnist",
        "method": {
            "name": NAMES.get(label, label.lower()),
            "label": label,
            "params": {"rho": 0.05} if label == "SAT" else {},
        },
        "epochs_factor": 2.0 if label == "BP 2x" else 1.0,
        "seed": seed,
        "seeds": {
            "init": seed,
            "data": seed,
            "train_device": seed,
            "method": seed,
            "test_devices": list(devices),
        },
    }
    content = canonical({"fingerprint": fingerprint, "protocol": protocol})
    job["content"] = hashlib.sha256(content).hexdigest()
    job["hash"] = job_hash(job)
    sharpness = float(np.exp(2.0 - 1.5 * strength + rng.normal(0, 0.1)))
    steps = 937 * 10 * (2 if label in ("SAT", "BP 2x") else 1)
    epochs = list(range(1, 11))
    record = {
        "schema": SCHEMA,
        "protocol": protocol,
        "status": "ok",
        "job": job,
        "config": {"epochs": 10, "batch_size": 64, "optimizer": {"name": "adam", "lr": 0.003}},
        "data": {"name": "mnist", "fingerprint": fingerprint, "n_train": 60000, "n_test": IMAGES},
        "metric": {"name": "accuracy", "higher_is_better": True, "chance": 0.1},
        "clean": _share(0.985 + rng.normal(0, 0.001)),
        "cells": _cells(rng, strength, devices, shift),
        "sharpness": {
            "lambda_max": sharpness,
            "lambda_max_calibrated": sharpness * 0.7,
            "top": [sharpness, sharpness * 0.5],
            "worst_loss_increase": 0.1 * sharpness,
        },
        "cost": {
            "gradient_evaluations": steps,
            "hardware_queries": 0,
            "train_seconds": 60.0 + float(rng.uniform(0, 3)),
            "evaluate_seconds": 21.5,
            "sharpness_seconds": 12.0,
        },
        "curves": {"epoch": epochs, "train_loss": [2.0 * 0.7**e for e in epochs]},
        "extra": {"heater_power_mw": 301234.5},
        "provenance": {
            "versions": {"pnnbench": "0.1.0", "torch": "2.15.0", "python": "3.11.7"},
            "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
            "machine": {"processor": "x86-64", "cores": 2},
            "threads": 1,
            "started": f"2026-01-0{seed % 9 + 1}T10:00:00+00:00",
            "finished": f"2026-01-0{seed % 9 + 1}T10:02:00+00:00",
        },
        "parameters": {"file": "parameters.safetensors", "sha256": "0" * 64},
    }
    return seal(record) if sealed else record


MESH_SEVERITIES = (0.03, 0.06, 0.09, 0.12, 0.15, 0.20)
MESH_DEVICES = tuple(range(1_000_000, 1_000_020))
#: Label to name, parameters and epochs; then the severity at which half the accuracy is gone, the
#: accuracy gained on the training device, gradient evaluations and hardware queries per step,
#: seconds relative to BP, and the largest eigenvalue.
MESH_METHODS: dict[str, tuple[Any, ...]] = {
    "BP": ("bp", {}, 1.0, 0.19, 0.0, 1, 0, 1.0, 0.69),
    "BP, equal gradients": ("bp", {}, 2.0, 0.20, 0.0, 1, 0, 2.0, 0.52),
    "BP, SGD": ("bp", {"optimizer": "sgd"}, 1.0, 0.16, 0.0, 1, 0, 0.97, 90.0),
    "NAT": ("nat", {"sigma": 0.15}, 1.0, 0.24, 0.0, 1, 0, 1.1, 0.31),
    "NAT in situ": ("nat-in-situ", {"sigma": 0.1}, 1.0, 0.22, 0.05, 1, 1, 1.7, 0.4),
    "PAT": ("pat", {}, 1.0, 0.18, 0.13, 1, 1, 1.5, 1.2),
    "DAT": ("dat", {}, 1.0, 0.17, 0.11, 3, 2, 7.4, 2.0),
    "DAT, internal": ("dat-internal", {}, 1.0, 0.175, 0.125, 3, 2, 9.8, 1.8),
    "SAT": ("sat", {"rho": 0.1}, 1.0, 0.26, 0.0, 2, 0, 2.1, 0.12),
    "SAT, adaptive": ("sat", {"adaptive": True}, 1.0, 0.25, 0.0, 2, 0, 2.2, 0.14),
    "SAT in situ": ("sat-in-situ", {"rho": 0.1}, 1.0, 0.21, 0.14, 2, 2, 2.9, 0.1),
}


def make_mesh_record(
    label: str = "PAT",
    seed: int = 0,
    *,
    suite: str = "mzi_mnist",
    protocol: str = "pnnbench-2",
    severity: float = 0.15,
    sealed: bool = True,
) -> dict[str, Any]:
    """One finished job of a mesh: 6 severities on 20 devices, and its training device."""
    name, params, factor, half, gain, gradients, queries, seconds, sharpness = MESH_METHODS[label]
    rng = np.random.default_rng([seed, 77, list(MESH_METHODS).index(label)])
    half *= 1 + rng.normal(0, 0.03)

    def measured(s: float, device: int) -> float:
        own = 0.12 * s * float(np.random.default_rng([device, 5]).normal())
        value = 0.1 + 0.88 / (1 + (s / half) ** 4) + own + rng.normal(0, 0.003)
        return _share(min(1.0, max(0.08, value)))

    record = make_record("BP", seed, suite=suite, protocol=protocol, sealed=False)
    record["job"] |= {
        "workload": "mzi-mnist",
        "method": {"name": name, "label": label, "params": params},
        "epochs_factor": factor,
    }
    record["job"]["seeds"]["test_devices"] = list(MESH_DEVICES)
    record["job"]["hash"] = job_hash(record["job"])
    record["clean"] = _share(0.975 + rng.normal(0, 0.001))
    record["cells"] = [
        {
            "axis": "device",
            "level": s,
            "unit": "rad",
            "severity": s,
            "environment": {},
            "device_seed": device,
            "value": measured(s, device),
        }
        for s in MESH_SEVERITIES
        for device in MESH_DEVICES
    ]
    record["training_device"] = {
        "seed": seed,
        "severity": severity,
        "unit": "rad",
        "value": _share(min(0.99, measured(severity, seed) + gain)),
    }
    record["sharpness"] = {"lambda_max": sharpness * float(np.exp(rng.normal(0, 0.12)))}
    steps = int(5620 * factor)
    record["cost"] = {
        "gradient_evaluations": gradients * steps,
        "hardware_queries": queries * steps * 60,
        "train_seconds": 412.0 * seconds * (1 + 0.1 * seed) * float(np.exp(rng.normal(0, 0.02))),
        "forward_evaluations": 0 if queries == 0 else steps,
    }
    del record["extra"]
    return seal(record) if sealed else record


def make_mesh_suite(
    methods: Sequence[str] = tuple(MESH_METHODS), seeds: Sequence[int] = (0, 1, 2), **options: Any
) -> list[dict[str, Any]]:
    """All jobs of a mesh suite."""
    return [make_mesh_record(label, seed, **options) for label in methods for seed in seeds]


def make_failure(label: str = "SAT", seed: int = 0, status: str = "diverged") -> dict[str, Any]:
    """The record of a job that did not finish."""
    whole = make_record(label, seed, sealed=False)
    kept = ("schema", "protocol", "job", "config", "data", "metric", "provenance")
    record = {key: whole[key] for key in kept}
    record["status"] = status
    record["error"] = {"type": "Diverged", "message": "the loss is not finite at step 412"}
    return seal(record)


def make_suite(
    methods: Sequence[str] = METHODS, seeds: Sequence[int] = (0, 1, 2), **options: Any
) -> list[dict[str, Any]]:
    """All jobs of a suite."""
    return [make_record(label, seed, **options) for label in methods for seed in seeds]


def write_job(folder: Path, record: dict[str, Any]) -> Path:
    """Writes a job as a run does: a folder named by its hash, parameters beside the record."""
    record = copy.deepcopy(record)
    record.pop("checksum", None)
    home = folder / record["job"]["hash"]
    home.mkdir(parents=True, exist_ok=True)
    if "parameters" in record:
        file = home / record["parameters"]["file"]
        drawn = np.random.default_rng(int(record["job"]["hash"], 16)).normal(size=200)
        file.write_bytes(save({"current": drawn}))
        record["parameters"]["sha256"] = file_sha256(file)
    write_record(home / "record.json", record)
    return home / "record.json"


def changed(record: dict, path: str, value: object) -> dict:
    """A copy of a record with the value at a dotted path replaced; KeyError deletes it."""
    record = copy.deepcopy(record)
    record.pop("checksum", None)
    here = record
    *front, last = path.split(".")
    for key in front:
        here = here[int(key)] if isinstance(here, list) else here[key]
    if value is KeyError:
        del here[last]
    elif isinstance(here, list):
        here[int(last)] = value
    else:
        here[last] = value
    return record


KNOWN: dict[str, tuple[str, list[str]]] = {
    "NAT": ("in_silico", ["gaussian on controls"]),
    "SAT": ("in_silico", ["tested law"]),
    "Pruning": ("in_situ", ["one device"]),
}
#: Share of the steps to what a row has lost there against its end; NAT is first at half.
BEFORE = {0.25: 0.3, 0.5: 0.1}
RECALIBRATED = "offset-calibrated"


def make_later_record(
    label: str = "SAT", seed: int = 0, *, headline: str = "frozen", **options: Any
) -> dict[str, Any]:
    """One finished job of the second revision, with all that its record may hold; not sealed.

    Seeds that three divides are measured at a quarter and at half of their steps too, on the first
    two devices.
    """
    record = make_record(label, seed, sealed=False, **options)
    record["job"]["revision"] = 2
    record["job"]["hash"] = job_hash(record["job"])
    cells = record["cells"]
    nominal = {"axis": "shot", "level": 0.0, "unit": "", "severity": 0.0, "device_seed": None}
    noisy = {"environment": {"temperature_degc": 22.0}, "value": record["clean"] - 0.02}
    cells.append({**nominal, **noisy, "counts": False})
    lifted = [min(1.0, cell["value"] + 0.5 * (1.0 - cell["value"])) for cell in cells]
    record["deployments"] = [
        {"name": RECALIBRATED, "images": 256, "queries": 512, "values": lifted}
    ]
    record["headline"] = headline
    access, known = KNOWN.get(label, ("in_silico", []))
    record["provenance"]["method"] = {"access": access, "knows": known}
    if access == "in_situ":
        record["cost"]["hardware_queries"] = 337_000
    record["extra"] = {"light_on_detectors": 0.004 + 0.0001 * seed, "control_power_mw": 21_000.0}
    part = [c for c in cells if c["device_seed"] in DEVICES[:2]]
    place = ("axis", "level", "unit", "severity", "environment", "device_seed")
    if seed % 3 == 0:
        record["earlier"] = [
            {
                "share": share,
                "steps": int(9370 * share),
                "clean": record["clean"] - lost,
                "cells": [
                    {
                        **{key: cell[key] for key in place},
                        "value": max(0.1, cell["value"] - lost * (0.1 if label == "NAT" else 1.0)),
                    }
                    for cell in part
                ],
            }
            for share, lost in BEFORE.items()
        ]
    return record


def make_later_suite(
    methods: Sequence[str] = METHODS, seeds: Sequence[int] = (0, 1, 2, 3), **options: Any
) -> list[dict[str, Any]]:
    """All jobs of a suite of the second revision."""
    return [make_later_record(label, seed, **options) for label in methods for seed in seeds]


#: What the image suites measure: metric, chance level, figures beside it, workload.
IMAGE_SUITES: dict[str, tuple[str, float, tuple[str, ...], str]] = {
    "cifar10_reconstruct": ("mse", 0.06, ("psnr_db", "ssim"), "mrr-cifar10-autoencoder"),
    "cifar10_generate": (
        "fid-efficientnet-lite0-320-64px-57934424",
        400.0,
        (
            "kid-efficientnet-lite0-320-64px-57934424",
            "precision-efficientnet-lite0-320-64px-57934424-n2000",
            "recall-efficientnet-lite0-320-64px-57934424-n2000",
        ),
        "mrr-cifar10-gan",
    ),
    "cifar10_classify": ("accuracy", 0.1, (), "mrr-cifar10"),
}
IMAGE_DEVICES = tuple(range(1_000_000, 1_000_006))
#: Label to name and to how fast the figures go off with the temperature.
IMAGE_METHODS = {
    "BP": ("bp", 1.0),
    "BP, equal gradients": ("bp", 0.9),
    "BP on weights": ("bp-weights", 1.2),
    "NAT": ("nat", 0.4),
    "SAT": ("sat", 0.02),
    "SAT, adaptive": ("sat", 0.03),
    "Optical pruning": ("pruning", 0.8),
}


def make_image_record(
    label: str = "SAT", seed: int = 0, *, suite: str = "cifar10_generate", sealed: bool = True
) -> dict[str, Any]:
    """One finished job on images: 3 severities and 11 temperatures on 6 devices.

    Where nothing is off the error is a twentieth of the chance level; it grows to that level, and
    a little beyond.
    """
    name, pace = IMAGE_METHODS[label]
    metric, chance, also, workload = IMAGE_SUITES[suite]
    rng = np.random.default_rng([seed, list(IMAGE_METHODS).index(label), len(suite)])
    record = make_record("BP", seed, suite=suite, sealed=False)
    params = {"adaptive": True} if label == "SAT, adaptive" else {}
    record["job"] |= {
        "workload": workload,
        "method": {"name": name, "label": label, "params": params},
        "epochs_factor": 2.0 if label == "BP, equal gradients" else 1.0,
        "revision": 3,
    }
    record["job"]["seeds"]["test_devices"] = list(IMAGE_DEVICES)
    record["job"]["hash"] = job_hash(record["job"])
    record["data"] = {**record["data"], "name": "cifar10", "n_test": 2000}
    higher = metric == "accuracy"
    record["metric"] = {"name": metric, "higher_is_better": higher, "chance": chance}

    def measured(off: float) -> tuple[float, dict[str, float]]:
        """The metric and what stands beside it, where 1 is as far off as can be."""
        off = min(1.0, off) * float(np.exp(rng.normal(0, 0.02)))
        if higher:
            return round(2000 * (0.85 - 0.75 * min(off, 1.0))) / 2000, {}
        share = 1.0 - 0.9 * min(off, 1.0)
        value = chance * (0.05 + 0.95 * off)
        psnr = -10.0 * float(np.log10(value))
        figures = (psnr, share) if len(also) == 2 else (off, share, 0.8 * share)
        return value, dict(zip(also, figures, strict=True))

    record["clean"], beside = measured(0.0)
    if also:
        record["also"] = beside
    record["cells"] = []
    places = [("device", s, "x fabrication spread", s, 22.0) for s in (0.5, 1.0, 1.5)]
    steps = [round(-0.25 + 0.05 * i, 2) for i in range(11)]
    places += [("temperature_fine", t, "degC", 0.5, 22.0 + t) for t in steps]
    for axis, level, unit, severity, degc in places:
        for device in IMAGE_DEVICES:
            scale = 3.0 if axis == "device" else 0.25
            value, beside = measured(pace * abs(level) / scale + 0.02)
            cell = {
                "axis": axis,
                "level": level,
                "unit": unit,
                "severity": severity,
                "environment": {"temperature_degc": degc},
                "device_seed": device,
                "value": value,
                "counts": level != 0.0,
            }
            record["cells"].append({**cell, "also": beside} if also else cell)
    del record["extra"]
    return seal(record) if sealed else record


def make_image_suite(
    methods: Sequence[str] = tuple(IMAGE_METHODS), seeds: Sequence[int] = (0, 1, 2), **options: Any
) -> list[dict[str, Any]]:
    """All jobs of a suite on images."""
    return [make_image_record(label, seed, **options) for label in methods for seed in seeds]
