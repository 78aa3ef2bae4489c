"""What a workload declares and shows is held against what records hold."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.registry import registered, workload_class
from pnnbench.running.declared import check_storable, own_figures, require_declared
from pnnbench.running.training import seed_generators
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002, S311


class Drawing(MZIDigits):
    """Its chance level is drawn from the global generators."""

    @property
    def chance(self) -> float:  # type: ignore[override]
        return 0.1 + 0.0 * sum(drawn())


def test_a_look_at_what_is_declared_moves_no_generator() -> None:
    workload = Drawing(0)
    seed_generators(3)
    expected = drawn()
    seed_generators(3)
    require_declared(workload, "smoke")
    assert drawn() == expected


def test_what_is_wrong_is_one_sentence_with_the_class_and_the_next_step() -> None:
    class Level(MRRDigits):
        chance = math.nan

    with pytest.raises(UserError) as error:
        require_declared(Level(0), "smoke")
    assert error.value.what == "Level: metric.chance is nan"
    assert error.value.allowed == "a finite number"
    assert error.value.next_step.startswith("mend tests.running.test_declared.Level")


@pytest.mark.parametrize("name", [n for n in registered("workloads") if n.endswith("digits")])
def test_the_workloads_that_ship_pass(name: str) -> None:
    workload = workload_class(name)(0)
    for tier in workload.tiers:
        require_declared(workload, tier)


def test_figures_are_plain_numbers_by_name() -> None:
    told: dict[str, Any] = {
        "float": np.float64(0.5),
        "tensor": torch.tensor(2),
        "int": 3,
        "array": np.array(0.25),
    }
    found = own_figures(told)
    assert found == {"float": 0.5, "tensor": 2, "int": 3, "array": 0.25}
    assert {type(value) for value in found.values()} == {int, float}
    with pytest.raises(NotFiniteError, match="contrast is nan"):
        own_figures({"contrast": math.nan})
    for wrong in ([0.5], {"a": None}, {"a": "0.5"}, {"a": torch.ones(2)}, {"": True}):
        with pytest.raises(UserError, match=r"figures\(\)"):
            own_figures(wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="at most 1e\\+50"):
        check_storable({"power": 1e51})
