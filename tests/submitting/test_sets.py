"""Data sets on which a row may be handed in."""

from __future__ import annotations

from typing import Any

import pytest

from pnnbench.errors import UserError
from pnnbench.lookup import only
from pnnbench.submitting.packing import require_ours
from pnnbench.submitting.received import _brought
from pnnbench.submitting.sets import MOST_LATENTS, is_ours, sets_of_ours

from .hostile.texts import BROUGHT

OURS = ("digits", "mnist", "kmnist", "latents:digits,32", f"latents:cifar10,{MOST_LATENTS}")


def record_on(reference: str, workload: str = "mrr-digits-gan") -> dict[str, Any]:
    """As much of a record as says on what it ran."""
    return {"job": {"workload": workload, "data": {"name": "x", "set": reference}}}


@pytest.mark.parametrize("reference", OURS)
def test_a_row_on_a_set_of_ours_is_handed_in_and_taken(reference: str) -> None:
    record = record_on(reference)
    require_ours(record)
    with only("own"):
        assert is_ours(reference)
        found = _brought("seed-0/record.json", record, "mrr-digits-gan")
    assert found is not None
    name, _, number = reference.removeprefix("latents:").partition(",")
    assert found.name == (f"latents-{number}-{name}" if number else name)


@pytest.mark.parametrize("reference", [told for told in BROUGHT.values() if told != "digits"])
def test_a_set_of_somebody_else_is_refused_by_both(reference: str) -> None:
    record = record_on(reference)
    with pytest.raises(UserError, match="which is not one of pnnbench"):
        require_ours(record)
    with only("own"), pytest.raises(UserError, match="which is not registered") as refused:
        _brought("seed-0/record.json", record, "mrr-digits-gan")
    assert "latents:SET,NUMBER" in refused.value.allowed
    assert "image-folder" not in refused.value.allowed


@pytest.mark.parametrize(
    ("workload", "reference"),
    [("mrr-digits", "digits"), ("mrr-digits-gan", "latents:digits,16"),
     ("mrr-digits-gan", "latents:Digits,16")],
)  # fmt: skip
def test_the_own_set_of_a_workload_is_not_brought(workload: str, reference: str) -> None:
    with only("own"), pytest.raises(UserError, match="as one that was brought"):
        _brought("seed-0/record.json", record_on(reference), workload)


def test_what_is_allowed_is_said() -> None:
    with only("own"):
        said = sets_of_ours()
    assert said.startswith("cifar10, digits, ")
    assert said.endswith(f"latents:SET,NUMBER with one of them and at most {MOST_LATENTS}")
