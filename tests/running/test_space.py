from __future__ import annotations

import dataclasses
import itertools
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.methods.laws import Law
from pnnbench.methods.sat import SAT
from pnnbench.running.entries import MethodEntry, method_entries
from pnnbench.running.space import (
    defaults_of,
    doubled,
    draw_beyond,
    draw_points,
    edges_of,
    points_hash,
    space_of,
)


def row(method: str = "sat", label: str = "row", **more: object) -> MethodEntry:
    (entry,) = method_entries("s", [{"method": method, "label": label, "tune": True, **more}])
    return entry


@given(
    st.sampled_from(["bp", "sat", "nat", "pruning", "sat-environment"]),
    st.integers(1, 40),
)
@settings(max_examples=30)
def test_points_are_in_the_space_and_the_first_are_the_defaults(method: str, count: int) -> None:
    entry = row(method)
    points, laws = draw_points(entry, "pnnbench-2", count), space_of(entry)
    assert len(points) == count
    assert points[0] == defaults_of(entry)
    for point in points:
        assert list(point) == list(laws)
        assert all(law.low <= point[name] <= law.high for name, law in laws.items())


def test_points_follow_from_protocol_method_and_names_alone() -> None:
    points = draw_points(row(), "pnnbench-2", 16)
    assert draw_points(row(label="another", tuned={"rho": 0.2}), "pnnbench-2", 16) == points
    assert draw_points(row(params={"adaptive": True}), "pnnbench-2", 16) == points
    others = [
        draw_points(row(), "pnnbench-3", 16),
        draw_points(row("sat-in-situ"), "pnnbench-2", 16),
        draw_points(row(tune=["rho"]), "pnnbench-2", 16),
    ]
    assert all(other != points for other in others)


def test_the_points_of_the_protocol_are_these() -> None:
    """They are data: whoever changes them changes the protocol."""
    assert points_hash(draw_points(row("bp"), "pnnbench-2", 16)) == (
        "fe72d03e7729d1a5cfb55b240d67fc749c9aed26433c6e7a264c9a4dc0c1d4b3"
    )


def test_points_are_spread_over_the_whole_range() -> None:
    points, (law,) = draw_points(row("bp"), "pnnbench-2", 16), space_of(row("bp")).values()
    places = sorted(law.place(point["lr"]) for point in points[1:])
    assert places[0] < 2 / 16
    assert places[-1] > 14 / 16
    assert max(b - a for a, b in itertools.pairwise(places)) < 3 / 16


def test_a_step_of_another_optimiser_has_another_range() -> None:
    adam, sgd = space_of(row("bp")), space_of(row("bp", params={"optimizer": "sgd"}))
    assert adam["lr"] != sgd["lr"]


def test_a_default_with_a_unit_has_no_place_in_a_law() -> None:
    class InUnits(SAT):
        laws = MappingProxyType({"rho": Law(0.001, 0.3)})

    entry = dataclasses.replace(row(), tune=("rho",), fixed={"rho": "0.3 rad"})
    with pytest.raises(UserError, match="multiples"):
        defaults_of(entry)


def test_edges_are_a_tenth_of_the_range_on_its_scale_and_no_limits() -> None:
    laws = {"a": Law(0.001, 1.0), "b": Law(0.0, 1.0, "linear", least=0.0)}
    assert edges_of(laws, {"a": 0.0019, "b": 0.5}) == {"a": "low"}
    assert edges_of(laws, {"a": 0.0021, "b": 0.0}) == {}
    assert edges_of(laws, {"a": 0.51, "b": 0.95}) == {"a": "high", "b": "high"}
    assert edges_of(laws, {"a": 5.0, "b": 0.89}) == {"a": "high"}


def test_points_beyond_lie_in_the_new_half_and_keep_the_rest_of_the_winner() -> None:
    entry, winner = row(), {"rho": 0.29, "lr": 0.1}
    laws = space_of(entry)
    ends = edges_of(laws, winner)
    assert ends == {"rho": "high"}
    points = draw_beyond(entry, "pnnbench-2", winner, ends, 4)
    wider = doubled(laws, ends)
    assert wider["lr"] == laws["lr"]
    assert wider["rho"].low == laws["rho"].low
    assert all(p["lr"] == 0.1 for p in points)
    assert all(laws["rho"].high <= p["rho"] <= wider["rho"].high for p in points)
    assert len({p["rho"] for p in points}) == 4
