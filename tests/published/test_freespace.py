from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pnnbench.cli import main
from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.published.freespace import SWEEPS, Images, accuracy, compare, reproduce
from pnnbench.published.freespace_checkpoint import (
    BOTH_LAYERS,
    LAYER_1,
    LAYER_2,
    PUBLISHED,
    Rule,
    load_checkpoint,
)
from pnnbench.published.printed import recorded

from .released import write
from .released_freespace import outputs, random_model

QUANTITIES = {sweep.quantity for sweep in SWEEPS}
LEVELS = sum(len(sweep.levels) for sweep in SWEEPS)
TIES = {("shift_y_ties", 1.5), ("scale_ties", 1.05), ("scale_ties", 1.1)}

#: Printed accuracies of the released files in percent, and one of both layers, all without ties.
PRINTED: list[tuple[str, Rule, dict[str, float], float]] = [
    ("standard_bp", PUBLISHED, {}, 97.24),
    ("standard_bp", PUBLISHED, {"rotation_deg": 1}, 92.56),
    ("standard_bp", PUBLISHED, {"rotation_deg": -3}, 52.86),
    ("standard_bp", PUBLISHED, {"shift_y_px": 2}, 78.04),
    ("standard_bp", PUBLISHED, {"scale": 1.0333}, 22.80),
    ("standard_bp", BOTH_LAYERS, {"rotation_deg": 1}, 14.85),
    ("sat-angle", PUBLISHED, {"rotation_deg": 2}, 91.78),
    ("sat-shift", PUBLISHED, {"shift_y_px": 1}, 97.58),
    ("sat-scale", PUBLISHED, {}, 96.93),
]
#: Recorded values of the released files that are compared: those without ties.
COMPARED = 121


@pytest.fixture(scope="module")
def released(reference_dir: Path) -> Path:
    return reference_dir / "checkpoints" / "freespace"


@pytest.fixture(scope="module")
def mnist(mnist_root: Path) -> Images:
    return Images.mnist(mnist_root)


@pytest.fixture(scope="module")
def noise() -> Images:
    """Random images: enough to run the protocol, meaningless as a task."""
    g = torch.Generator().manual_seed(0)
    return Images(
        test=torch.randn(40, 1, 28, 28, generator=g),
        labels=torch.randint(10, (40,), generator=g),
        fingerprint="none",
    )


@pytest.fixture
def noise_for_mnist(noise: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Images, "mnist", classmethod(lambda cls, root=None: noise))


@pytest.mark.parametrize(("name", "rule", "misalignment", "printed"), PRINTED)
def test_printed_accuracies_of_the_released_files(
    released: Path,
    mnist: Images,
    name: str,
    rule: Rule,
    misalignment: dict[str, float],
    printed: float,
) -> None:
    network = load_checkpoint(released / f"{name}.npz").network(rule)
    found = accuracy(network, mnist, MisalignmentEnvironment(**misalignment))
    assert found == pytest.approx(printed, abs=0.011)


@pytest.mark.slow
def test_all_recorded_values_of_the_released_networks(released: Path, mnist_root: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = reproduce(released, data_root=mnist_root, progress=lambda *c: calls.append(c))
    assert [row for row in report.rows if row.within is False] == []
    assert report.compared == COMPARED
    assert len(report.rows) == 4 * LEVELS
    assert calls == [(i, 4) for i in range(1, 5)]
    values = {(row.checkpoint, row.quantity, row.level): row.value for row in report.rows}
    assert values["standard_bp", "both_angle", 1] == pytest.approx(14.85, abs=0.01)
    # Ties come out near the recorded values all the same.
    for name in ("standard_bp", "sat-angle", "sat-shift", "sat-scale"):
        known = recorded("freespace")["checkpoints"][name]
        for quantity, level in TIES:
            assert values[name, quantity, level] == pytest.approx(
                dict(known[quantity])[level], abs=3
            )


MOVED: list[dict[str, float]] = [
    {},
    {"rotation_deg": 1.3},
    {"rotation_deg": -0.5},
    {"shift_y_px": 2.0},
    {"shift_y_px": -0.8},
    {"shift_x_px": 1.0},
    {"scale": 0.9667},
    {"scale": 1.0333},
    {"rotation_deg": 0.8, "shift_y_px": 1.2},
]


@pytest.mark.parametrize("misalignment", MOVED)
def test_network_computes_what_torchvision_says(
    tmp_path: Path, noise: Images, misalignment: dict[str, float]
) -> None:
    model = random_model(0)
    checkpoint = load_checkpoint(write(tmp_path / "mine.npz", model))
    scale = {name: v for name, v in misalignment.items() if name == "scale"}
    cases: list[tuple[Rule, dict[str, Any], dict[str, Any]]] = [
        (PUBLISHED, misalignment, scale),
        (BOTH_LAYERS, misalignment, misalignment),
        (LAYER_1, misalignment, {}),
        (LAYER_2, {}, misalignment),
    ]
    aligned = outputs(model, noise.test, {}, {})
    condition = Condition(Device.ideal(), MisalignmentEnvironment(**misalignment))
    for rule, first, second in cases:
        network = checkpoint.network(rule)
        expected = outputs(model, noise.test, first, second)
        with torch.no_grad(), operate(network, [condition]):
            torch.testing.assert_close(network(noise.test), expected, rtol=1e-4, atol=1e-4)
        if rule in (BOTH_LAYERS, PUBLISHED) and misalignment:
            assert (expected - aligned).abs().max() > 0.05


def test_sweeps_are_measured_as_they_say(tmp_path: Path, noise: Images) -> None:
    model = random_model(1)
    checkpoint = load_checkpoint(write(tmp_path / "mine.npz", model))
    rows = {(r.quantity, r.level): r for r in compare([checkpoint], noise).rows}
    assert len(rows) == LEVELS

    def expected(first: dict[str, float], second: dict[str, float]) -> float:
        right = outputs(model, noise.test, first, second).argmax(1) == noise.labels
        return 100 * float(right.float().mean())

    turned, down, larger = {"rotation_deg": 1.0}, {"shift_y_px": 1.0}, {"scale": 1.025}
    cases = {
        ("angle", 1): (turned, {}),
        ("shift_y", 1): (down, {}),
        ("shift_x", 1): ({"shift_x_px": 1.0}, {}),
        ("scale", 1.0333): ({"scale": 1.0333}, {"scale": 1.0333}),
        ("shift_y_at_0.8_deg", 1.2): ({"rotation_deg": 0.8, "shift_y_px": 1.2}, {}),
        ("both_angle", 1): (turned, turned),
        ("both_shift_y", 1): (down, down),
        ("layer_2_angle", 1): ({}, turned),
        ("layer_2_shift_y", 1): ({}, down),
        ("layer_1_scale", 1.025): (larger, {}),
        ("layer_2_scale", 1.025): ({}, larger),
    }
    for key, (first, second) in cases.items():
        # Up to one image in rounding.
        assert rows[key].value == pytest.approx(expected(first, second), abs=2.6), key
        assert rows[key].recorded is None
    assert {row.unit for row in rows.values()} == {"%"}


def test_recorded_values_belong_to_sweeps(tmp_path: Path) -> None:
    entries = recorded("freespace")
    assert entries["source"]
    assert set(entries["units"]) == QUANTITIES
    levels = {sweep.quantity: set(sweep.levels) for sweep in SWEEPS}
    for name, entry in entries["checkpoints"].items():
        for quantity, pairs in entry.items():
            assert [at for at, _ in pairs] == sorted(at for at, _ in pairs)
            assert {at for at, _ in pairs} <= levels[quantity], (name, quantity)
    assert {(s.quantity, level) for s in SWEEPS if s.ties for level in s.levels} == TIES
    model = random_model(2)
    assert load_checkpoint(write(tmp_path / "mine.npz", model)).recorded == {}
    known = load_checkpoint(write(tmp_path / "standard_bp.npz", model)).recorded
    assert dict(known["angle"])[1] == 92.56


def test_another_network_under_a_recorded_name_is_found_out(
    tmp_path: Path, noise_for_mnist: None
) -> None:
    write(tmp_path / "sat-scale.npz", random_model(3))
    write(tmp_path / "mine.npz", random_model(4))
    calls: list[tuple[int, int]] = []
    report = reproduce(tmp_path, progress=lambda *c: calls.append(c))
    assert {row.quantity for row in report.rows} == QUANTITIES
    assert {row.checkpoint for row in report.rows if row.recorded is not None} == {"sat-scale"}
    assert not report.ok
    assert calls == [(1, 2), (2, 2)]
    # Ties are measured, and their records are told, but decide nothing.
    ties = [row for row in report.rows if (row.quantity, row.level) in TIES]
    assert len(ties) == 2 * len(TIES)
    assert all(row.within is None for row in ties)
    assert len(report.notes) == 2
    assert report.notes[1] == (
        "sat-scale: recorded at ties between pixels, not compared: "
        "y shift 1.5 px: 86.3 %, scale 1.05 x: 95.95 %, scale 1.1 x: 91.98 %"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc1__bias": None}, "no fc1__bias"),
        ({"fc2__weight": np.ones((144, 10))}, r"fc2__weight has shape \(144, 10\)"),
        ({"fc1__weight": np.full((144, 784), np.nan)}, "fc1__weight holds values that are not"),
        ({"fc3__weight": np.ones(3)}, "unknown fc3__weight"),
    ],
)
def test_wrong_files_are_user_errors_before_anything_is_measured(
    tmp_path: Path,
    noise_for_mnist: None,
    change: dict[str, np.ndarray | None],
    message: str,
) -> None:
    write(tmp_path / "a.npz", random_model(5))
    model = {k: v for k, v in (random_model(6) | change).items() if v is not None}
    write(tmp_path / "b.npz", model)
    with pytest.raises(UserError, match=message) as raised:
        reproduce(tmp_path, progress=lambda *_: pytest.fail("measured before the check"))
    assert "b.npz" in raised.value.what


def test_what_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no npz file in"):
        reproduce(tmp_path)
    with pytest.raises(UserError, match="no folder"):
        reproduce(tmp_path / "nowhere")
    write(tmp_path / "mine.npz", random_model(7))
    with pytest.raises(UserError, match=r"(?i)mnist"):
        reproduce(tmp_path, data_root=tmp_path)


def test_command_prints_json(
    tmp_path: Path, noise_for_mnist: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "mine.npz", random_model(8))
    arguments = ["reproduce", "freespace", "--checkpoints", str(tmp_path), "--format", "json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["platform"] == "freespace"
    assert printed["ok"] is True
    assert printed["compared"] == 0
    assert {row["quantity"] for row in printed["rows"]} == QUANTITIES

    (tmp_path / "mine.npz").rename(tmp_path / "standard_bp.npz")
    assert main(arguments) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False

    (tmp_path / "standard_bp.npz").write_bytes(b"")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "standard_bp.npz is not a readable npz" in captured.err
