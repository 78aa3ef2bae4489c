"""What code does decides its digest, wherever it stands; how it is written does not."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from collections.abc import Callable
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
