from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from pnnbench.data import resolve_data
from pnnbench.data.loaders import indices_of
from pnnbench.errors import UserError

G = torch.Generator().manual_seed(1)
DATA = TensorDataset(torch.randn(20, 5, generator=G), torch.arange(20) % 3)
ORDER = torch.randperm(20, generator=G).tolist()
TAIL = SubsetRandomSampler([19, 18])


def module(train: Any, held: Any) -> pl.LightningDataModule:
    class Module(pl.LightningDataModule):
        def train_dataloader(self) -> Any:
            return train

        def val_dataloader(self) -> Any:
            return held

    return Module()


def subset(indices: list[int]) -> DataLoader[Any]:
    return DataLoader(DATA, batch_size=4, sampler=SubsetRandomSampler(indices))


@pytest.mark.parametrize(
    ("loader", "indices"),
    [
        (DataLoader(DATA), range(20)),
        (DataLoader(DATA, shuffle=True, batch_size=3, drop_last=True), range(20)),
        (DataLoader(DATA, batch_size=None), range(20)),
        (subset([7, 3, 5]), [3, 5, 7]),
        (
            DataLoader(DATA, batch_sampler=BatchSampler(SubsetRandomSampler([9, 2]), 2, True)),
            [2, 9],
        ),
        (DataLoader(DATA, sampler=[4, 1]), [1, 4]),
        (DataLoader(DATA, sampler=RandomSampler(range(6))), range(6)),
    ],
)
def test_a_sampler_says_which_items_a_loader_has(loader: DataLoader[Any], indices: Any) -> None:
    assert indices_of(loader, "here") == [*indices]


class Odd(BatchSampler):
    pass


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(DATA, sampler=WeightedRandomSampler([1.0] * 20, 20)),
        DataLoader(DATA, batch_sampler=Odd(SubsetRandomSampler([1]), 1, False)),
        DataLoader(DATA, batch_sampler=iter([[1], [2]])),
    ],
)
def test_other_samplers_are_refused(loader: DataLoader[Any]) -> None:
    with pytest.raises(UserError, match="does not say which items are its own"):
        indices_of(loader, "here")


def test_an_index_beyond_the_data_set_is_told() -> None:
    with pytest.raises(UserError, match=r"draws the items 3 to 20\n  allowed: 0 to 19"):
        indices_of(subset([3, 20]), "here")


def test_parts_of_one_data_set_by_samplers_are_apart() -> None:
    found = resolve_data(module(subset(ORDER[:15]), subset(ORDER[15:]))).load()
    assert torch.equal(found.train_inputs, DATA.tensors[0][sorted(ORDER[:15])])
    assert torch.equal(found.test_inputs, DATA.tensors[0][sorted(ORDER[15:])])


@pytest.mark.parametrize(
    ("train", "held", "words"),
    [
        (subset(ORDER[:15]), subset(ORDER[14:]), "1 of the 6 items of its val part"),
        (DataLoader(DATA), DataLoader(DATA), "20 of the 20 items"),
        (DataLoader(Subset(Subset(DATA, ORDER), range(9))), subset(ORDER[8:12]), "1 of the 4"),
        (DataLoader(ConcatDataset([Subset(DATA, [1]), DATA])), subset([1]), "1 of the 1"),
        # Another object with the same contents.
        (DataLoader(DATA), DataLoader(TensorDataset(*DATA[5:11])), "6 of the 6"),
        (DataLoader(TensorDataset(*DATA[5:11])), DataLoader(DATA), "6 of the 6 .* its train part"),
    ],
)
def test_parts_that_share_items_are_refused(train: Any, held: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve_data(module(train, held)).load()


def test_single_items_may_be_equal() -> None:
    inputs, targets = DATA[5:11]
    held = TensorDataset(torch.cat([inputs[:1], inputs[1:] + 9]), targets)
    assert len(resolve_data(module(DataLoader(DATA), DataLoader(held))).load().test_inputs) == 6


def test_a_split_that_each_setup_draws_is_one_split() -> None:
    class Draws(pl.LightningDataModule):
        def setup(self, stage: str | None = None) -> None:
            self.parts = random_split(TensorDataset(*DATA.tensors), [10, 4, 6])

        def train_dataloader(self) -> Any:
            return DataLoader(self.parts[0])

        def val_dataloader(self) -> Any:
            return DataLoader(self.parts[1])

        def test_dataloader(self) -> Any:
            return DataLoader(self.parts[2])

    found = resolve_data(Draws()).load()
    assert found.validation_inputs is not None
    together = torch.cat([found.train_inputs, found.validation_inputs, found.test_inputs])
    assert len(together.unique(dim=0)) == 20
