"""What code does decides its digest, wherever it stands; how it is written does not."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pnnbench.methods.bp import BP
from pnnbench.running import loose_code
from pnnbench.running.loose_code import code_digest

SESSION = """
STRENGTH = {strength}
def scale(x):
    return {scale} * x
class Mine:
    '''{doc}'''
    decay = {decay}
    def __init__(self, lr=0.1):
        super().__init__()
        self.lr = lr
    @property
    def loss(self):
        return lambda out: scale(STRENGTH * out{more})
"""
VALUES = {"strength": 1.0, "scale": 2, "doc": "Mine.", "decay": 0.5, "more": ""}


def session(**changes: Any) -> type:
    """The class as it is after a session was typed in."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(SESSION.format(**{**VALUES, **changes}), names)  # noqa: S102, as a notebook does
    made: type = names["Mine"]
    return made


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"doc": "Mine, as it was."}, True),
        ({"strength": -1.0}, False),
        ({"scale": 3}, False),
        ({"decay": 0.6}, False),
        ({"more": " ** 2"}, False),
    ],
)
def test_an_edit_of_a_class_or_of_what_it_names_is_another_digest(
    changes: dict[str, Any], same: bool
) -> None:
    assert (code_digest([session()]) == code_digest([session(**changes)])) is same


def test_a_function_that_was_put_into_a_class_counts() -> None:
    cls = session()
    before = code_digest([cls])
    cls.loss = lambda self, out: -out  # type: ignore[attr-defined]
    assert code_digest([cls]) != before


def test_use_changes_no_digest() -> None:
    class Network(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x

    seen: list[Any] = []
    before = code_digest([Network])
    copy.deepcopy(Network())(torch.ones(1))
    assert code_digest([Network]) == before


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of these tests is a user's: ``tests`` is a package of torch-fidelity, too."""
    monkeypatch.setattr(loose_code, "is_loose", lambda m: m.startswith(("__main__", "tests.")))


def closed(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


class Weighted:
    """A loss with weights of classes."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def __call__(self, x: Any) -> Any:
        return self.weight * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (closed(1.0), closed(2.0)),
        (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)),
        (
            nn.CrossEntropyLoss(weight=torch.ones(3)),
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 2.0])),
        ),
        (functools.partial(closed, factor=1.0), functools.partial(closed, factor=2.0)),
        (torch.relu, torch.sigmoid),
        (Weighted(torch.ones(3)), Weighted(torch.tensor([1.0, 1.0, 2.0]))),
        (Weighted(np.ones(3)), Weighted(np.array([1.0, 1.0, 2.0]))),
        (lambda x, power=2: x**power, lambda x, power=3: x**power),
        (None, closed(1.0)),
    ],
)
@pytest.mark.usefixtures("ours")
def test_losses_that_differ_have_different_digests(one: Any, other: Any) -> None:
    assert code_digest([one]) == code_digest([copy.deepcopy(one)])
    assert code_digest([one]) != code_digest([other])


def test_what_is_installed_stands_by_its_name_and_every_process_says_the_same() -> None:
    program = (
        "from pnnbench.methods.bp import BP; from tests.running.test_loose_code import session;"
        "from pnnbench.running.loose_code import code_digest; print(code_digest([BP, session()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == code_digest([BP, session()])


@pytest.mark.parametrize("make", [torch.tensor, np.array])
@pytest.mark.usefixtures("ours")
def test_tensors_and_arrays_of_the_session_count(
    make: Callable[[list[float]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(x: Any) -> Any:
        return CLASS_WEIGHTS * x

    digests = []
    for weights in ([1.0, 5.0], [1.0, 5.0], [1.0, 50.0]):
        monkeypatch.setitem(globals(), "CLASS_WEIGHTS", make(weights))
        digests.append(code_digest([loss]))
    assert digests[0] == digests[1] != digests[2]


CLASS_WEIGHTS: Any = None


CACHED = """
import functools
class Mine:
    @functools.cached_property
    def factor(self):
        return {v}
"""
LRU_METHOD = """
import functools
class Mine:
    @functools.lru_cache
    def factor(self):
        return {v}
"""
LRU_FUNCTION = """
import functools
@functools.cache
def factor():
    return {v}
class Mine:
    def loss(self):
        return factor()
"""
PARTIAL_METHOD = """
import functools
class Mine:
    def f(self, a):
        return a
    g = functools.partialmethod(f, {v})
"""
CALLABLE = """
class Scale:
    def __init__(self, a):
        self.a = a
    def __call__(self):
        return self.a
scale = Scale({v})
class Mine:
    def loss(self):
        return scale()
"""
PARTIAL = """
import functools
scale = functools.partial(max, {v})
class Mine:
    def loss(self):
        return scale(0)
"""
NETWORK = """
import torch
net = torch.nn.Linear(1, 1)
torch.nn.init.constant_(net.bias, {v})
torch.nn.init.constant_(net.weight, 1.0)
class Mine:
    def loss(self, x):
        return net(x)
"""
LARGE = """
import torch
net = torch.nn.Linear(101, 101)
torch.nn.init.constant_(net.weight, {v})
torch.nn.init.constant_(net.bias, 1.0)
class Mine:
    def loss(self, x):
        return net(x)
"""
HELPER = """
import {helper}
class Mine:
    def loss(self):
        return {helper}.scale()
"""
DEEP_HELPER = """
import {helper} as aside
def made():
    import math
    return lambda: aside.inner.scale() * math.pi
class Mine:
    loss = made()
"""


def typed_in(text: str, **names: Any) -> type:
    """The class of a session in which this text was typed."""
    space: dict[str, Any] = {"__name__": "__main__", **names}
    exec(text, space)  # noqa: S102, as a notebook does
    made: type = space["Mine"]
    return made


@pytest.mark.parametrize(
    "text",
    [
        CACHED,
        LRU_METHOD,
        LRU_FUNCTION,
        PARTIAL_METHOD,
        CALLABLE,
        PARTIAL,
        NETWORK,
        LARGE,
    ],
)
def test_what_wraps_a_function_and_what_can_be_called_is_followed(text: str) -> None:
    one, same, other = (typed_in(text.replace("{v}", v)) for v in ("1.0", "1.0", "2.0"))
    assert code_digest([one]) == code_digest([same]) != code_digest([other])


@pytest.mark.parametrize("text", [HELPER, DEEP_HELPER])
def test_the_parts_of_a_helper_module_that_are_used_are_followed(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(scale: float, unused: int = 0) -> str:
        helper = ModuleType("helper_of_a_session")
        code = (
            f"FACTOR = {scale}\ndef scale():\n    return FACTOR\ndef unused():\n    return {unused}"
        )
        exec(code, vars(helper))  # noqa: S102
        helper.inner = helper  # type: ignore[attr-defined]  # as packages refer to one another
        monkeypatch.setitem(sys.modules, helper.__name__, helper)
        return code_digest([typed_in(text.replace("{helper}", helper.__name__))])

    assert digest(1.0) == digest(1.0) == digest(1.0, unused=1) != digest(2.0)


def test_two_functions_use_other_parts_of_one_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "import both\n"
        "class Mine:\n"
        "    def a(self):\n        return both.one()\n"
        "    def b(self):\n        return both.two()\n"
    )

    def digest(one: int, two: int) -> str:
        helper = ModuleType("both")
        exec(  # noqa: S102
            f"def one():\n    return {one}\ndef two():\n    return {two}\n", vars(helper)
        )
        monkeypatch.setitem(sys.modules, "both", helper)
        return code_digest([typed_in(text)])

    assert len({digest(1, 1), digest(2, 1), digest(1, 2)}) == 3


def test_a_network_of_the_session_with_the_name_of_an_attribute_does_not_count() -> None:
    """It may be the one that is trained."""
    text = "class Mine:\n    def loss(self, workload, x):\n        return workload.network(x)\n"
    one, other = (typed_in(text, network=nn.Linear(1, 1)) for _ in range(2))
    assert code_digest([one]) == code_digest([other])


def test_the_use_of_a_metric_and_of_a_cache_changes_no_digest() -> None:
    text = (
        "import functools, torchmetrics\n"
        "metric = torchmetrics.MeanMetric()\n"
        "@functools.cache\n"
        "def factor():\n    return 2.0\n"
        "class Mine:\n"
        "    @functools.cached_property\n"
        "    def two(self):\n        return factor()\n"
        "    def loss(self, x):\n"
        "        metric.update(x)\n"
        "        return metric.compute() * self.two\n"
    )
    cls = typed_in(text)
    before = code_digest([cls])
    cls().loss(torch.ones(1))  # type: ignore[attr-defined]
    assert code_digest([cls]) == before
