"""A LightningDataModule as a data set: read once, in the order of its data, without shuffling."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pnnbench.data.arrays import Arrays
from pnnbench.data.base import DataSet
from pnnbench.data.items import stacked
from pnnbench.data.loaders import check_apart, items_of
from pnnbench.errors import UserError

#: Seed of the global generators while a module is read, so that a split that it draws is always the
#: same one.
READING_SEED = 20250101


class DataModuleSet(DataSet):
    """The data of a LightningDataModule.

    ``prepare_data`` and ``setup`` run under fixed seeds of the global generators, which are put
    back afterwards: a split that ``setup`` draws is the same for every part. Of each loader the
    items that its sampler draws from are read once, in the order of its data set: shuffling and
    ``drop_last`` do not count, and a random transform is drawn once for each item. The module's
    validation split is what is held out; where there is no test loader it is the test set. Parts
    that share items are refused, see `check_apart`. Targets that are whole numbers are classes, of
    which the module's ``num_classes`` or ``n_classes`` says how many there are, else the largest of
    them.

    Args:
        module: The module.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.name = _name_of(module)

    def source(self) -> type:
        """The module's class."""
        return type(self.module)

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Reads the module.

        Args:
            root: Not used: the module knows where its data are.
            download: Not used: ``prepare_data`` downloads what it needs.

        Returns:
            The set.

        Raises:
            UserError: If a loader is missing, there are several for one part, its sampler does not
                say which items it draws from, items do not fit, parts share items, or no training
                item is of a class of another part.
        """
        loaders: dict[str, DataLoader[Any]] = {}
        found: dict[str, tuple[Tensor, Tensor]] = {}
        with _fixed_generators():
            self.module.prepare_data()
            for stage, parts in (("fit", ("train", "val")), ("test", ("test",))):
                _seed_generators()
                self.module.setup(stage)
                for part in parts:
                    loader = self._loader(part)
                    if loader is not None:
                        where = f"{self.name}: {part}_dataloader"
                        loaders[part] = loader
                        found[part] = stacked(items_of(loader, where), where)
        train, validation, test = (found.get(part) for part in ("train", "val", "test"))
        if train is None or (test is None and validation is None):
            missing = "training" if train is None else "test"
            raise UserError(
                f"{self.name} has no {missing} data",
                allowed="train_dataloader and test_dataloader, or val_dataloader as the test",
            )
        if test is None:
            test, validation = validation, None
        assert test is not None  # noqa: S101 - for the type checker
        targets = [part[1] for part in (train, test, validation) if part is not None]
        arrays = Arrays(
            self.name,
            *train,
            *test,
            self._classes(targets),
            *(validation or (None, None)),
            own=True,
        )
        check_apart(self.name, loaders, found)
        return arrays

    def _classes(self, targets: list[Tensor]) -> int | None:
        if any(part.is_floating_point() for part in targets):
            return None
        for name in ("num_classes", "n_classes"):
            found = getattr(self.module, name, None)
            if isinstance(found, int) and not isinstance(found, bool):
                return found
        known = set(targets[0].unique().tolist())
        for part in targets[1:]:
            if unseen := sorted(set(part.unique().tolist()) - known):
                raise UserError(
                    f"{self.name} has no training item of class {', '.join(map(str, unseen))}, "
                    "which its other parts have",
                    allowed="classes of the training set",
                    next_step="number the classes of all parts alike, or say num_classes",
                )
        return max(2, 1 + max(known))

    def _loader(self, part: str) -> DataLoader[Any] | None:
        """The loader of one part; None where the module has none."""
        where = f"{self.name}: {part}_dataloader"
        try:
            loader = getattr(self.module, f"{part}_dataloader")()
        except Exception as error:
            # So say the methods of Lightning, of either of its packages, that there is none.
            if type(error).__name__ not in ("MisconfigurationException", "NotImplementedError"):
                raise
            return None
        if isinstance(loader, (list, tuple)) and len(loader) <= 1:
            loader = loader[0] if loader else None
        if loader is None:
            return None
        if not isinstance(loader, DataLoader):
            raise UserError(f"{where} gives a {type(loader).__name__}", allowed="one DataLoader")
        return loader


def _name_of(module: Any) -> str:
    """The name that a module states, else that of its class."""
    name = getattr(module, "name", None)
    return name if isinstance(name, str) and name else type(module).__name__


@contextmanager
def _fixed_generators() -> Iterator[None]:
    """Context with fixed seeds of the global generators, which are afterwards as they were."""
    kept = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        _seed_generators()
        try:
            yield
        finally:
            np.random.set_state(kept[0])  # noqa: NPY002
            random.setstate(kept[1])


def _seed_generators() -> None:
    torch.manual_seed(READING_SEED)
    np.random.seed(READING_SEED)  # noqa: NPY002
    random.seed(READING_SEED)
