"""Copies: one network under several seeds, and published ones under other names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pnnbench.errors import UserError
from pnnbench.records.store import read_record, write_record
from pnnbench.submitting.copies import ALIKE, CLOSE, Copies, answers_of, published_of


def network(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"wide": (100, 100), "narrow": (8, 8), "bias": (10,)}
    return {name: torch.randn(size, generator=generator) for name, size in sizes.items()}


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(0.0, 0.5 * CLOSE))
def test_almost_the_same_tensors_are_refused(seed: int, apart: float) -> None:
    one, noise = network(seed), network(seed + 1)
    copies = Copies()
    copies.add(0, one)
    copies.add(1, noise)
    with pytest.raises(UserError, match="seeds 0 and 2 have the same tensors"):
        copies.add(2, {name: tensor + apart * noise[name] for name, tensor in one.items()})


def test_tensors_that_say_nothing_are_taken() -> None:
    """Controls that all lie at an end of their range are alike in every network."""
    copies = Copies()
    for seed in range(3):
        copies.add(seed, {"bias": torch.ones(3), "controls": torch.ones(50, 50)})


def test_the_hardware_alone_tells_a_copy() -> None:
    """What is digital may be another one: it moves no light."""
    one, other = network(0), network(1)
    parameters = {**other, "wide": one["wide"]}
    copies = Copies()
    copies.add(0, one, ["wide", "narrow"])
    with pytest.raises(UserError, match="seeds 0 and 1 have the same tensors"):
        copies.add(1, parameters, ["wide", "narrow"])
    copies.add(2, {**other, "narrow": one["narrow"]}, ["wide", "narrow"])
    copies = Copies()
    copies.add(0, one, ["narrow"])
    copies.add(1, parameters, ["narrow"])


def outputs(seed: int, *, classes: int = 10) -> Tensor:
    return torch.randn(200, classes, generator=torch.Generator().manual_seed(seed))


def told(*given: Tensor, classes: bool) -> None:
    """Hands in the outputs of one seed after another."""
    copies = Copies()
    for seed, found in enumerate(given):
        copies.add_answers(seed, answers_of(found, classes))


@pytest.mark.parametrize("classes", [True, False])
def test_the_same_answers_are_one_network(classes: bool) -> None:
    one = outputs(0)
    for apart in (0.0, 1e-6, 0.5 * ALIKE):
        with pytest.raises(UserError, match="seeds 0 and 1 give the same answers to images"):
            told(one, one + apart * outputs(1), classes=classes)
    told(one, outputs(1), one + 2.0 * ALIKE * outputs(2), classes=classes)


def test_what_decides_no_class_hides_nothing() -> None:
    one = outputs(0)
    brighter = 3.0 * one + outputs(1, classes=1) + 0.1 * outputs(2)[:1]
    with pytest.raises(UserError, match="seeds 0 and 1 give the same answers"):
        told(one, brighter, classes=True)


def test_seeds_that_guess_are_no_copies() -> None:
    """One answer to all images, also where a little of them is left, is that of many networks."""
    constant = torch.arange(10.0).expand(200, 10)
    told(constant, constant, constant + 1e-3 * outputs(0), classes=True)
    told(constant, constant, constant + 1e-5 * outputs(0), classes=False)
    told(torch.zeros(200, 10), torch.zeros(200, 10), classes=True)
    told(torch.zeros(200, 64), torch.zeros(200, 64), classes=False)
    told(outputs(0) / 0.0, outputs(0) / 0.0, classes=True)


def computed(record: dict[str, Any]) -> dict[str, Any]:
    """What is computed of a network that has the cells of a record."""
    return {
        "parameters": "0" * 64,
        "workload": record["job"]["workload"],
        "tier": record["job"]["tier"],
        "fingerprint": record["data"]["fingerprint"],
        "images": record["data"]["n_test"],
        "cells": record["cells"],
    }


def test_a_published_network_is_known_by_its_file_and_by_its_cells(
    runs: list[Path], tmp_path: Path
) -> None:
    one, other = (read_record(run / "record.json") for run in runs)
    write_record(tmp_path / "records" / f"{one['job']['hash']}.json", one)
    (tmp_path / "records" / "broken.json").write_text("{")
    forged = copy.deepcopy(one)
    forged["cells"][3]["value"] -= 1 / one["data"]["n_test"]
    of_file = {**computed(other), "parameters": one["parameters"]["sha256"]}
    found = published_of([computed(other), computed(forged), of_file], tmp_path)
    assert [(hit["seed"], hit["suite"], hit["row"], hit["of_seed"]) for hit in found] == [
        (1, "tiny", "BP", 1),
        (2, "tiny", "BP", 1),
    ]
    assert {hit["record"] for hit in found} == {one["checksum"]}
    guessing = [{**cell, "value": 0.1} for cell in one["cells"]]
    assert published_of([{**computed(one), "cells": guessing}], tmp_path) == []
    assert published_of([{**computed(one), "tier": "quick"}], tmp_path) == []
    assert published_of([computed(one)], tmp_path / "nowhere") == []
