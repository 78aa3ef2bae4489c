"""A digest of code as it stands in memory: classes and functions of a notebook or a script.

`pnnbench.running.sources` reads the files behind a class. What was typed into a session has none,
and a function that is handed over is no class. Here what counts is what would be executed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

from pnnbench.running.sources import is_loose

#: Functions of a class that Python adds for its annotations.
_ADDED = {"__annotate__", "__annotate_func__"}
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def code_digest(things: Iterable[Any]) -> str:
    """Digest of what some classes, functions and callable objects do.

    Followed are the functions and classes that loose code names, in this session or in files beside
    it, its constants, tensors and arrays. What is installed stands by its name. Of lists and
    mappings, which may change while the code runs, only the type counts.

    Args:
        things: The objects.

    Returns:
        64 hexadecimal digits; the same in every process of one version of Python.
    """
    digest = hashlib.sha256()
    seen: dict[int, Any] = {}  # holds what it has seen, so that no place is used again
    for thing in things:
        for part in _parts(thing, seen):
            digest.update(f"{part}\n".encode(errors="backslashreplace"))
    return digest.hexdigest()


def _parts(thing: Any, seen: dict[int, Any]) -> Iterator[str]:
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


def _made(thing: Any, seen: dict[int, Any]) -> Iterator[str]:
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
    elif isinstance(thing, functools.partial):
        keywords = tuple(sorted(thing.keywords.items()))
        yield from _parts((thing.func, thing.args, keywords), seen)
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
        yield from _plain_attributes(thing, seen)


def _plain_attributes(thing: Any, seen: dict[int, Any]) -> Iterator[str]:
    for name, value in sorted(getattr(thing, "__dict__", {}).items()):
        if name != "training" and isinstance(value, (*_PLAIN, Tensor, np.ndarray)):
            yield name
            yield from _parts(value, seen)


def _of_function(function: Any, seen: dict[int, Any]) -> Iterator[str]:
    """Its code, its defaults, and what it takes from around it."""
    yield from _parts(function.__code__, seen)
    yield from _parts(function.__defaults__, seen)
    yield from _parts(tuple(sorted((function.__kwdefaults__ or {}).items())), seen)
    for cell in function.__closure__ or ():
        try:
            yield from _parts(cell.cell_contents, seen)
        except ValueError:  # not filled yet
            yield "nothing"
    for name in sorted(_names(function.__code__)):
        value = function.__globals__.get(name)
        if isinstance(value, (*_PLAIN, tuple, FunctionType, type, Tensor, np.ndarray)):
            yield name
            yield from _parts(value, seen)


def _names(code: CodeType) -> set[str]:
    inner = [_names(value) for value in code.co_consts if isinstance(value, CodeType)]
    return set(code.co_names).union(*inner)


def _of_class(cls: Any, seen: dict[int, Any]) -> Iterator[str]:
    yield from _parts(cls.__bases__, seen)
    for name, value in sorted(vars(cls).items()):
        # Python keeps its own notes of a class between underscores, some of them from its use.
        noted = name.startswith("__") and not isinstance(value, FunctionType)
        if not noted and name not in _ADDED:
            yield name
            yield from _parts(value, seen)
