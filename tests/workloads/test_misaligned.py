from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnbench.platforms.misalignment import FIELDS, Misalignment, MisalignmentEnvironment
from pnnbench.workloads.misaligned import ALONE, Levels, MisalignmentGrid, displaced

NOMINAL = MisalignmentEnvironment().as_dict()
GRID = MisalignmentGrid(
    shape=(10, 20),
    lengths_px=(1.0, 2.0),
    unit="weights",
    end=1.0,
    levels={
        "rotation": Levels((0.5,), (0.25,), (1.5,), (2.0,)),
        "shift_x": Levels((0.5, 0.75)),
        "scale": Levels((), (0.25,), (), (2.0,)),
    },
    joint=Levels((0.5,), beyond=(1.5,)),
    assembled=0.1,
)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(4, 40),
    columns=st.integers(4, 40),
    along_y=st.floats(0.2, 3),
    along_x=st.floats(0.2, 3),
    displacement=st.floats(0.001, 0.02),
)
def test_equal_displacements_move_positions_equally_far(
    rows: int, columns: int, along_y: float, along_x: float, displacement: float
) -> None:
    y = torch.arange(rows, dtype=torch.float64)[:, None]
    x = torch.arange(columns, dtype=torch.float64)[None]
    found = displaced((rows, columns), (along_y, along_x), displacement)
    assert list(found) == list(FIELDS)
    for name, value in found.items():
        place = MisalignmentEnvironment(**{name: NOMINAL[name] + value}).as_dict()
        fields = {k: torch.tensor([v], dtype=torch.float64) for k, v in place.items()}
        at_y, at_x = Misalignment(**fields).sources((rows, columns), y, x)
        square = ((at_y[0] - y) / along_y) ** 2 + ((at_x[0] - x) / along_x) ** 2
        moved = math.sqrt(float(square.mean())) * (1 + value if name == "scale" else 1)
        assert moved == pytest.approx(displacement, rel=3e-3)


def test_what_counts_is_met_by_devices_and_what_is_shown_by_the_ideal_one() -> None:
    cells = [*GRID.inside([7, 8]), *GRID.beyond([7, 8])]
    for cell in cells:
        assert (cell.severity, cell.device_seed is None) == (
            (0.1, False) if cell.counts else (0.0, True)
        )
    one = GRID.displaced(1.0)
    assert dict(GRID.training_ranges()) == one
    inside = {(c.axis, c.level, c.unit, c.counts) for c in cells if c.axis != "beyond"}
    turn, grown = (round(GRID.displaced(d)["rotation_deg"], 6) for d in (0.25, 0.5))
    assert inside == {
        *(("rotation", sign * turn, "deg", False) for sign in (-1, 1)),
        *(("rotation", sign * grown, "deg", True) for sign in (-1, 1)),
        *(("shift_x", d, "px", True) for d in (-1.5, -1.0, 1.0, 1.5)),
        *(
            ("scale", sign * round(100 * GRID.displaced(0.25)["scale"], 4), "%", False)
            for sign in (-1, 1)
        ),
        ("rotation_and_shift", 0.5, "weights", True),
    }
    beyond = [c for c in cells if c.axis == "beyond"]
    assert {(c.level, c.unit, c.counts) for c in beyond} == {
        (1.5, "x training range", True),
        (2.0, "x training range", False),
    }
    # Rotation at both signs and four corners on two devices; rotation and scale on the ideal one.
    assert len(beyond) == 2 * (2 + 4) + 2 + 2
    corners = {c.environment for c in beyond if c.level == 1.5 and c.environment.shift_y_px}  # type: ignore[attr-defined]
    assert len(corners) == 4


def test_the_axes_name_every_parameter_once() -> None:
    assert [field for field, _ in ALONE.values()] == list(FIELDS)


def test_environments_of_grids_without_assembly_are_met_by_the_ideal_device_and_count() -> None:
    ideal = dataclasses.replace(GRID, assembled=0.0)

    def places(grid: MisalignmentGrid) -> list[tuple[object, ...]]:
        cells = [*grid.inside([7, 8]), *grid.beyond([7, 8])]
        return list(dict.fromkeys((c.axis, c.level, c.environment, c.counts) for c in cells))

    cells = [*ideal.inside([7, 8]), *ideal.beyond([7, 8])]
    assert {(c.severity, c.device_seed) for c in cells} == {(0.0, None)}
    assert [(c.axis, c.level, c.environment, c.counts) for c in cells] == places(GRID)
