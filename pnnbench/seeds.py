"""The ranges of the seeds: repetitions, and devices for training, validation and tests.

No range meets another: what trains, what chooses settings and what is tested are other devices.
"""

from __future__ import annotations

from pnnbench.errors import UserError, check_count

#: Numbers of repetitions and of training devices are below; both count from 0.
REPETITIONS = 100_000
#: First seeds of the devices.
FIRST_TRAINING_DEVICE = 100_000
FIRST_VALIDATION_DEVICE = 500_000
FIRST_TEST_DEVICE = 1_000_000


def check_seed(name: str, value: object) -> int:
    """Checks the seed of a repetition.

    Args:
        name: What it is called where it was given, such as ``"--seed"``.
        value: The seed, from 0 to 99,999.

    Returns:
        The seed.

    Raises:
        UserError: If it is not an integer in the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < REPETITIONS:
        raise UserError(
            f"{name} is {value!r}",
            allowed=f"an integer from 0 to {REPETITIONS - 1}; seeds from there on are those of "
            f"devices, from {FIRST_TEST_DEVICE} on of the test devices",
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
