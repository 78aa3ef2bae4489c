"""Seeds of repetitions stay below those of test devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.seeds import FIRST_TEST_DEVICE, check_seed


@given(st.integers(-FIRST_TEST_DEVICE, 3 * FIRST_TEST_DEVICE))
def test_a_seed_is_in_its_range_or_refused(seed):
    if 0 <= seed < FIRST_TEST_DEVICE:
        assert check_seed("--seed", seed) == seed
    else:
        with pytest.raises(UserError, match="an integer from 0 to 999999"):
            check_seed("--seed", seed)


@pytest.mark.parametrize("seed", [True, 1.0, "1", None])
def test_what_is_no_integer_is_no_seed(seed):
    with pytest.raises(UserError, match="seed is"):
        check_seed("seed", seed)
