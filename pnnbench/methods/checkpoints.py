"""Which method wrote a checkpoint: that of another one, or of other settings, is refused."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pnnbench.errors import UserError

#: Key of a Lightning checkpoint under which the method stands.
KEY = "pnnbench_method"
#: What is set on a method beside the arguments of its class: its draws, its device and its steps
#: follow them.
SET_LATER = ("seed", "train_device", "schedule")


def described(method: object) -> dict[str, str]:
    """Class, hyper-parameters, seed, training device and schedule of a method, as texts."""
    names = (*inspect.signature(type(method)).parameters, *SET_LATER)
    params = {name: repr(getattr(method, name)) for name in names if hasattr(method, name)}
    return {"class": f"{type(method).__module__}.{type(method).__qualname__}", **params}


def check_resumed(method: object, checkpoint: Mapping[str, Any]) -> None:
    """Refuses the checkpoint of another method, or of other settings.

    Args:
        method: The method that goes on.
        checkpoint: The checkpoint; one that does not name its method is taken, and what an older
            one does not tell is not compared.

    Raises:
        UserError: If something differs.
    """
    written = checkpoint.get(KEY)
    if written is None:
        return
    mine = described(method)
    differing = [
        f"{name} {written[name]}, now {value}"
        for name, value in mine.items()
        if written.get(name, value) != value
    ]
    if differing:
        raise UserError(
            f"the checkpoint was written with another method: {'; '.join(differing)}",
            next_step="resume with the method of the interrupted run, or start from its weights: "
            "load the state_dict and fit without ckpt_path",
        )
