"""The ranges of the seeds: repetitions and training devices below, test devices from a million."""

from __future__ import annotations

from pnnbench.errors import UserError

#: First seed of the validation devices, on which what is not the score is chosen and measured.
FIRST_VALIDATION_DEVICE = 500_000
#: First seed of the test devices. Repetitions name their training device by their own seed, so
#: that they stay below.
FIRST_TEST_DEVICE = 1_000_000


def check_seed(name: str, value: object) -> int:
    """Checks the seed of a repetition.

    Args:
        name: What it is called where it was given, such as ``"--seed"``.
        value: The seed, from 0 to 999,999.

    Returns:
        The seed.

    Raises:
        UserError: If it is not an integer in the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < FIRST_TEST_DEVICE:
        raise UserError(
            f"{name} is {value!r}",
            allowed=f"an integer from 0 to {FIRST_TEST_DEVICE - 1}; seeds from "
            f"{FIRST_TEST_DEVICE} on are those of the test devices",
        )
    return value
