"""The ranges of the seeds: repetitions, and devices for training, validation and tests.

No range meets another: what trains, what chooses settings and what is tested are other devices. The
repetitions in which settings are searched are none of those that a suite may have, and so are the
devices that methods in situ train on in them.
"""

from __future__ import annotations

from pnnbench.errors import UserError, check_count

#: Numbers of repetitions and of training devices are below; both count from 0.
REPETITIONS = 100_000
#: The last of them are those of searches; suites end below.
FIRST_TUNING = 90_000
#: Of these, the first are trials, and from here on the repetitions of the best of them.
FIRST_FINAL = 95_000
#: First seeds of the devices.
FIRST_TRAINING_DEVICE = 100_000
FIRST_VALIDATION_DEVICE = 500_000
FIRST_TEST_DEVICE = 1_000_000


def check_seed(name: str, value: object) -> int:
    """Checks the seed of a repetition.

    Args:
        name: What it is called where it was given, such as ``"--seed"``.
        value: The seed, from 0 to 89,999.

    Returns:
        The seed.

    Raises:
        UserError: If it is not an integer in the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < FIRST_TUNING:
        raise UserError(
            f"{name} is {value!r}",
            allowed=f"an integer from 0 to {FIRST_TUNING - 1}; seeds from there on are those of "
            f"searches and of devices, from {FIRST_TEST_DEVICE} on of the test devices",
        )
    return value


def training_device_seed(number: int) -> int:
    """Seed of a training device.

    Args:
        number: Which one, from 0 to 99,999.

    Raises:
        UserError: If the number is out of range.
    """
    return FIRST_TRAINING_DEVICE + check_count(
        "number of the training device", number, low=0, high=REPETITIONS - 1
    )


def validation_devices(count: int) -> list[int]:
    """Seeds of the first ``count`` validation devices, the same for every choice."""
    return [FIRST_VALIDATION_DEVICE + i for i in range(count)]


def trial_seed(point: int) -> int:
    """The repetition of a trial of a search: another one for each point, the same for every row.

    Args:
        point: Number of the point, from 0 to 4,999.

    Raises:
        UserError: If the number is out of range.
    """
    last = FIRST_FINAL - FIRST_TUNING - 1
    return FIRST_TUNING + check_count("number of the point", point, low=0, high=last)


def final_seeds(count: int) -> list[int]:
    """The repetitions in which the best points are tried again, the same for all of them.

    Args:
        count: How many, at most 5,000.
    """
    check_count("number of seeds", count, low=0, high=REPETITIONS - FIRST_FINAL)
    return [FIRST_FINAL + i for i in range(count)]
