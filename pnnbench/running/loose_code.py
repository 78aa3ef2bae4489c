"""A digest of code as it stands in memory: classes and functions of a notebook or a script.

`pnnbench.running.sources` reads the files behind a class. What was typed into a session has none,
and a function that is handed over is no class. Here what counts is what would be executed.
"""

from __future__ import annotations

import dis
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pnnbench.running.sources import is_loose

#: Functions of a class that Python adds for its annotations.
_ADDED = {"__annotate__", "__annotate_func__"}
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
#: Values that count under whatever name code mentions them.
_MENTIONED = (*_PLAIN, tuple, FunctionType, type, Tensor, np.ndarray)
#: Where objects that stand for a function, such as one that caches, keep it.
_INNER = ("__wrapped__", "func")
#: Attributes of modules and metrics that change with their use.
_OF_USE = {"training", "_computed", "_forward_cache", "_update_count"}
#: Tensors of more numbers are digested by their bytes.
_LARGE = 10_000
#: Instructions that read a name from the module of the code.
_FROM_MODULE = {"LOAD_GLOBAL", "LOAD_NAME"}

#: What was told already, by what it is found again with.
_Seen = dict[Any, Any]


def code_digest(things: Iterable[Any]) -> str:
    """Digest of what some classes, functions and callable objects do.

    Followed are the functions, classes, callable objects and networks that loose code names, in
    this session or in modules that are not installed, its constants, tensors and arrays. Of a
    module that it names the parts count that it mentions. What is installed stands by its name. Of
    lists and mappings, which may change while the code runs, only the type counts.

    Args:
        things: The objects.

    Returns:
        64 hexadecimal digits; the same in every process of one version of Python.
    """
    digest = hashlib.sha256()
    seen: _Seen = {}  # holds what it has seen, so that no place is used again
    for thing in things:
        for part in _parts(thing, seen):
            digest.update(f"{part}\n".encode(errors="backslashreplace"))
    return digest.hexdigest()


def _parts(thing: Any, seen: _Seen) -> Iterator[str]:
    """What an object is made of, as texts; what was told before is not told again."""
    if isinstance(thing, _PLAIN):
        yield repr(thing)
    elif isinstance(thing, (tuple, frozenset)):
        yield type(thing).__name__
        inner = thing if isinstance(thing, tuple) else sorted(thing, key=repr)
        for value in inner:
            yield from _parts(value, seen)
    elif id(thing) in seen:
        yield "as before"
    else:
        seen[id(thing)] = thing
        yield from _made(thing, seen)


def _made(thing: Any, seen: _Seen) -> Iterator[str]:
    if isinstance(thing, CodeType):
        yield f"{thing.co_code.hex()} {thing.co_names} {thing.co_varnames}"
        yield from _parts(thing.co_consts, seen)
    elif isinstance(thing, (FunctionType, type)):
        yield f"{thing.__module__}.{thing.__qualname__}"
        if is_loose(thing.__module__ or ""):
            of = _of_class if isinstance(thing, type) else _of_function
            yield from of(thing, seen)
    elif isinstance(thing, (staticmethod, classmethod, MethodType)):
        yield from _parts(thing.__func__, seen)
    elif isinstance(thing, property):
        yield from _parts((thing.fget, thing.fset), seen)
    elif isinstance(thing, (functools.partial, functools.partialmethod)):
        keywords = tuple(sorted(thing.keywords.items()))
        yield from _parts((thing.func, thing.args, keywords), seen)
    elif isinstance(thing, Tensor) and thing.numel() > _LARGE:
        held = thing.detach().cpu().resolve_conj().resolve_neg().contiguous()
        yield f"{held.dtype} {tuple(held.shape)}"
        yield hashlib.sha256(held.view(torch.uint8).numpy().data).hexdigest()
    elif isinstance(thing, Tensor):
        yield hashlib.sha256(repr(thing.detach().cpu().tolist()).encode()).hexdigest()
    elif isinstance(thing, np.ndarray):
        yield hashlib.sha256(repr(thing.tolist()).encode()).hexdigest()
    elif isinstance(thing, nn.Module):
        yield from _parts(type(thing), seen)
        yield from _plain_attributes(thing, seen)
        yield from _parts(tuple(thing.state_dict().items()), seen)
    else:
        named = getattr(thing, "__qualname__", "")  # a function that is built in
        yield f"{type(thing).__module__}.{type(thing).__qualname__} {named}"
        yield from _parts(type(thing), seen)
        for name in _INNER:
            inner = getattr(thing, name, None)
            if callable(inner):
                yield name
                yield from _parts(inner, seen)
        yield from _plain_attributes(thing, seen)


def _plain_attributes(thing: Any, seen: _Seen) -> Iterator[str]:
    states = getattr(thing, "_defaults", None)  # of a metric
    used = _OF_USE.union(states if isinstance(states, dict) else ())
    for name, value in sorted(getattr(thing, "__dict__", {}).items()):
        noted = name in used or (name.startswith("__") and name.endswith("__"))
        if not noted and isinstance(value, (*_PLAIN, FunctionType, Tensor, np.ndarray)):
            yield name
            yield from _parts(value, seen)


def _of_function(function: Any, seen: _Seen) -> Iterator[str]:
    """Its code, its defaults, and what it takes from around it."""
    yield from _parts(function.__code__, seen)
    yield from _parts(function.__defaults__, seen)
    yield from _parts(tuple(sorted((function.__kwdefaults__ or {}).items())), seen)
    names = _names(function.__code__)
    for cell in function.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:  # not filled yet
            yield "nothing"
            continue
        yield from _named(inner, names, seen)
    read = _read_from_module(function.__code__)
    for name in sorted(names):
        value = function.__globals__.get(name)
        # An attribute may have the name of a network that is trained meanwhile.
        if isinstance(value, _MENTIONED) or (name in read and _does_something(value)):
            yield name
            yield from _named(value, names, seen)


def _named(value: Any, names: set[str], seen: _Seen) -> Iterator[str]:
    """What code with some names in it takes from around it."""
    if isinstance(value, ModuleType):
        yield from _of_module(value, names, seen)
    else:
        yield from _parts(value, seen)


def _of_module(module: ModuleType, names: set[str], seen: _Seen) -> Iterator[str]:
    """The parts of a module that code mentions, by all names in it; of an installed one none."""
    yield module.__name__
    key = (id(module), frozenset(names))
    if key in seen or not _is_own(module):
        return
    seen[key] = module
    for name in sorted(names & vars(module).keys()):
        value = vars(module)[name]
        if isinstance(value, _MENTIONED) or _does_something(value):
            yield name
            yield from _named(value, names, seen)


def _is_own(module: ModuleType) -> bool:
    """Whether a module is the user's, and not installed."""
    file = getattr(module, "__file__", None)
    installed = isinstance(file, str) and "site-packages" in Path(file).parts
    return is_loose(module.__name__) and not installed


def _does_something(value: Any) -> bool:
    return isinstance(value, (ModuleType, nn.Module)) or callable(value)


def _names(code: CodeType) -> set[str]:
    inner = [_names(value) for value in code.co_consts if isinstance(value, CodeType)]
    return set(code.co_names).union(*inner)


def _read_from_module(code: CodeType) -> set[str]:
    """Names that code reads from its module, and not from an object."""
    inner = [_read_from_module(value) for value in code.co_consts if isinstance(value, CodeType)]
    read = {i.argval for i in dis.get_instructions(code) if i.opname in _FROM_MODULE}
    return read.union(*inner)


def _of_class(cls: Any, seen: _Seen) -> Iterator[str]:
    yield from _parts(cls.__bases__, seen)
    for name, value in sorted(vars(cls).items()):
        # Python keeps its own notes of a class between underscores, some of them from its use.
        noted = name.startswith("__") and not isinstance(value, FunctionType)
        if not noted and name not in _ADDED:
            yield name
            yield from _parts(value, seen)
