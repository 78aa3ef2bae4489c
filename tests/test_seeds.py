from __future__ import annotations

import pytest

from pnnbench.errors import UserError
from pnnbench.seeds import (
    FIRST_TEST_DEVICE,
    FIRST_TRAINING_DEVICE,
    FIRST_VALIDATION_DEVICE,
    REPETITIONS,
    check_seed,
    training_device_seed,
    validation_devices,
)
from pnnbench.workloads.grid import test_devices as seeds_of_test_devices
from pnnbench.workloads.mrr import MRRDigits


def test_the_ranges_do_not_meet() -> None:
    repetitions = range(REPETITIONS)
    training = range(training_device_seed(0), training_device_seed(REPETITIONS - 1) + 1)
    validation = validation_devices(100_000)
    tests = seeds_of_test_devices(100_000)
    assert repetitions[-1] < training[0] == FIRST_TRAINING_DEVICE
    assert training[-1] < validation[0] == FIRST_VALIDATION_DEVICE
    assert validation[-1] < tests[0] == FIRST_TEST_DEVICE
    assert len(set(validation)) == len(set(tests)) == 100_000


@pytest.mark.parametrize("seed", [-1, REPETITIONS, FIRST_TEST_DEVICE, 0.5, True, "3", None])
def test_what_is_no_repetition_is_refused(seed: object) -> None:
    with pytest.raises(UserError, match="99999"):
        check_seed("--seed", seed)


@pytest.mark.parametrize("number", [-1, REPETITIONS])
def test_what_is_no_training_device_is_refused(number: int) -> None:
    with pytest.raises(UserError, match="training device"):
        training_device_seed(number)
    with pytest.raises(UserError, match="training device"):
        MRRDigits(0).training_device(number)


def test_repetitions_and_training_devices_are_named() -> None:
    assert check_seed("--seed", REPETITIONS - 1) == REPETITIONS - 1
    assert MRRDigits(0).training_device(7).seed == FIRST_TRAINING_DEVICE + 7
