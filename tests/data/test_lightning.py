from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

from pnnbench.data import DataModule, load, reference_of, resolve_data
from pnnbench.errors import UserError

N, N_TEST = 20, 8
G = torch.Generator().manual_seed(0)
X, Y = torch.randn(N, 5, generator=G), torch.arange(N) % 3
X_TEST, Y_TEST = torch.randn(N_TEST, 5, generator=G), torch.arange(N_TEST) % 3


class Vectors(pl.LightningDataModule):
    """Shuffles, drops the last batch, and keeps a random validation split for itself."""

    def setup(self, stage: str | None = None) -> None:
        self.train, self.val = random_split(TensorDataset(X, Y), [14, 6])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=4, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, batch_size=4)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(X_TEST, Y_TEST), batch_size=3)


def rows(values: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in values.tolist()}


def generators() -> list[Any]:
    numbers = np.random.get_state()[1].tolist()  # noqa: NPY002
    return [torch.get_rng_state().tolist(), numbers, random.getstate()]


def test_a_module_is_read_whole_in_one_order_and_moves_no_generator():
    torch.manual_seed(1)
    before = generators()
    first = resolve_data(Vectors()).load()
    assert generators() == before
    torch.manual_seed(2)
    assert resolve_data(Vectors).load().fingerprint == first.fingerprint
    assert load(Vectors).fingerprint == load(Vectors()).fingerprint
    assert (first.name, first.n_classes, first.input_shape) == ("Vectors", 3, (5,))
    assert len(first.train_inputs) == 14
    assert first.validation_inputs is not None
    assert rows(first.train_inputs) | rows(first.validation_inputs) == rows(X)
    assert not rows(first.train_inputs) & rows(first.validation_inputs)
    assert torch.equal(first.test_inputs, X_TEST)
    assert torch.equal(first.test_targets, Y_TEST)


@pytest.mark.parametrize(("holdout", "held"), [(0, 0), (4, 4), (50, 6)])
def test_its_validation_split_is_what_is_held_out(holdout: int, held: int):
    arrays = load(Vectors)
    data = DataModule(Vectors, batch_size=4, holdout=holdout)
    assert data.n_train == 14
    assert torch.equal(data.train_tensors()[0], arrays.train_inputs)
    assert arrays.validation_inputs is not None
    assert torch.equal(data.validation_tensors()[0], arrays.validation_inputs[:held])


def test_one_class_is_one_object_and_has_its_path():
    assert resolve_data(Vectors) is resolve_data(Vectors)
    assert reference_of(resolve_data(Vectors())) == f"{Vectors.__module__}.Vectors"


class Items(Dataset[Any]):
    def __init__(self, item: Callable[[int], Any], n: int = 6) -> None:
        self.item, self.n = item, n

    def __getitem__(self, i: int) -> Any:
        return self.item(i)

    def __len__(self) -> int:
        return self.n


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(np.full(3, float(i)), float(i)) for i in range(6)])

    def __len__(self) -> int:
        return 6


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        while True:
            yield np.ones(3), 0


def module(
    dataset: Any, held: Any = None, held_loader: Any = None, **loader: Any
) -> pl.LightningDataModule:
    class Module(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(dataset, **loader)

        def val_dataloader(self) -> Any:
            other = dataset if held is None else held
            return DataLoader(other, **(loader if held_loader is None else held_loader))

    return Module()


class Others(Dataset[Any]):
    """Items of the kind of others, with other inputs."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __getitem__(self, i: int) -> Any:
        x, y = self.items[i]
        return (Image.eval(x, lambda v: v + 1) if isinstance(x, Image.Image) else x + 100), y

    def __len__(self) -> int:
        return len(self.items)


def picture(i: int) -> tuple[Image.Image, int]:
    return Image.fromarray(np.full((4, 3), 10 * i, dtype=np.uint8)), i % 2


@pytest.mark.parametrize(
    ("dataset", "shape", "dtype", "n_classes"),
    [
        (Items(picture), (1, 4, 3), torch.uint8, 2),
        (Items(lambda i: (picture(i)[0].convert("RGB"), i % 2)), (3, 4, 3), torch.uint8, 2),
        (Items(lambda i: (np.arange(4.0) + i, np.int64(i % 3))), (4,), torch.float32, 3),
        (Items(lambda i: [torch.ones(2, 3), np.float64(i)]), (2, 3), torch.float32, None),
        (Items(lambda i: (np.ones(2, np.int16), np.ones(2))), (2,), torch.int16, None),
        (Stream(), (3,), torch.float32, None),
    ],
)
def test_items_may_be_images_arrays_tensors_or_numbers(
    dataset: Any, shape: tuple[int, ...], dtype: torch.dtype, n_classes: int | None
):
    others = Others([dataset[i] for i in range(6)] if isinstance(dataset, Items) else [*dataset])
    found = resolve_data(module(dataset, others)).load()
    assert (found.input_shape, found.n_classes) == (shape, n_classes)
    assert found.train_inputs.dtype == dtype
    assert len(found.train_inputs) == 6
    # There is no test loader: the validation set is the test.
    assert found.validation_inputs is None
    assert found.test_inputs.shape == found.train_inputs.shape


def test_an_own_collation_is_followed():
    def collate(items: list[Any]) -> tuple[Tensor, Tensor]:
        return torch.stack([2 * x for x, _ in items]), torch.tensor([y for _, y in items])

    held = TensorDataset(X_TEST, Y_TEST)
    found = resolve_data(module(TensorDataset(X, Y), held, batch_size=5, collate_fn=collate)).load()
    assert torch.equal(found.train_inputs, 2 * X)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Items(lambda i: torch.ones(2)), r"train_dataloader: item 0 is a Tensor"),
        (Items(lambda i: (torch.ones(2 + i // 3), 0)), r"input of item 0 .* that of item 3"),
        (Items(lambda i: ("a text", 0)), r"item 0 is no pair of numbers"),
        (Items(lambda i: (torch.full((2,), torch.nan), 0)), r"12 of 12 numbers are not finite"),
        (Items(lambda i: 1 // 0), r"cannot be read: ZeroDivisionError"),
        (Items(lambda i: 0, n=0), r"is empty"),
    ],
)
def test_what_does_not_fit_is_one_sentence(dataset: Any, message: str):
    data = resolve_data(module(dataset, batch_size=None))
    with pytest.raises(UserError, match=message):
        data.read()


def test_loaders_that_are_missing_or_many_are_told():
    with pytest.raises(UserError, match=r"has no training data"):
        load(pl.LightningDataModule())

    class Two(Vectors):
        def test_dataloader(self) -> Any:
            return [super().test_dataloader(), super().test_dataloader()]

    with pytest.raises(UserError, match=r"test_dataloader gives a list\n  allowed: one DataLoader"):
        load(Two)


def test_a_class_that_needs_arguments_is_told():
    class Needs(Vectors):
        def __init__(self, size: int) -> None:
            super().__init__()

    with pytest.raises(UserError, match=r"Needs cannot be made without arguments"):
        resolve_data(Needs)
    assert load(Needs(3)).n_classes == 3


def test_a_stream_without_an_end_is_told_before_it_is_read():
    with pytest.raises(UserError, match="Endless without a length"):
        resolve_data(module(Endless())).read()


def test_classes_that_no_training_item_has_are_told():
    items = module(Items(lambda i: (np.ones(2) * i, i % 2)))
    held = Items(lambda i: (np.ones(2) * (i + 50), 4 + i % 2))
    items.val_dataloader = lambda: DataLoader(held)
    with pytest.raises(UserError, match="no training item of class 4, 5"):
        resolve_data(items).read()
    items.num_classes = 6
    assert resolve_data(items).read().n_classes == 6
