"""Reads wandb's offline files back. The format is wandb's own; every checksum is verified.

A 7-byte header, then 32 KiB blocks of chunks: CRC-32 over type and data, length, type (1 whole,
2 first, 3 middle, 4 last), data. A record is a protocol buffer.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32768


def _payloads(raw: bytes) -> list[bytes]:
    ident, magic, _version = struct.unpack("<4sHB", raw[:7])
    assert ident == b":W&B"
    assert magic == 0xBEE1
    found, parts, at = [], [], 7
    while at + 7 <= len(raw):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        crc, length, kind = struct.unpack("<IHB", raw[at : at + 7])
        if kind == 0:
            at += left
            continue
        data = raw[at + 7 : at + 7 + length]
        assert len(data) == length
        assert crc == zlib.crc32(bytes([kind]) + data)
        parts.append(data)
        if kind in (1, 4):
            found.append(b"".join(parts))
            parts = []
        at += 7 + length
    assert not parts
    return found


@dataclass
class OfflineRun:
    """What one offline file holds."""

    folder: Path
    run_id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    exit_code: int | None = None


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def read_run(file: Path) -> OfflineRun:
    """Reads one ``.wandb`` file."""
    result = OfflineRun(file.parent)
    for payload in _payloads(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            result.run_id, result.name = run.run_id, run.display_name
            result.group, result.job_type = run.run_group, run.job_type
            result.tags = list(run.tags)
            for item in run.config.update:
                result.config[_key(item)] = json.loads(item.value_json)
        elif kind == "config":
            for item in record.config.update:
                result.config[_key(item)] = json.loads(item.value_json)
        elif kind == "history":
            line = {_key(item): json.loads(item.value_json) for item in record.history.item}
            result.history.append(line)
        elif kind == "summary":
            for item in record.summary.update:
                result.summary[_key(item)] = json.loads(item.value_json)
        elif kind == "request":
            request = record.request
            if request.WhichOneof("request_type") == "log_artifact":
                _artifact(result, request.log_artifact.artifact)
        elif kind == "artifact":
            _artifact(result, record.artifact)
        elif kind == "exit":
            result.exit_code = record.exit.exit_code
    return result


def _artifact(result: OfflineRun, artifact: Any) -> None:
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    result.artifacts[artifact.name] = {
        "type": artifact.type,
        "files": files,
        "digest": artifact.digest,
        "metadata": json.loads(artifact.metadata or "{}"),
        "used": artifact.use_after_commit,
    }


def read_offline(folder: Path, *, wait_s: float = 5.0) -> list[OfflineRun]:
    """Reads every offline run below a folder.

    wandb's process writes the last block about a millisecond after ``finish`` returned, so a run
    without its exit record is read again until it has one.
    """
    until = time.monotonic() + wait_s
    while True:
        files = sorted(folder.rglob("*.wandb"))
        try:
            runs = [read_run(file) for file in files]
        except (AssertionError, struct.error):
            if time.monotonic() > until:
                raise
            continue
        if all(run.exit_code is not None for run in runs) or time.monotonic() > until:
            return runs
        time.sleep(0.005)
