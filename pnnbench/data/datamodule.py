"""Lightning DataModule over one data set: float inputs, reproducible order, exact resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler

from pnnbench.data.arrays import Arrays
from pnnbench.data.augmentation import Augmentation, check_augmentation
from pnnbench.data.base import DataSet
from pnnbench.data.order import EpochBatches
from pnnbench.data.parts import AugmentedArrays, Batch, FixedBatches, IndexedArrays, to_float
from pnnbench.data.sets import resolve_data
from pnnbench.errors import UserError

# Sets up to this size are converted to float32 once; larger ones batch by batch.
FLOAT_LIMIT_BYTES = 256 * 2**20


def _as_is(batch: Any) -> Any:
    """Hands the batch on unchanged (torch's own function would turn the tuple into a list)."""
    return batch


class SameBatches(EpochBatches, SequentialSampler):  # type: ignore[misc]
    """The batches of the first epoch again in every epoch, for Lightning's ``overfit_batches``."""

    def batches(self, epoch: int) -> list[Tensor]:
        """Cuts the first epoch into batches, whatever the epoch; see `EpochBatches`."""
        return super().batches(0)


class TrainingLoader(DataLoader[Batch]):
    """DataLoader over `EpochBatches` that resumes at the batch where a checkpoint was written.

    Lightning asks for the iterator of the first epoch before it tells the sampler which epoch it
    is. Here the iterator is therefore started at the first batch that is taken, and an epoch,
    once resumed, begins at the number of batches that Lightning counts as done. The global
    random state is never read: the order comes from the sampler.
    """

    # Set by the data module: how many batches of the running epoch the trainer has behind it.
    batches_done: Callable[[], int] | None = None
    _resumed = False

    def __iter__(self) -> Any:
        """Goes through the batches of the epoch set on the sampler.

        Raises:
            UserError: If Lightning has put a sampler of single images in the place of ours.
        """
        batches = self.sampler
        if type(batches) is SequentialSampler:
            raise UserError(
                "the sampler of this training loader, which cuts the batches, was replaced",
                next_step="pass datamodule=... to Trainer.fit, not the loader",
            )
        if not isinstance(batches, EpochBatches):  # wrapped by a distributed strategy
            yield from super().__iter__()
            return
        batches.first_batch = 0
        if self._resumed and self.batches_done is not None:
            self._resumed = False
            batches.first_batch = self.batches_done()
        if self.num_workers == 0:  # as torch would, without its own book-keeping for each batch
            for index in batches:
                yield self.dataset[index]
            return
        iterator = super().__iter__()
        # The sampler is read lazily, so first_batch stays until the next iteration starts.
        yield from iterator

    def state_dict(self) -> dict[str, int]:
        """Returns nothing: Lightning's checkpoint counts the batches, the data module checks.

        The two methods tell Lightning that this loader can resume in the middle of an epoch.
        """
        return {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Prepares to go on in the middle of an epoch; Lightning calls it only then.

        Args:
            state_dict: What `state_dict` returned; not used.

        Raises:
            UserError: If the loader was not made by a data module with a trainer.
        """
        if self.batches_done is None:
            raise UserError(
                "this training loader has no trainer, so it cannot find its place again",
                next_step="pass datamodule=... to Trainer.fit, not the loader",
            )
        self._resumed = True


class DataModule(pl.LightningDataModule):
    """Training, validation and test loaders over one data set.

    Images of uint8 come as float32 in [0, 1], without normalisation; other inputs and the targets
    come as they are. The order of epoch e is a pure function of (``seed``, e), whatever else draws
    random numbers, so that a resumed run meets the batches of an uninterrupted one, also in the
    middle of an epoch. A last training batch of a single input is left out (see
    `EpochBatches`); validation and test always cover every input in a fixed order.

    Args:
        arrays: The data, or what `pnnbench.data.resolve_data` takes, read at first use.
        batch_size: Training inputs per batch, at least 1.
        seed: Seed of the data order, >= 0.
        holdout: Number of inputs kept out for validation, 0 for none: the first of the set's own
            validation split, all of it if it is smaller; of a set that has none, the last training
            inputs.
        limit_train: Use only the first so many of the remaining training inputs; None for all.
        limit_test: Use only so many test inputs, see `Arrays.some_tests`; None for all.
        eval_batch_size: Inputs per validation and test batch, at least 1.
        num_workers: Worker processes of the loaders; the batches do not depend on it. 0 is
            fastest for sets in memory.
        root: Data folder for a set that needs files; None for the default place.
        augmentation: How the images of training batches are changed, and only these; None for as
            they are. What an image becomes in epoch e is a pure function of ``seed``, e and its
            index.

    Raises:
        UserError: If a number is out of range, or at first use if it does not fit the set.
    """

    def __init__(
        self,
        arrays: Arrays | DataSet | str | Any,
        batch_size: int = 64,
        seed: int = 0,
        holdout: int = 0,
        limit_train: int | None = None,
        limit_test: int | None = None,
        eval_batch_size: int = 500,
        num_workers: int = 0,
        root: str | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        lowest = {"batch_size": 1, "seed": 0, "holdout": 0, "eval_batch_size": 1, "num_workers": 0}
        given = {
            "batch_size": batch_size,
            "seed": seed,
            "holdout": holdout,
            "eval_batch_size": eval_batch_size,
            "num_workers": num_workers,
            "limit_train": 1 if limit_train is None else limit_train,
            "limit_test": 1 if limit_test is None else limit_test,
        }
        for name, value in given.items():
            low = lowest.get(name, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise UserError(f"{name} is {value!r}", allowed=f"an integer >= {low}")
        check_augmentation(augmentation, type(self).__name__)
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self.holdout = holdout
        self.limit_train = limit_train
        self.limit_test = limit_test
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self._root = root
        self._given = arrays
        self._loaded: Arrays | None = None
        self._parts: dict[str, IndexedArrays] = {}

    @property
    def arrays(self) -> Arrays:
        """The whole set, read at first use."""
        if self._loaded is None:
            given = self._given
            if not isinstance(given, Arrays):
                given = resolve_data(given).arrays(self._root)
            self._loaded = given
        return self._loaded

    @property
    def n_train(self) -> int:
        """Number of training inputs after ``holdout`` and ``limit_train``."""
        return len(self._part("train"))

    def setup(self, stage: str | None = None) -> None:
        """Reads the set, so that missing or damaged data is reported before any work.

        Args:
            stage: Lightning's name of the stage; not used.
        """
        self._part("train")

    def state_dict(self) -> dict[str, Any]:
        """Returns what the data and their order depend on, for the resume checkpoint."""
        return {
            "fingerprint": self.arrays.fingerprint,
            "images": self.n_train,
            "batch_size": self.batch_size,
            "seed": self.seed,
            **self._augmented(),
        }

    def _augmented(self) -> dict[str, Any]:
        """How images are changed, as plain values; nothing where they are not."""
        return {} if self.augmentation is None else {
            "augmentation": dataclasses.asdict(self.augmentation)
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Checks that a resumed run has the data and the order of the interrupted one.

        Args:
            state_dict: What `state_dict` returned in the interrupted run.

        Raises:
            UserError: If something differs.
        """
        mine = self.state_dict()
        differing = [
            f"{key} {state_dict.get(key)!r}, now {mine.get(key)!r}"
            for key in {**mine, **state_dict}
            if state_dict.get(key) != mine.get(key)
        ]
        if differing:
            raise UserError(
                f"the checkpoint was written with other data or another order: "
                f"{'; '.join(differing)}",
                allowed="the data, training inputs, batch size and seed of the interrupted run",
                next_step="resume with the configuration of the interrupted run, or start anew",
            )

    def train_batches(self, epoch: int) -> list[Tensor]:
        """Returns the batches of one epoch, as the training loader yields them.

        Args:
            epoch: Number of the epoch, from 0.

        Returns:
            Index tensors into `train_tensors`, int64, shape (B,).
        """
        return EpochBatches(self.n_train, self.batch_size, self.seed).batches(epoch)

    def train_dataloader(self) -> TrainingLoader:
        """Returns the training loader; outside a Trainer, call ``loader.sampler.set_epoch``."""
        part = self._part("train")
        overfit = getattr(self.trainer, "overfit_batches", 0) > 0
        augmentation = self.augmentation
        loader = TrainingLoader(
            part if augmentation is None else AugmentedArrays(part, augmentation),
            batch_size=None,
            sampler=(SameBatches if overfit else EpochBatches)(
                len(part), self.batch_size, self.seed, draws=augmentation is not None
            ),
            num_workers=self.num_workers,
            collate_fn=_as_is,
            generator=torch.Generator().manual_seed(0),
        )
        if self.trainer is not None:
            loader.batches_done = self._batches_done
        return loader

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Returns the loader of the held-out inputs; an empty list if there are none."""
        return self._fixed_loader("validation") if self.holdout else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Returns the loader of the test inputs in their fixed order."""
        return self._fixed_loader("test")

    def train_tensors(self, index: slice | Tensor = slice(None)) -> Batch:
        """Returns training inputs as they are without augmentation, and their targets.

        Args:
            index: Which of them; all by default. Of a large set name those that are needed: pixels
                take four times the memory as floats.

        Returns:
            Inputs (B, ...), pixels as float32 in [0, 1], and targets (B, ...).
        """
        return self._part("train")[index]

    def validation_tensors(self) -> Batch:
        """Returns all held-out inputs and targets; the tensors are empty if ``holdout`` is 0."""
        return self._part("validation")[:]

    def test_tensors(self) -> Batch:
        """Returns all test inputs and targets in the order of the test loader."""
        return self._part("test")[:]

    def _batches_done(self) -> int:
        """Counts the batches of the running epoch that the trainer has behind it."""
        assert self.trainer is not None  # noqa: S101
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Returns the loader of the test images, whose outputs are predicted."""
        return self.test_dataloader()

    def _fixed_loader(self, name: str) -> DataLoader[Batch]:
        """Builds a loader that goes through one part in its fixed order."""
        part = self._part(name)
        return DataLoader(
            part,
            batch_size=None,
            sampler=FixedBatches(len(part), self.eval_batch_size),
            num_workers=self.num_workers,
            collate_fn=_as_is,
            generator=torch.Generator().manual_seed(0),
        )

    def _part(self, name: str) -> IndexedArrays:
        """Returns one of ``train``, ``validation`` and ``test``; cuts them at first use."""
        if not self._parts:
            arrays = self.arrays
            if self.augmentation is not None:
                self.augmentation.check(arrays.input_shape, arrays.name)
            train, held_out = self._split(arrays)
            parts = {
                "train": tuple(part[: self.limit_train] for part in train),
                "validation": held_out,
                "test": arrays.some_tests(self.limit_test),
            }
            # Bytes are cropped in a fraction of the time of floats.
            small = (
                self.augmentation is None
                and 4 * sum(inputs.numel() for inputs, _ in parts.values()) <= FLOAT_LIMIT_BYTES
            )
            self._parts = {
                key: IndexedArrays(to_float(inputs) if small else inputs, targets)
                for key, (inputs, targets) in parts.items()
            }
        return self._parts[name]

    def _split(self, arrays: Arrays) -> tuple[Batch, Batch]:
        """What is trained on, before any limit, and what is held out."""
        inputs, targets = arrays.train_inputs, arrays.train_targets
        if arrays.validation_inputs is not None and arrays.validation_targets is not None:
            own = (
                arrays.validation_inputs[: self.holdout],
                arrays.validation_targets[: self.holdout],
            )
            return (inputs, targets), own
        n = len(targets)
        if self.holdout > n - 2:
            raise UserError(
                f"holdout is {self.holdout}, and {arrays.name!r} has {n} training inputs",
                allowed=f"0 to {n - 2}",
            )
        keep = n - self.holdout
        return (inputs[:keep], targets[:keep]), (inputs[keep:], targets[keep:])
