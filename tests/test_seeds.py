from __future__ import annotations

import pytest

from pnnbench.errors import UserError
from pnnbench.seeds import (
    FIRST_TEST_DEVICE,
    FIRST_TRAINING_DEVICE,
    FIRST_TUNING,
    FIRST_VALIDATION_DEVICE,
    REPETITIONS,
    check_seed,
    final_seeds,
    training_device_seed,
    trial_seed,
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


@pytest.mark.parametrize(
    "seed", [-1, FIRST_TUNING, REPETITIONS, FIRST_TEST_DEVICE, 0.5, True, "3", None]
)
def test_what_is_no_repetition_is_refused(seed: object) -> None:
    with pytest.raises(UserError, match="89999"):
        check_seed("--seed", seed)


def test_searches_repeat_what_no_suite_may_and_no_seed_serves_twice() -> None:
    trials = [trial_seed(i) for i in range(5000)]
    finals = final_seeds(5000)
    assert len({*trials, *finals}) == 10_000
    assert min(trials) == FIRST_TUNING
    assert max(finals) == REPETITIONS - 1
    for seed in (trials[0], finals[0], finals[-1]):
        with pytest.raises(UserError):
            check_seed("seeds", seed)
    for make in (trial_seed, final_seeds):
        with pytest.raises(UserError):
            make(5001)


@pytest.mark.parametrize("number", [-1, REPETITIONS])
def test_what_is_no_training_device_is_refused(number: int) -> None:
    with pytest.raises(UserError, match="training device"):
        training_device_seed(number)
    with pytest.raises(UserError, match="training device"):
        MRRDigits(0).training_device(number)


def test_repetitions_and_training_devices_are_named() -> None:
    assert check_seed("--seed", FIRST_TUNING - 1) == FIRST_TUNING - 1
    assert MRRDigits(0).training_device(7).seed == FIRST_TRAINING_DEVICE + 7
