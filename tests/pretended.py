"""A device that is not there: tensors that say they are on one, whose numbers are on the CPU.

Real code runs on it with real numbers, and what a GPU refuses is refused: an operation on tensors
of both sides, a read of memory that only the CPU can read. Autograd computes it on the CPU's queue,
which of all foreign devices it does for ``meta``; so that is the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

#: Where such tensors say they are.
DEVICE = torch.device("meta")
_aten = torch.ops.aten
#: Operations between devices, and those that take indices of the CPU.
_ACROSS = {_aten.copy_.default, _aten._to_copy.default}
_IN_MEMORY = {
    _aten._conj.default: _aten.conj_physical.default,
    _aten._neg_view.default: _aten.neg.default,
}
_INDEXING = {
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._unsafe_index.Tensor,
    _aten._index_put_impl_.default,
}


class Far(Tensor):
    """A tensor that says it is on `DEVICE`."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=DEVICE,
        )
        made.near = near
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"Far({self.near!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A checkpoint is read on the CPU, wherever it was written.
        return self.near.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _near(value: Any) -> Any:
    return value.near if isinstance(value, Far) else value


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    far = [t for t in leaves if isinstance(t, Far)]
    here = [t for t in leaves if isinstance(t, Tensor) and not isinstance(t, Far)]
    if any(t.device == DEVICE for t in here):
        raise RuntimeError(f"{func}: a tensor on {DEVICE} that has no numbers")
    asked = kwargs.get("device")
    given = None if asked is None else torch.device(asked)
    goes_far = bool(far) if given is None else given == DEVICE
    if given is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if far and func not in _ACROSS:
        mixed = [t for t in here if t.dim() > 0]
        if func in _INDEXING and isinstance(args[0], Far):
            mixed = [t for t in mixed if t.dtype not in (torch.long, torch.bool)]
        if mixed:
            shapes = [tuple(t.shape) for t in mixed]
            raise RuntimeError(
                f"{func}: all tensors must be on one device, and {shapes} are on the CPU"
            )
    if func is _aten.copy_.default:
        goes_far = isinstance(args[0], Far)
    # What is conjugated or negated in name only is so in memory: below a mode nobody looks.
    func = _IN_MEMORY.get(func, func)
    result = func(*tree_map(_near, args), **tree_map(_near, kwargs))
    known = {id(t.near): t for t in far}

    def out(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in known:  # changed in place
            return known[id(value)]
        return Far(value) if goes_far else value

    return tree_map(out, result)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _indices(given: Any) -> Any:
    """Indices with a tensor in the place of each list."""
    if isinstance(given, tuple):
        return tuple(_indices(part) for part in given)
    return torch.tensor(given).to(DEVICE) if isinstance(given, list) else given


class _Made(TorchFunctionMode):
    """Tensors that are made of numbers, which torch makes of nothing on `DEVICE`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor):
            device = kwargs.get("device")
            if device is not None and torch.device(device) == DEVICE:
                return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if func is Tensor.new_tensor and isinstance(args[0], Far):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(DEVICE)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Far):
            args = (args[0], _indices(args[1]), *args[2:])
        if func is Tensor.tolist and isinstance(args[0], Far):
            return args[0].near.tolist()
        return func(*args, **kwargs)


class _Pretended(CPUAccelerator):
    """What Lightning takes `DEVICE` for."""

    def setup_device(self, device: torch.device) -> None:
        assert device == DEVICE

    @staticmethod
    def name() -> str:
        return DEVICE.type


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Context in which there is `DEVICE`; networks go there and back, and Lightning knows it."""
    if DEVICE.type not in AcceleratorRegistry:
        AcceleratorRegistry.register(DEVICE.type, _Pretended)
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Made(), _Mode():
            yield DEVICE
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
        AcceleratorRegistry.remove(DEVICE.type)
