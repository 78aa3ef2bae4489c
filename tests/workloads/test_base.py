from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits

from .training import assert_same, fit, state


@pytest.mark.parametrize("cls", [MRRDigits, MRRMNIST])
def test_the_initial_parameters_are_a_function_of_the_seed(cls: type[Workload]) -> None:
    torch.manual_seed(1)
    first = state(cls(5))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = state(cls(5))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(first, second)
    other = state(cls(6))
    assert not torch.equal(first["fc1.current"], other["fc1.current"])
    assert not torch.equal(first["fc1.bias"], other["fc1.bias"])


def test_a_workload_without_method_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"no training method[\s\S]*callbacks=\[BP\(\)\]"):
        fit(MRRDigits(0))


def test_an_unknown_tier_reads() -> None:
    with pytest.raises(UserError, match=r"mrr-digits: unknown tier 'quik'; did you mean 'quick'"):
        MRRDigits.tier("quik")


def test_after_each_step_the_method_has_the_last_word() -> None:
    class Counts(BP):
        """Counts."""

        seen = 0

        def after_step(self, workload: Workload) -> None:
            Counts.seen += 1
            with torch.no_grad():
                workload.network.fc1.current.fill_(2.0)

    workload = MRRDigits(0)
    fit(workload, Counts())
    assert Counts.seen == 1
    assert (workload.network.fc1.current == 2.0).all()


def test_a_bare_workload_declares_nothing() -> None:
    class Bare(Workload):
        """Only a network."""

        def build_network(self) -> Any:
            return nn.Linear(2, 2)

    bare = Bare()
    for missing in (
        lambda: bare.perturbation_grid("quick"),
        lambda: bare.loss(torch.ones(1), (torch.ones(1), torch.ones(1))),
        bare.metric,
    ):
        with pytest.raises(NotImplementedError):
            missing()
