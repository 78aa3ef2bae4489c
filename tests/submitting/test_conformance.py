"""Every registered method passes every check; each broken method fails the one check it breaks."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pnnbench.data import DataModule
from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.registry import method_class, registered, workload_class
from pnnbench.submitting.conformance import (
    CHECKS,
    CheckResult,
    check_everywhere,
    check_method,
)
from pnnbench.submitting.trial import WORKLOADS, kind_of
from pnnbench.submitting.watched import counted_passes
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr_images import MRRDigitsGAN

from .broken import declared, reaching, stepping, training
from .broken.declared import NoMethod
from .broken.reaching import Ensemble
from .broken.stepping import Forward, Steps, TwoOptimizers
from .broken.training import Crashes, Plain, SavesObject

BROKEN = [*declared.FAULTS, *training.FAULTS, *stepping.FAULTS, *reaching.FAULTS]
BUILT_IN = [
    *("bp", "bp-weights", "nat", "pruning", "sat"),
    *("nat-in-situ", "pat", "dat", "dat-internal", "sat-in-situ"),
    *("sat-environment", "sat-outward", "random-environment"),
    *("evolution", "coordinate-search", "spsa", "lbfgs"),
]
#: Hyper-parameters with which methods that measure many settings take seconds.
FEW: dict[str, dict[str, Any]] = {
    "evolution": {"population": 3, "parents": 2},
    "coordinate-search": {"coordinates": 4},
    "spsa": {"directions": 1},
    "lbfgs": {"iterations": 2},
}
#: Methods that take few passes.
QUICK = ("bp", "nat", "sat")
DIGITS = [workload.name for workload in WORKLOADS]
BUILT = {name: workload_class(name)() for name in DIGITS}
GENERATOR = MRRDigitsGAN()


def workloads_of(place: int, method: str) -> list[str]:
    """The digits workloads that a method supports, each method's beginning with another one."""
    found = [name for name in DIGITS if method_class(method).supports(BUILT[name])]
    return found[place % len(found) :] + found[: place % len(found)]


def tried(place: int, method: str) -> str:
    """The one that is tried by default; the longest with a few methods that take few passes."""
    found = workloads_of(place, method)
    quick = [name for name in found if name != "diffractive-digits" or method in QUICK]
    return quick[0]


PAIRS = [
    pytest.param(
        method,
        workload,
        marks=[] if workload == tried(place, method) else [pytest.mark.slow],
    )
    for place, method in enumerate(registered("methods"))
    for workload in workloads_of(place, method)
]


def names_for(cls: type[Any]) -> list[str]:
    """Names of the checks for methods such as a class."""
    return [name for name, check in CHECKS.items() if check.meant_for(kind_of(cls))]


@pytest.mark.parametrize(("name", "workload"), PAIRS)
def test_registered_methods_pass_every_check(name: str, workload: str) -> None:
    results = check_method(name, FEW.get(name), workload=workload)
    assert [r.message for r in results if not r.passed] == []
    assert [r.name for r in results] == names_for(method_class(name))
    assert all(r.message.endswith(".") for r in results)


@pytest.mark.slow
@pytest.mark.parametrize("name", [m for m in BUILT_IN if method_class(m).supports(GENERATOR)])
def test_methods_pass_every_check_on_a_generator(name: str) -> None:
    """Their loss is the score of a judge that is trained beside them."""
    results = check_method(name, FEW.get(name), workload=GENERATOR.name)
    assert [r.message for r in results if not r.passed] == []


def test_a_step_of_the_workload_itself_is_no_pass_of_the_method() -> None:
    workload = MRRDigitsGAN().train()
    data = DataModule(MRRDigitsGAN.data, batch_size=8, limit_train=8)
    with counted_passes(workload) as passes:
        workload.prepared(data.train_tensors())
        assert (passes.recorded, passes.simulated) == (0, 0)
        with torch.no_grad():
            workload(data.train_tensors()[0])
        assert (passes.recorded, passes.simulated) == (0, 1)


def test_the_built_in_methods_are_registered() -> None:
    assert set(BUILT_IN) <= set(registered("methods"))


def test_a_workload_is_left_out_only_where_it_lacks_what_the_method_needs() -> None:
    everything = {(m, w) for m in registered("methods") for w in DIGITS}
    no_ports = {"mrr-digits", "freespace-digits", "diffractive-digits"}
    no_slopes = {"freespace-digits", "diffractive-digits"}
    assert everything - {tuple(pair.values) for pair in PAIRS} == {
        *((m, w) for m in ("dat", "dat-internal") for w in no_ports),
        *(("pruning", w) for w in no_slopes),
        *(("pruning-weights", w) for w in (*no_slopes, "mzi-digits")),
        *((m, "mzi-digits") for m in ("sat-environment", "sat-outward", "random-environment")),
    }


def test_a_workload_on_other_data_is_refused() -> None:
    with pytest.raises(UserError, match=", ".join(DIGITS)):
        check_method("bp", workload="mzi-mnist")


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("pat", {"placement": "read-out"}),
        pytest.param(
            "dat-internal",
            {"states": "both", "keep_learning": True, "batch_norm": False},
            marks=pytest.mark.slow,
        ),
        pytest.param("dat", {"size": "4k", "count": 2, "first_phase": 1.0}, marks=pytest.mark.slow),
        ("sat-in-situ", {"optimizer": "sgd", "rho": 0.0}),
    ],
)
def test_variants_of_in_situ_methods_pass(name: str, params: dict[str, Any]) -> None:
    results = check_method(name, params, workload="mzi-digits")
    assert [r.message for r in results if not r.passed] == []
    assert len(results) == len(names_for(BP))


@pytest.mark.parametrize(
    "params",
    [{"adaptive": True}, {"perturb": "all"}, {"optimizer": "sgd", "lr": "0.5 mA^2"}, {"rho": 0.0}],
)
def test_variants_of_sat_pass(params: dict[str, Any]) -> None:
    results = check_method("sat", params)
    assert [r.message for r in results if not r.passed] == []
    assert len(results) == len(names_for(BP))


def faults() -> Iterator[Any]:
    """The broken methods: one of each check by default, the others with ``-m slow``."""
    seen: set[str] = set()
    for cls, name, text in BROKEN:
        marks = [pytest.mark.slow] if name in seen else []
        seen.add(name)
        yield pytest.param(cls, name, text, marks=marks, id=cls.__name__)


@pytest.mark.parametrize(("cls", "name", "text"), list(faults()))
def test_a_broken_method_fails_exactly_its_check(cls: type[Any], name: str, text: str) -> None:
    failed = [r for r in check_method(cls) if not r.passed]
    assert [r.name for r in failed] == [name], failed
    assert text in failed[0].message


def test_each_check_has_a_method_that_fails_it() -> None:
    assert {name for _, name, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("cls", [Plain, Steps, Forward, TwoOptimizers, Ensemble])
def test_the_frame_of_the_broken_methods_is_sound(cls: type[Any]) -> None:
    results = check_method(cls)
    assert [r.message for r in results if not r.passed] == []
    assert [r.name for r in results] == names_for(cls)


def test_every_platform_that_the_method_supports_is_checked() -> None:
    class Picky(Plain):
        """Supports two platforms.

        Nothing else.
        """

        @classmethod
        def supports(cls, workload: Workload) -> bool:
            return workload.platform in ("mrr", "mzi")

        def after_step(self, workload: Workload) -> None:
            if workload.platform == "mzi":
                super().after_step(workload)

    told: list[tuple[str, CheckResult]] = []
    found = check_everywhere(Picky, {}, progress=lambda name, result: told.append((name, result)))
    assert [name for name, results in found.items() if results is None] == DIGITS[2:]
    assert told == [(name, r) for name, results in found.items() for r in results or ()]
    assert all(r.passed for r in found["mzi-digits"] or ())


def test_a_method_without_platform_is_told() -> None:
    class Nowhere(Plain):
        """Supports nothing."""

        @classmethod
        def supports(cls, workload: Workload) -> bool:
            return False

    with pytest.raises(UserError, match="Nowhere supports none of mrr-digits, mzi-digits"):
        check_everywhere(Nowhere)


def test_what_makes_no_sense_after_a_fault_is_left_out() -> None:
    assert [r.name for r in check_method(NoMethod)] == ["class"]
    names = [r.name for r in check_method(Crashes)]
    assert names[-1] == "trains"
    assert "resumes" not in [r.name for r in check_method(SavesObject)]


def test_progress_is_told_each_result() -> None:
    told: list[CheckResult] = []
    results = check_method(Crashes, progress=told.append)
    assert told == results


def test_a_class_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from pnnbench.methods.bp import BP\n\n\nclass Mine(BP):\n"
        '    """Mine.\n\n    Args:\n        lr: mA.\n        lr_digital: One.\n'
        '        optimizer: Name.\n    """\n\n    def after_step(self, workload):\n        pass\n'
    )
    (tmp_path / "conformance_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    results = check_method("conformance_of_mine.Mine", {"lr": 1.0})
    sys.modules.pop("conformance_of_mine")
    assert [r.name for r in results if not r.passed] == ["controls-in-range"]


@pytest.mark.parametrize(
    ("name", "params", "text"),
    [
        ("satt", None, "did you mean 'sat'"),
        ("pnnbench.methods.sat.SAM", None, "SAM"),
        ("sat", {"roh": 1.0}, "did you mean 'rho'"),
        ("sat", {"rho": -1.0}, "rho is -1.0"),
    ],
)
def test_user_mistakes_read(name: str, params: dict[str, Any] | None, text: str) -> None:
    with pytest.raises(UserError) as error:
        check_method(name, params)
    assert text in str(error.value)


def test_the_callers_random_state_is_kept() -> None:
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = (torch.rand(2).tolist(), random.random(), np.random.rand())  # noqa: S311, NPY002
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    check_method("nat")
    assert (torch.rand(2).tolist(), random.random(), np.random.rand()) == expected  # noqa: S311, NPY002
