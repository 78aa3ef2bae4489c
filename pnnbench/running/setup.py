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
            if config is not None and config.get("devices") != source.describe():
                raise UserError(
                    f"{self.devices} is not the file that the job was made for",
                    next_step="start the suite again: its jobs follow the content of the file",
                )
            workload.devices = source
        if self.axes:
            workload.axes = self.axes
        return workload

    def keep(self, folder: Path) -> dict[str, Any]:
        """Copies the file of devices beside a job's record.

        Args:
            folder: The job's folder.

        Returns:
            The part of the record that names it; empty for drawn devices.
        """
        if self.devices is None:
            return {}
        path = folder / f"{KEPT}{self.devices.suffix}"
        write_whole(path, self.devices.read_bytes())
        return {"devices": {"file": path.name, "sha256": file_sha256(path)}}


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
