"""Whether a network can be measured: its passes go through its layers, image by image."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pnnbench.accelerator import device_of
from pnnbench.errors import UserError
from pnnbench.platforms.layer import PhysicalLayer, physical_layers
from pnnbench.workloads.networks import modes_kept
from pnnbench.workloads.passes import Passes
from pnnbench.workloads.sharing import check_companions

#: What torch says where a layer is of another size than what it is given.
_MISFITS = ("shapes cannot be multiplied", "expected input", "running_mean should contain")
#: Images of the passes that look, few first: a layer may see some images only.
IMAGES = (2, 256)


@torch.no_grad()
def check_reached(workload: Passes, x: Tensor) -> None:
    """Refuses a network in which devices would change nothing of what a layer does, or images mix.

    A device is met in the physical part alone, by the layers that are called there. One that is
    called in training only, such as a head beside the one that is scored, is let be. What a pass
    raises is left to the passes that follow.

    Args:
        workload: Holds the network, which stays as it is.
        x: Inputs (N, ...), of which the first are taken.

    Raises:
        UserError: If inputs do not fit the layers; if a physical layer is called in the part before
            the physical one, or never; if
            an image's outputs depend on the rest of its batch; as `PhysicalNetwork.check_outputs`.
    """
    layers = physical_layers(workload.network)
    early, reached = set[str](), set[str]()
    passes = [(min(n, len(x)), training) for n in IMAGES for training in (False, True)]
    with _as_it_was(workload):
        for count, training in dict.fromkeys(passes):
            try:
                _pass(workload, layers, x[:count], training, early, reached)
            except RuntimeError as error:
                _refuse_shape(error, x)
                return
            except Exception:  # whatever somebody's network raises: the next pass tells it
                return
            if early or len(reached) == len(layers):
                break
    if early:
        raise UserError(
            f"{_named(early)} physical and called in prefix(), where no device is met",
            next_step="call physical layers in physical(h)",
        )
    if len(reached) < len(layers):
        raise UserError(
            f"{_named(set(layers) - reached)} physical, and no pass of the network calls it, so "
            "that no device would change anything",
            allowed="layers that are called: a weight that is read stays digital, and so does a "
            "function that was kept in an attribute and belongs to another copy of the network",
            next_step="call the layer in forward, or leave it digital with modules=",
        )
    with _as_it_was(workload):
        network, x = workload.network.eval(), workload.in_precision(x)
        try:
            check_companions(network, network, x)
            network.check_outputs(x)
        except UserError:
            raise
        except Exception:  # as above
            return


def _refuse_shape(error: RuntimeError, x: Tensor) -> None:
    """Raises a UserError where inputs do not fit a layer; nothing for what else torch raises."""
    if not any(words in str(error) for words in _MISFITS):
        return
    raise UserError(
        f"the network cannot take inputs of shape {tuple(x.shape[1:])}: {error}",
        allowed="a network for the inputs of the data set",
        next_step="give its first layers that size, or name other data",
    ) from None


def _named(names: set[str]) -> str:
    listed = ", ".join(map(repr, sorted(names)))
    return f"layers {listed} are" if len(names) > 1 else f"layer {listed} is"


def _pass(
    workload: Passes,
    layers: Mapping[str, PhysicalLayer],
    x: Tensor,
    training: bool,
    early: set[str],
    reached: set[str],
) -> None:
    """Notes which layers are called in the two parts of one pass."""
    network = workload.network.train(training)
    with _noted(layers, early):
        h = network.prefix(workload.in_precision(x))
    with _noted(layers, reached):
        network.physical(h)


@contextmanager
def _noted(layers: Mapping[str, PhysicalLayer], called: set[str]) -> Iterator[None]:
    """Context in which the names of the layers that are called are added to a set."""

    def noting(name: str, layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        called.add(name)
        return type(layer).forward(layer, *args, **kwargs)

    mine = [layer for layer in layers.values() if "forward" not in vars(layer)]
    try:
        for name, layer in layers.items():
            if layer in mine:
                vars(layer)["forward"] = partial(noting, name, layer)
            else:  # somebody else's: it is not told whether it is called
                called.add(name)
        yield
    finally:
        for layer in mine:
            del vars(layer)["forward"]


@contextmanager
def _as_it_was(workload: Passes) -> Iterator[None]:
    """Context after which modes, buffers and generators are as they were."""
    device = device_of(workload.network)
    gpus = [device] if device.type == "cuda" else []
    others = random.getstate(), np.random.get_state()  # noqa: NPY002 - what somebody's network draws
    try:
        with (
            workload.extra_pass(),
            torch.random.fork_rng(devices=gpus),
            modes_kept(workload.network),
        ):
            yield
    finally:
        random.setstate(others[0])
        np.random.set_state(others[1])  # noqa: NPY002
