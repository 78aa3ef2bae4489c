from __future__ import annotations

import math
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.methods.bp import BP
from pnnbench.methods.laws import Law, laws_of
from pnnbench.methods.sat import SAT, SATInSitu
from pnnbench.registry import method_class, method_parameters, registered

LAWS = st.one_of(
    st.tuples(st.floats(1e-6, 1e3), st.floats(1.1, 1e6)).map(lambda t: Law(t[0], t[0] * t[1])),
    st.tuples(st.floats(-1e3, 1e3), st.floats(0.1, 1e3)).map(
        lambda t: Law(t[0], t[0] + t[1], "linear")
    ),
)


@given(LAWS, st.floats(0.0, 1.0))
def test_every_value_is_in_the_range_and_where_it_was_put(law: Law, place: float) -> None:
    value = law.at(place)
    assert law.low <= value <= law.high
    exact = law.low + (law.high - law.low) * place
    if law.scale == "log":
        exact = law.low * (law.high / law.low) ** place
    assert math.isclose(value, exact, rel_tol=0.006, abs_tol=1e-12)  # three digits
    assert value in (law.low, law.high) or value == float(f"{value:.3g}")


@given(LAWS)
def test_what_is_beyond_an_end_is_as_long_as_the_range_on_its_own_scale(law: Law) -> None:
    up = law.beyond("high")
    assert up is not None
    assert up.low == law.high
    assert math.isclose(law.place(up.high), 2.0, rel_tol=1e-9)
    down = law.beyond("low")
    assert down is not None
    assert down.high == law.low
    assert math.isclose(law.place(down.low), -1.0, rel_tol=1e-9, abs_tol=1e-9)


def test_a_range_is_not_widened_past_its_limits() -> None:
    assert Law(0.1, 1.0, most=1.0).beyond("high") is None
    assert Law(0.0, 1.0, "linear", least=0.0).beyond("low") is None
    cut = Law(0.2, 0.6, "linear", most=0.7).beyond("high")
    assert cut is not None
    assert (cut.low, cut.high) == (0.6, 0.7)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1.0, 1.0), "range"),
        ((2.0, 1.0), "range"),
        ((0.0, 1.0), "logarithmic"),
        ((-1.0, 1.0), "logarithmic"),
        ((0.1, math.inf), "finite"),
        ((math.nan, 1.0), "finite"),
        ((0.1, 1.0, "cubic"), "log, linear"),
        ((0.1, 2.0, "log", 0.0, 1.0), "limits"),
    ],
)
def test_what_is_no_range_is_refused(values: tuple, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Law(*values)


@pytest.mark.parametrize("name", registered("methods"))
def test_the_defaults_of_every_method_are_within_its_laws(name: str) -> None:
    cls = method_class(name)
    params = method_parameters(cls, {})
    laws = laws_of(cls, params)
    assert "lr" in laws
    assert all(0.0 <= law.place(params[key]) <= 1.0 for key, law in laws.items())
    assert (cls.chosen_by == "own device") == (cls.access != "in_silico")


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_methods_with_one_optimiser_share_the_law_of_the_step(optimizer: str) -> None:
    found = {
        laws_of(cls, {**method_parameters(cls, {}), "optimizer": optimizer})["lr"]
        for cls in map(method_class, registered("methods"))
        if "optimizer" in method_parameters(cls, {})
    }
    assert len(found) == 1
    adam = laws_of(BP, {"optimizer": "adam"})["lr"]
    assert (found == {adam}) == (optimizer == "adam")


def test_laws_are_inherited_one_by_one() -> None:
    assert laws_of(SATInSitu, {}) == laws_of(SAT, {})

    class Wider(SAT):
        laws = MappingProxyType({"rho": Law(0.0001, 1.0)})

    found = laws_of(Wider, {})
    assert found["rho"].high == 1.0
    assert found["lr"] == laws_of(SAT, {})["lr"]


def test_a_law_for_what_is_no_hyper_parameter_is_refused() -> None:
    class Misspelt(SAT):
        laws = MappingProxyType({"rhoo": Law(0.001, 1.0)})

    with pytest.raises(UserError, match="rhoo"):
        laws_of(Misspelt, {})

    class NoLaw(SAT):
        laws = MappingProxyType({"rho": (0.001, 1.0)})

    with pytest.raises(UserError, match="the law of rho"):
        laws_of(NoLaw, {})
