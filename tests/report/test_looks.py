"""Looks of methods: fixed by the label, apart in a picture, in grey, for every colour vision."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

from pnnbench.report.looks import method_styles

SUITES = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.yaml"))


def suite_labels() -> list[str]:
    labels = []
    for path in SUITES:
        for entry in yaml.safe_load(path.read_text())["methods"]:
            labels.append(entry.get("label", entry["method"]))
    return list(dict.fromkeys(labels))


def test_looks_follow_from_the_label_alone():
    labels = suite_labels()
    assert len(labels) >= 7
    together = method_styles(labels)
    for label in labels:
        assert method_styles([label])[label] == together[label]
    strangers = method_styles([*reversed(labels), "mine", "Forward-forward", "SAT, rho 3"])
    assert all(strangers[label] == together[label] for label in labels)
    assert strangers["mine"] == method_styles(["mine"])["mine"]


def test_looks_of_the_own_methods_are_pinned():
    looks = method_styles(["BP", "bp-weights", "NAT", "sat", "pruning"])
    assert [(look.color, look.marker) for look in looks.values()] == [
        ("#333333", "o"),
        ("#0072B2", "s"),
        ("#009E73", "^"),
        ("#D55E00", "D"),
        ("#CC79A7", "v"),
    ]
    assert {look.linestyle for look in looks.values()} == {"-"}
    assert method_styles(["SAT, adaptive"])["SAT, adaptive"].color == "#D55E00"
    looks = method_styles(["PAT", "DAT", "DAT, internal", "NAT in situ", "SAT in situ"])
    assert [(look.color, look.marker, look.fillstyle) for look in looks.values()] == [
        ("#E69F00", "P", "full"),
        ("#56B4E9", "X", "full"),
        ("#56B4E9", "X", "none"),
        ("#009E73", "^", "none"),
        ("#D55E00", "D", "none"),
    ]


def test_variants_of_bp_keep_apart_whatever_stands_beside_them():
    labels = ["BP", "BP, SGD", "BP, equal gradients", "BP, published step"]
    together = method_styles(labels)
    assert len({look.fillstyle for look in together.values()}) == len(labels)
    for label in labels:
        assert method_styles([label])[label] == together[label]


def test_no_two_methods_of_a_picture_look_the_same():
    labels = [f"method {i}" for i in range(60)] + [f"BP, trial {i}" for i in range(30)]
    looks = method_styles([*labels, *suite_labels()])
    assert len(set(looks.values())) == len(looks) == 90 + len(suite_labels())
    # In grey print colour is gone: the suites' methods still differ by marker and fill.
    own = [(looks[label].marker, looks[label].fillstyle) for label in suite_labels()]
    assert len(set(own)) == len(own)


# Machado, Oliveira and Fernandes, IEEE TVCG 15, 1291 (2009): severity 1, linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6726, 0.0473], [-0.0118, 0.0430, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0048, 0.6914, 0.3039]],
}


def lab(color: str, matrix) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.maximum(np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089], 1e-9))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_stay_apart_for_every_colour_vision(kind):
    labels = ["BP", "BP on weights", "NAT", "SAT", "Optical pruning", "PAT", "DAT"]
    colors = {look.color for look in method_styles(labels).values()}
    assert len(colors) == 7
    for a, b in combinations(sorted(colors), 2):
        distance = np.linalg.norm(lab(a, BLINDNESS[kind]) - lab(b, BLINDNESS[kind]))
        assert distance > 15, (a, b, distance)  # 2.3 is just noticeable
