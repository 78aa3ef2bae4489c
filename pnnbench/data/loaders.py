"""What a DataLoader reads: which items of its data set, and whether two of them share any."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
)

from pnnbench.data.items import item_tensor
from pnnbench.errors import UserError

#: Share of a part whose items may stand in another part too: equal items happen, in tables of few
#: values often; a part that was meant to be another one has all of them.
SHARED = 0.5


def indices_of(loader: DataLoader[Any], where: str) -> list[int]:
    """Indices of the items that a loader reads, each once and in ascending order.

    Args:
        loader: Loader of a data set with a length.
        where: What the loader is, for messages.

    Raises:
        UserError: If its sampler does not say which items it draws from.
    """
    count = len(loader.dataset)  # type: ignore[arg-type]
    batches: Any = loader.batch_sampler
    sampler: Any = loader.sampler if batches is None else batches
    if type(batches) is BatchSampler:
        sampler = batches.sampler
    elif isinstance(batches, (list, tuple)):
        sampler = [i for batch in batches for i in batch]
    chosen: Any = None
    if type(sampler) in (RandomSampler, SequentialSampler):
        chosen = range(len(sampler.data_source))
    elif type(sampler) is SubsetRandomSampler:
        chosen = sampler.indices
    elif isinstance(sampler, (list, tuple, range)):
        chosen = sampler
    if chosen is None:
        raise UserError(
            f"{where} draws its items with a {type(sampler).__name__}, which does not say which "
            "items are its own",
            allowed="shuffle, or a SubsetRandomSampler",
            next_step="give the loader a torch.utils.data.Subset of the items",
        )
    found = sorted({int(i) for i in chosen})
    if found and not 0 <= found[0] <= found[-1] < count:
        raise UserError(
            f"{where}: its sampler draws the items {found[0]} to {found[-1]}",
            allowed=f"0 to {count - 1}, those of its data set",
        )
    return found


def items_of(loader: DataLoader[Any], where: str) -> Iterable[Any]:
    """The items of a loader in the order of its data set, as its own collation makes them.

    Raises:
        UserError: As `indices_of`, or if the items are a stream that does not say where it ends.
    """
    data = loader.dataset
    if isinstance(data, IterableDataset):
        if not hasattr(data, "__len__"):
            raise UserError(
                f"{where} reads a {type(data).__name__} without a length: a stream may never end",
                allowed="a data set with __len__",
                next_step="give the class a __len__, or collect what it yields in a TensorDataset",
            )
        items: Iterable[Any] = iter(data)
    else:
        items = (data[i] for i in indices_of(loader, where))
    if loader.collate_fn is default_collate or loader.batch_size is None:
        return items
    return _one_by_one(items, loader.collate_fn)


def _one_by_one(items: Iterable[Any], collate: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Items that a loader's own function has collated, each as a batch of one."""
    for item in items:
        batch = collate([item])
        yield item_tensor(batch[0])[0], item_tensor(batch[1])[0]


def check_apart(
    name: str,
    loaders: Mapping[str, DataLoader[Any]],
    contents: Mapping[str, tuple[Tensor, Tensor]],
) -> None:
    """Refuses parts of a set that are not apart.

    Args:
        name: Name of the set.
        loaders: Part -> its loader. No two of them read one item of one data set.
        contents: Part -> inputs (N, ...) and targets (N, ...). Of no two parts more than `SHARED`
            of the smaller one stands in the other, input and target alike.

    Raises:
        UserError: If two parts share items.
    """
    places = {part: _places(loader, part) for part, loader in loaders.items()}
    digests = {part: _digests(*pair) for part, pair in contents.items()}
    for one, other in combinations(loaders, 2):
        smaller, larger = sorted((one, other), key=lambda part: len(digests[part]))
        shared = len(places[smaller] & places[larger])
        inside = set(digests[larger])
        equal = sum(item in inside for item in digests[smaller])
        if shared or equal > SHARED * len(digests[smaller]):
            raise UserError(
                f"{name}: {shared or equal} of the {len(digests[smaller])} items of its {smaller} "
                f"part are in its {larger} part too",
                allowed="parts that share no items",
                next_step="split the data set once, with a seed of its own, into parts for "
                "train_dataloader, val_dataloader and test_dataloader",
            )


def _places(loader: DataLoader[Any], where: str) -> set[tuple[int, int]]:
    """The items of a loader as the identity of the data set that holds them and their index."""
    if isinstance(loader.dataset, IterableDataset):
        return set()
    return {_place(loader.dataset, i) for i in indices_of(loader, where)}


def _place(data: Any, i: int) -> tuple[int, int]:
    while True:
        if type(data) is Subset:
            data, i = data.dataset, int(data.indices[i])
        elif type(data) is ConcatDataset:
            part = bisect.bisect_right(data.cumulative_sizes, i)
            i -= data.cumulative_sizes[part - 1] if part else 0
            data = data.datasets[part]
        else:
            return id(data), i


def _digests(inputs: Tensor, targets: Tensor) -> list[bytes]:
    """A digest of each item, of its input and its target."""
    pairs = zip(inputs.contiguous().numpy(), targets.contiguous().numpy(), strict=True)
    return [
        hashlib.blake2b(x.tobytes() + b"|" + y.tobytes(), digest_size=16).digest() for x, y in pairs
    ]
