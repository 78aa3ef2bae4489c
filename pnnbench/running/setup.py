"""What a suite adds to its workloads: measured devices, and axes beside those of the grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pnnbench.errors import UserError
from pnnbench.platforms.measured import MeasuredDevices
from pnnbench.records.store import file_sha256, write_whole
from pnnbench.workloads.base import Workload

#: Name of the file of measured devices in a job's folder, with the ending of the one it is.
KEPT = "devices"


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is set on each workload once it is built.

    Attributes:
        axes: Axes on request; see `Workload.axes`.
        devices: File of measured devices; None for drawn ones.
    """

    axes: tuple[str, ...] = ()
    devices: Path | None = None

    def on(self, workload: Workload, config: Mapping[str, Any] | None = None) -> Workload:
        """Sets a workload up.

        Args:
            workload: A fresh workload, changed in place.
            config: What it was when its job was made; None for any.

        Returns:
            The same workload.

        Raises:
            UserError: If the file is not one of devices of this network, an axis is not one of it,
                or the file has changed since.
        """
        if self.devices is not None:
            source = MeasuredDevices.read(self.devices)
            self._require_of_job(source, config)
            workload.devices = source
        if self.axes:
            workload.axes = self.axes
        return workload

    def keep(self, folder: Path, config: Mapping[str, Any]) -> tuple[Setup, dict[str, Any]]:
        """Copies the file of devices beside a job's record, before the job is trained.

        Args:
            folder: The job's folder.
            config: What the workload was when the job was made.

        Returns:
            The set-up with the copy, which stays as it is while the job runs, and the part of the
            record that names it; for drawn devices this set-up and nothing.

        Raises:
            UserError: If the file cannot be read, or has changed since the job was made.
        """
        if self.devices is None:
            return self, {}
        path = folder / f"{KEPT}{self.devices.suffix}"
        try:
            content = self.devices.read_bytes()
        except OSError as error:
            raise UserError(
                f"{self.devices}: cannot be read: {error.strerror or error}",
                next_step="put it back, and start the suite again",
            ) from None
        self._require_of_job(MeasuredDevices.of_content(self.devices.name, content), config)
        write_whole(path, content)
        part = {"devices": {"file": path.name, "sha256": file_sha256(path)}}
        return dataclasses.replace(self, devices=path), part

    def _require_of_job(self, source: MeasuredDevices, config: Mapping[str, Any] | None) -> None:
        """Refuses other devices than those of a job's configuration; None is any."""
        if config is not None and config.get("devices") != source.describe():
            raise UserError(
                f"{self.devices} is not the file that the job was made for",
                next_step="start the suite again: its jobs follow the content of the file",
            )


#: Drawn devices, and the axes of the grid.
PLAIN = Setup()


def setup_of(folder: Path, record: dict[str, Any]) -> Setup:
    """The set-up of a finished job.

    Args:
        folder: The job's folder.
        record: Its record.

    Returns:
        The set-up, with the file that stands beside the record.
    """
    kept = record.get("devices")
    path = None if kept is None else folder / kept["file"]
    return Setup(tuple(record["config"].get("axes", ())), path)
