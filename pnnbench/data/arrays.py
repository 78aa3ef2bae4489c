"""One data set in memory, checked once and named by a fingerprint of its contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pnnbench.data.order import permutation
from pnnbench.errors import UserError

#: Seed of the order in which sets are mixed.
MIXING_SEED = 20250101
#: Largest number of single precision.
_LARGEST = float(np.finfo(np.float32).max)
#: What is said of texts in place of numbers.
TEXTS = "texts; number them with np.unique(y, return_inverse=True)"
#: Names under which the parts enter the fingerprint; they are those of the first data sets.
_DIGESTED = {
    "train_inputs": "train_images",
    "train_targets": "train_labels",
    "test_inputs": "test_images",
    "test_targets": "test_labels",
    "validation_inputs": "validation_images",
    "validation_targets": "validation_labels",
}


def digest_arrays(arrays: Iterable[tuple[str, Tensor]]) -> str:
    """Hashes tensors with their names, data types and shapes.

    The bytes are those of the row-major array in little-endian order, so the digest does not
    depend on the strides or on the machine.

    Args:
        arrays: Pairs of a name and a CPU tensor of any shape.

    Returns:
        ``"sha256:"`` and 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, array in arrays:
        values = array.detach().cpu().contiguous().numpy()
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {values.dtype.name} {tuple(values.shape)}\n".encode())
        digest.update(values.data)
    return f"sha256:{digest.hexdigest()}"


class _LostError(ValueError):
    """Numbers that a tensor of the same values would not have.

    Args:
        what: How many, and why.
        allowed: What would have been accepted.
        next_step: What to do.
    """

    def __init__(self, what: str, allowed: str, next_step: str) -> None:
        super().__init__(what)
        self.allowed = allowed
        self.next_step = next_step


def is_text(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array holds texts, by its type or by its first entry."""
    if array.dtype == np.object_:
        return isinstance(next(iter(array.flat), None), (str, bytes))
    return array.dtype.kind in "UST"


def as_tensor(values: Any) -> Tensor:
    """Makes a CPU tensor of a tensor or of an array.

    Args:
        values: A tensor, which keeps its precision; or a NumPy array or a nesting of numbers, whose
            64-bit floats, NumPy's default, become the 32-bit floats that networks compute in.

    Returns:
        The tensor, without gradients.

    Raises:
        TypeError: If it holds texts, or nothing that is a number.
        ValueError: If its items have several shapes, or numbers would be lost: those that a NumPy
            array masks, and finite 64-bit floats that are too large for 32 bits.
    """
    if isinstance(values, Tensor):
        found = values.detach().cpu()
        return found.float() if found.dtype == torch.bfloat16 else found  # NumPy has no such type
    _refuse_masked(values)
    array = np.asarray(values)
    if is_text(array):
        raise TypeError(TEXTS)
    if array.dtype == np.float64:
        array = _single(array)
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def _refuse_masked(values: Any) -> None:
    """Refuses masked numbers, of which NumPy would take what lies below the mask."""
    parts = values if isinstance(values, (list, tuple)) else [values]
    masked = sum(int(np.ma.count_masked(p)) for p in parts if isinstance(p, np.ma.MaskedArray))
    if masked:
        total = sum(np.size(p) for p in parts)
        raise _LostError(
            f"{masked} of {total} numbers are masked",
            "numbers without a mask",
            "fill them, such as x.filled(0.0), or remove their items",
        )


def _single(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of 64-bit floats in 32 bits; what is not finite stays so."""
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    lost = int((np.isfinite(array) & ~np.isfinite(single)).sum())
    if lost:
        raise _LostError(
            f"{lost} of {array.size} numbers are beyond single precision, in which networks "
            "compute",
            f"{-_LARGEST:.4g} to {_LARGEST:.4g}",
            "scale them before the set is handed over",
        )
    return single


@dataclass(frozen=True, eq=False)
class Arrays:
    """Inputs and targets of a training set and a test set.

    Nothing is normalised. Tensors and NumPy arrays are taken, see `as_tensor`, and copied: what
    becomes of them later does not change the set.

    Args:
        own: Whether the tensors were made for this set alone, and need no copy.

    Attributes:
        name: Name of the set, such as ``"mnist"``.
        train_inputs: Shape (N, ...). uint8 are pixels, 0 to 255, divided by 255 on their way to the
            network; other real numbers reach it in the precision of its parameters, whole ones as
            they are where it looks them up in a table.
        train_targets: Classes, integers of shape (N,) from 0 to ``n_classes - 1``, kept as int64;
            or real values of shape (N, ...), of which uint8 with a dimension behind N are pixels as
            in the inputs.
        test_inputs: Shape (M, ...), of the same data type and the same shape behind M.
        test_targets: Shape (M, ...), as for the training.
        n_classes: Number of classes, at least 2; None for real-valued targets.
        validation_inputs: The set's own validation split, shape (V, ...); None where it has none,
            and what is held out comes from the end of the training set.
        validation_targets: Shape (V, ...).
        ordered: Whether the test part keeps an order of which the first are no fair sample.
        fingerprint: ``"sha256:..."`` over the arrays with their shapes and data types.

    Raises:
        UserError: If a shape, a data type or a class does not fit, or a number is masked, not
            finite or beyond single precision.
    """

    name: str
    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    n_classes: int | None
    validation_inputs: Tensor | None = None
    validation_targets: Tensor | None = None
    own: InitVar[bool] = field(default=False, kw_only=True)
    ordered: bool = field(default=False, kw_only=True)
    fingerprint: str = field(init=False)

    def __post_init__(self, own: bool) -> None:
        if self.n_classes is not None and self.n_classes < 2:
            raise UserError(f"data {self.name!r}: n_classes is {self.n_classes}", allowed=">= 2")
        if (self.validation_inputs is None) != (self.validation_targets is None):
            raise UserError(
                f"data {self.name!r}: a validation set has inputs and targets",
                allowed="both of validation_inputs and validation_targets, or none",
            )
        parts = [f"{part}_{kind}" for part in self._parts() for kind in ("inputs", "targets")]
        for name in parts:
            found = self._tensor(name)
            object.__setattr__(self, name, found if own else found.clone())
        for part in self._parts():
            self._check_part(
                part, getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            )
        for part in self._parts()[1:]:
            self._check_alike(part, "inputs")
            self._check_alike(part, "targets")
        digest = digest_arrays((_DIGESTED[name], getattr(self, name)) for name in parts)
        object.__setattr__(self, "fingerprint", digest)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input; channels, height and width of an image."""
        return tuple(self.train_inputs.shape[1:])

    @cached_property
    def seen(self) -> int:
        """Number of test inputs that are, bit for bit, among those of training or validation.

        What is measured on them says less of what a network has learnt.
        """
        known = {item for part in self._parts() if part != "test" for item in self._items(part)}
        return sum(item in known for item in self._items("test"))

    def remarks(self) -> list[str]:
        """What whoever measures on the set should know of it, a sentence each."""
        if not self.seen:
            return []
        others = "training" if self.validation_inputs is None else "training or validation"
        count = len(self.test_inputs)
        return [f"data {self.name!r}: {self.seen} of {count} test inputs are {others} inputs too"]

    def _items(self, part: str) -> Iterable[int]:
        inputs: Tensor = getattr(self, f"{part}_inputs")
        return (hash(item.tobytes()) for item in inputs.contiguous().numpy())

    def mixed(self) -> Arrays:
        """The same set with the items of each part in another order, always the same.

        Tiers take the first training and test inputs, and hold out the last: in a set that is
        sorted, by class say, those would be no sample of it.
        """
        moved = {}
        for stream, part in enumerate(self._parts()):
            order = permutation(len(getattr(self, f"{part}_targets")), MIXING_SEED, stream)
            for kind in ("inputs", "targets"):
                moved[f"{part}_{kind}"] = getattr(self, f"{part}_{kind}")[order]
        return replace(self, **moved, own=True, ordered=False)

    def some_tests(self, count: int | None) -> tuple[Tensor, Tensor]:
        """Test inputs and targets: all, or so many.

        Args:
            count: How many, at most; None for all.

        Returns:
            The first ones; of a set that is ordered a sample, always the same.
        """
        total = len(self.test_targets)
        if not self.ordered or count is None or count >= total:
            return self.test_inputs[:count], self.test_targets[:count]
        drawn = permutation(total, MIXING_SEED, self._parts().index("test"))[:count]
        return self.test_inputs[drawn], self.test_targets[drawn]

    def _parts(self) -> tuple[str, ...]:
        return ("train", "test") if self.validation_inputs is None else (
            "train", "test", "validation",
        )  # fmt: skip

    def _tensor(self, name: str) -> Tensor:
        try:
            found = as_tensor(getattr(self, name))
        except _LostError as error:
            raise UserError(
                f"data {self.name!r}: {name.replace('_', ' ')}: {error}",
                allowed=error.allowed,
                next_step=error.next_step,
            ) from None
        except (TypeError, ValueError) as error:
            raise UserError(
                f"data {self.name!r}: {name} are no array: {error}",
                allowed="a tensor or a NumPy array of numbers, all items of one shape",
            ) from None
        whole = not (found.is_floating_point() or found.is_complex())
        pixels = self.n_classes is None and found.dtype == torch.uint8 and found.ndim > 1
        return found.long() if name.endswith("targets") and whole and not pixels else found

    def _check_part(self, part: str, inputs: Tensor, targets: Tensor) -> None:
        """Checks one set of inputs with its targets; raises UserError."""
        where = f"data {self.name!r}: {part}"
        if inputs.ndim < 2 or inputs.numel() == 0:
            raise UserError(
                f"{where} inputs have the shape {tuple(inputs.shape)}",
                allowed="(N, ...) with at least one dimension behind N, not empty",
            )
        if targets.shape[:1] != inputs.shape[:1]:
            raise UserError(
                f"{where} has {len(inputs)} inputs and targets of shape {tuple(targets.shape)}",
                allowed=f"({len(inputs)}, ...), one target for each input",
            )
        for what, values in (("inputs", inputs), ("targets", targets)):
            whole = not (values.is_floating_point() or values.is_complex())
            lost = 0 if whole else values.numel() - int(torch.isfinite(values).sum())
            if lost:
                raise UserError(
                    f"{where} {what}: {lost} of {values.numel()} numbers are not finite",
                    allowed="finite numbers",
                    next_step="fill or remove what is missing before the set is handed over",
                )
        if self.n_classes is None:
            real = targets.is_floating_point() or targets.dtype == torch.uint8
            if not real or targets.numel() == 0:
                raise UserError(
                    f"{where} targets are {targets.dtype} of shape {tuple(targets.shape)}, and "
                    "n_classes is None",
                    allowed="floating-point targets, or classes and their number",
                )
            return
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise UserError(
                f"{where} targets are {targets.dtype} of shape {tuple(targets.shape)}",
                allowed=f"classes, integers of shape ({len(inputs)},), one for each input; or "
                "real values with n_classes None",
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= self.n_classes:
            raise UserError(
                f"{where} targets run from {low} to {high}", allowed=f"0 to {self.n_classes - 1}"
            )

    def _check_alike(self, part: str, kind: str) -> None:
        """Refuses a part whose items are not like those of the training set."""
        here, there = getattr(self, f"train_{kind}"), getattr(self, f"{part}_{kind}")
        if here.shape[1:] != there.shape[1:] or here.dtype != there.dtype:
            raise UserError(
                f"data {self.name!r}: training {kind} are {here.dtype} of shape "
                f"{tuple(here.shape[1:])} and {part} {kind} are {there.dtype} of shape "
                f"{tuple(there.shape[1:])}",
                allowed="one shape and one data type for both",
            )
