"""Tells copies: one network handed in under several seeds, or one that is published already."""

from __future__ import annotations

import secrets
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.records.folders import find_records
from pnnbench.records.index import workload_of
from pnnbench.records.plain_json import read_json
from pnnbench.records.store import open_record
from pnnbench.submitting.differences import place_of

#: Two networks are one where their parameters are closer, relative to the spread of each tensor.
#: Those of two seeds are about 1 apart.
CLOSE = 0.02
#: Entries of a tensor that are looked at, and fewest that say anything.
_ENTRIES, _FEWEST = 1_000, 32
#: Images by which cells of one network may be apart, and that those of a published row must span.
_IMAGES, _SPAN = 1.0, 20.0
#: Difference of a cell that is no share of images, relative.
_RELATIVE = 2e-3


class Copies:
    """Refuses two seeds with the same tensors, or almost the same.

    A few entries of each parameter are compared, the same of each seed, chosen anew each time so
    that nobody knows which. The file's bytes do not matter.
    """

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(secrets.randbits(63))
        self._places: dict[str, Tensor] = {}
        self._seen: dict[int, dict[str, Tensor]] = {}

    def add(self, seed: int, parameters: Mapping[str, Tensor]) -> None:
        """Takes the parameters of one more seed.

        Args:
            seed: Which.
            parameters: Name -> real tensor, of the same names and shapes for each seed.

        Raises:
            UserError: If they are those of a seed before.
        """
        entries: dict[str, Tensor] = {}
        for name, tensor in parameters.items():
            flat = tensor.detach().flatten()
            if len(flat) < _FEWEST:
                continue
            if name not in self._places:
                self._places[name] = torch.randint(
                    len(flat), (min(_ENTRIES, len(flat)),), generator=self._generator
                )
            entries[name] = flat[self._places[name]].double()
        for other, known in self._seen.items():
            if entries and _apart(entries, known) < CLOSE:
                raise UserError(
                    f"seeds {other} and {seed} have the same tensors, or almost",
                    allowed="networks that were trained from different beginnings",
                )
        self._seen[seed] = entries


def _apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Root mean square difference over spread, in the middle tensor of those that vary at all."""
    found = []
    for name, values in one.items():
        spread = float(values.std())
        if spread > 0.0:
            found.append(float((values - other[name]).square().mean().sqrt()) / spread)
    return sorted(found)[len(found) // 2] if found else float("inf")


def published_of(computed: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Finds published rows whose networks these are, by their tensors or by all of their cells.

    Args:
        computed: For each seed ``parameters`` (SHA-256), ``workload``, ``tier``, ``fingerprint``,
            ``images`` (of an accuracy; else None) and ``cells``, as they were computed.
        folder: Folder of boards.

    Returns:
        For each that is found ``seed`` (its place in ``computed``), and of the published record
        ``suite``, ``row``, ``method``, ``of_seed`` and ``record``, its checksum.
    """
    boards: set[tuple[str, str] | None] = {(one["workload"], one["tier"]) for one in computed}
    found = []
    for record in _records(folder, boards):
        for i, one in enumerate(computed):
            if _is_that(one, record):
                job = record["job"]
                found.append(
                    {
                        "seed": i,
                        "suite": job["suite"],
                        "row": job["method"]["label"],
                        "method": job["method"]["name"],
                        "of_seed": job["seed"],
                        "record": record["checksum"],
                    }
                )
    return found


def _records(folder: Path, boards: Container[tuple[str, str] | None]) -> Iterator[dict[str, Any]]:
    """Published records of some workloads and tiers; what is no whole record is none."""
    for path in find_records(folder) if folder.is_dir() else ():
        try:
            stored = read_json(path, "publish the board again")
            if _board(stored) not in boards:
                continue  # unseen: whether a record is whole takes longer
            record = open_record(stored, str(path))
        except UserError:
            continue
        if record["status"] == "ok":
            yield record


def _board(stored: Any) -> tuple[str, str] | None:
    """Workload and tier of what stands in a file of a record; None where it says none."""
    try:
        return workload_of(stored["job"]), str(stored["job"]["tier"])
    except (TypeError, KeyError, IndexError, AttributeError):
        return None


def _is_that(one: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    if one["fingerprint"] != record["data"]["fingerprint"]:
        return False
    if one["parameters"] == record["parameters"]["sha256"]:
        return True
    told = {repr(place_of(cell)): cell["value"] for cell in record["cells"]}
    own = {repr(place_of(cell)): cell["value"] for cell in one["cells"]}
    pairs = [(own[place], told[place]) for place in own.keys() & told.keys()]
    if len(pairs) < len(own) or any(a is None or b is None for a, b in pairs):
        return False
    images = one["images"]
    if images is None:
        return all(abs(a - b) <= _RELATIVE * abs(b) for a, b in pairs)
    values = [a * images for a, _ in pairs]
    # Where all cells are alike, as those of guessing are, they say nothing of the network.
    if max(values) - min(values) < _SPAN:
        return False
    return all(abs(a - b) * images <= _IMAGES + 1e-6 for a, b in pairs)
