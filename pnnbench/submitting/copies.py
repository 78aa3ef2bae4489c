"""Tells copies: one network handed in under several seeds, or one that is published already."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
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
#: Two networks are one where their answers are closer, relative to how these vary from image to
#: image. Those of two seeds are 0.2 apart and more; controls that are moved by 3 % of their
#: spread move the answers by about as much.
ALIKE = 0.02
#: Answers that vary less than this, relative to their size, are one answer.
_CONSTANT = 1e-5
#: Entries of a tensor that are looked at, and fewest that say anything.
_ENTRIES, _FEWEST = 1_000, 32
#: Images by which cells of one network may be apart, and that those of a published row must span.
_IMAGES, _SPAN = 1.0, 20.0
#: Difference of a cell that is no share of images, relative.
_RELATIVE = 2e-3


class Copies:
    """Refuses two seeds that are one network.

    A few entries of each parameter are compared, the same of each seed, chosen anew each time so
    that nobody knows which. The file's bytes do not matter. Most of the hardware set alike is one
    network too, whatever became of the digital parameters; and so are the same answers from other
    parameters, such as those of neurons in another order.
    """

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(secrets.randbits(63))
        self._places: dict[str, Tensor] = {}
        self._sizes: dict[str, int] = {}
        self._seen: dict[int, dict[str, Tensor]] = {}
        self._answers: dict[int, Tensor] = {}

    def some_of(self, count: int, most: int) -> Tensor:
        """Chooses among so many, that nobody knows which.

        Args:
            count: Among how many.
            most: How many are chosen at most.

        Returns:
            Their numbers, int64.
        """
        return torch.randperm(count, generator=self._generator)[:most]

    def add(
        self, seed: int, parameters: Mapping[str, Tensor], controls: Collection[str] = ()
    ) -> None:
        """Takes the parameters of one more seed.

        Args:
            seed: Which.
            parameters: Name -> real tensor, of the same names and shapes for each seed.
            controls: Names of those that the hardware is set to.

        Raises:
            UserError: If they are those of a seed before.
        """
        entries: dict[str, Tensor] = {}
        for name, tensor in parameters.items():
            flat = tensor.detach().flatten()
            if len(flat) < _FEWEST:
                continue
            if name not in self._places:
                self._sizes[name] = len(flat)
                self._places[name] = torch.randint(
                    len(flat), (min(_ENTRIES, len(flat)),), generator=self._generator
                )
            entries[name] = flat[self._places[name]].double()
        for other, known in self._seen.items():
            if self._one(_apart(entries, known), controls):
                raise UserError(
                    f"seeds {other} and {seed} have the same tensors, or almost",
                    allowed="networks that were trained from different beginnings",
                )
        self._seen[seed] = entries

    def _one(self, apart: Mapping[str, float], controls: Collection[str]) -> bool:
        """Whether half of the tensors are close, or more than half of what the hardware is set to.

        Args:
            apart: Name of each tensor -> how far those of two seeds are apart.
            controls: Names of those that the hardware is set to.
        """
        if apart and sorted(apart.values())[len(apart) // 2] < CLOSE:
            return True
        sizes = {name: self._sizes[name] for name in apart if name in controls}
        close = sum(size for name, size in sizes.items() if apart[name] < CLOSE)
        return 2 * close > sum(sizes.values())

    def add_answers(self, seed: int, answers: Tensor | None) -> None:
        """Takes the answers of one more seed.

        Args:
            seed: Which.
            answers: What `answers_of` gives, of the same images for each seed.

        Raises:
            UserError: If they are those of a seed before.
        """
        if answers is None:
            return
        for other, known in self._answers.items():
            if float((answers - known).norm()) < ALIKE:
                raise UserError(
                    f"seeds {other} and {seed} give the same answers to images, or almost",
                    allowed="networks that were trained from different beginnings",
                )
        self._answers[seed] = answers


def answers_of(outputs: Tensor, classes: bool) -> Tensor | None:
    """Takes from outputs what two networks are compared by.

    Args:
        outputs: Real outputs (N, ...) of N images.
        classes: Whether the largest one is the answer. What is added to all outputs of an image, or
            to one of all images, and what all are multiplied with, is left out then.

    Returns:
        The outputs (N, K), which vary from image to image by 1 as a whole; None where they say
        nothing of the network: not finite, or one answer to all images, as guessing gives.
    """
    values = outputs.detach().flatten(1).double()
    if not bool(values.isfinite().all()):
        return None
    size = float(values.norm())
    if classes:
        if len(values.argmax(1).unique()) == 1:
            return None
        values = values - values.mean(1, keepdim=True)
        values = values - values.mean(0)
    spread = float((values - values.mean(0)).norm())
    return (values / spread).float() if spread > _CONSTANT * size else None


def _apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, float]:
    """Root mean square difference over spread, of each tensor that varies at all."""
    found = {}
    for name, values in one.items():
        spread = float(values.std())
        if spread > 0.0:
            found[name] = float((values - other[name]).square().mean().sqrt()) / spread
    return found


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
