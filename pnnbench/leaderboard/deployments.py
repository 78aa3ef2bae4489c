"""Deployments: one trained network measured as it is, and after a step on each device.

A network is deployed ``"frozen"``, with the statistics of the ideal device, or after a step that
is taken on the device itself, such as batch-norm statistics measured again. Each makes a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FROZEN = "frozen"
"""The deployment of the network as trained, which every record has."""


def deployment_of(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a record says of one of its deployments.

    Args:
        record: A finished record.
        name: The deployment.

    Returns:
        ``name``, and where a step was taken on the device ``values`` in the order of the cells,
        ``images`` and ``queries`` per device, and ``counts``, which of the cells carry weight, if
        they are others than of the network as trained; empty if the record does not have it.
    """
    if name == FROZEN:
        return {"name": FROZEN}
    found = (entry for entry in record.get("deployments", []) if entry["name"] == name)
    return next((dict(entry) for entry in found), {})


def headline_of(record: Mapping[str, Any]) -> str:
    """The deployment whose score is the robust score of the protocol.

    Args:
        record: A finished record.

    Returns:
        Its name; ``"frozen"`` where the record does not say.
    """
    return str(record.get("headline", FROZEN))


def deployment_names(records: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names the deployments of some records, the headline first.

    Args:
        records: Finished records of one table, which name the same headline.

    Returns:
        The names; ``"frozen"`` alone where there are no others.
    """
    first = next((headline_of(record) for record in records if "headline" in record), FROZEN)
    names = {entry["name"] for record in records for entry in record.get("deployments", [])}
    return (first, *sorted({FROZEN, *names} - {first}))
