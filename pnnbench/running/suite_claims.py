"""The key ``claims`` of a suite file: which of its rows is said to be better than which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pnnbench.errors import UserError, kind_word, unknown_name
from pnnbench.records.index import Claim

_SAMPLE = "{better: SAT, than: BP}"
_KEYS = ("better", "than")


def claims_of(where: str, given: Any, labels: Sequence[str]) -> tuple[Claim, ...]:
    """Checks the claims of a suite.

    Args:
        where: File and key, for messages.
        given: What stands there.
        labels: Labels of the rows of the suite.

    Returns:
        The claims, in their order.

    Raises:
        UserError: If it is not a list of mappings from ``better`` and ``than`` to two labels, or
            two rows are compared twice.
    """
    if not isinstance(given, list):
        raise UserError(
            f"{where} is {given!r}, {kind_word(given)}",
            allowed=f"a list of mappings such as {_SAMPLE}",
        )
    claims: list[Claim] = []
    for i, item in enumerate(given):
        here = f"{where}[{i}]"
        if not isinstance(item, dict):
            raise UserError(
                f"{here} is {item!r}, {kind_word(item)}", allowed=f"a mapping such as {_SAMPLE}"
            )
        for key in item:
            if key not in _KEYS:
                raise unknown_name("key", str(key), _KEYS, where=here)
        for key in _KEYS:
            if key not in item:
                raise UserError(f"{here}: the key {key!r} is missing", next_step="add it")
            if item[key] not in labels:
                raise unknown_name("row", str(item[key]), labels, where=f"{here}.{key}")
        claim = Claim(item["better"], item["than"])
        if claim.better == claim.than:
            raise UserError(f"{here} compares {claim.than!r} with itself", allowed="two rows")
        if {claim, Claim(claim.than, claim.better)} & set(claims):
            raise UserError(
                f"{here}: {claim.better!r} and {claim.than!r} are compared twice",
                allowed="one claim for two rows: it is tested in both directions",
            )
        claims.append(claim)
    return tuple(claims)
