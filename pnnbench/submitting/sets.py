"""The data sets on which a row may be handed in: those that this package has, whoever verifies."""

from __future__ import annotations

import re

from pnnbench.lookup import registered, registered_name, resolve

#: Length of a latent vector, at most: those of a set are drawn by whoever verifies.
MOST_LATENTS = 512
_LATENTS = "latents"
_OF_LATENTS = re.compile(r"([^:,]+),([1-9][0-9]{0,3})")


def is_ours(reference: str) -> bool:
    """Whether the contents of a data set are this package's, in the context of `only` ``"own"``.

    Args:
        reference: What a record says, as `pnnbench.data.reference_of` gives it.

    Returns:
        True for registered sets that stand for themselves, and for latent vectors of such a set;
        false for others, and for paths.
    """
    head, colon, argument = reference.partition(":")
    if not colon:
        return head in registered("data") and not _takes(head)
    found = _OF_LATENTS.fullmatch(argument)
    if head != _LATENTS or head not in registered("data") or found is None:
        return False
    inner = registered_name("data", found[1])
    return inner in registered("data") and not _takes(inner) and int(found[2]) <= MOST_LATENTS


def sets_of_ours() -> str:
    """The sets for which `is_ours` is true, in words."""
    plain = [name for name in registered("data") if not _takes(name)]
    return (
        f"{', '.join(plain)}, or {_LATENTS}:SET,NUMBER with one of them and at most {MOST_LATENTS}"
    )


def _takes(name: str) -> str:
    """What stands behind the name of a registered set; nothing where it stands for itself."""
    return str(getattr(resolve("data", name), "takes", ""))
