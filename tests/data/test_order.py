from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.data.order import EpochBatches, permutation
from pnnbench.errors import UserError

seeds = st.integers(0, 2**70)


@given(n=st.integers(0, 300), seed=seeds, stream=st.integers(0, 5000))
def test_permutation_holds_every_index_once_and_repeats(n: int, seed: int, stream: int):
    first = permutation(n, seed, stream)
    assert first.dtype == torch.int64
    assert sorted(first.tolist()) == list(range(n))
    assert torch.equal(first, permutation(n, seed, stream))


def test_permutation_is_pinned():
    # The same numbers on every machine and version; a change here changes every result.
    assert permutation(8, 0, 0).tolist() == [6, 3, 1, 4, 5, 2, 7, 0]
    assert permutation(8, 0, 1).tolist() == [1, 3, 6, 2, 0, 7, 5, 4]
    assert permutation(8, 1, 0).tolist() == [4, 6, 1, 3, 2, 0, 5, 7]


def test_permutations_are_uniform():
    # 6000 draws of 3 elements: 6 orders, 1000 each expected, standard deviation 28.9.
    counts: dict[tuple[int, ...], int] = {}
    for stream in range(6000):
        key = tuple(permutation(3, 7, stream).tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts.values()) < 4.5 * 28.9


def test_streams_of_neighbouring_seeds_do_not_coincide():
    draws = {tuple(permutation(30, s, e).tolist()) for s in range(20) for e in range(20)}
    assert len(draws) == 400


@given(n=st.integers(2, 200), batch_size=st.integers(1, 50), seed=seeds, epoch=st.integers(0, 99))
def test_batches_cover_the_epoch(n: int, batch_size: int, seed: int, epoch: int):
    batches = EpochBatches(n, batch_size, seed)
    batches.set_epoch(epoch)
    cut = list(batches)
    assert len(cut) == len(batches)
    seen = torch.cat(cut).tolist()
    single = batch_size > 1 and n % batch_size == 1
    assert len(seen) == len(set(seen)) == n - single
    assert seen == permutation(n, seed, epoch).tolist()[: len(seen)]
    assert all(len(batch) == batch_size for batch in cut[:-1])
    assert min(len(batch) for batch in cut) > 1 or batch_size == 1


def test_global_generators_are_not_touched():
    import random

    import numpy as np

    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    list(EpochBatches(20, 6, 3))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert python_state == random.getstate()
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("n", "batch_size", "seed"), [(1, 4, 0), (0, 1, 0), (10, 0, 0), (10, 4, -1)]
)
def test_bad_numbers_are_refused(n: int, batch_size: int, seed: int):
    with pytest.raises(UserError):
        list(EpochBatches(n, batch_size, seed))
