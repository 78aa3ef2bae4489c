"""Workloads on another data set than their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pnnbench.data import Arrays, DataSet, resolve_data
from pnnbench.errors import UserError
from pnnbench.registry import registered, workload_class
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits, mrr_layers
from pnnbench.workloads.mrr_images import ImagesOnRings, MRRDigitsResNet
from pnnbench.workloads.mzi import MZIDigits
from pnnbench.workloads.networks import DigitsNet


class Pictures(DataSet):
    """Some images; most training images are of class 1, which 6 of 10 test images are."""

    def __init__(self, shape: tuple[int, ...] = (2, 9, 7), n_classes: int | None = 3) -> None:
        self.input_shape = shape
        self.n_classes = n_classes

    def load(self, root: Any = None, download: bool = False) -> Arrays:
        rng = np.random.default_rng(0)
        x = rng.integers(0, 256, (30, *self.input_shape), dtype=np.uint8)
        y = np.array([1] * 12 + [0] * 4 + [2] * 4 + [1] * 6 + [2] * 4)
        return Arrays(self.name, x[:20], y[:20], x[20:], y[20:], self.n_classes)


@pytest.mark.parametrize("cls", [MRRDigits, MZIDigits])
@pytest.mark.parametrize("shape", [(2, 9, 7), (1, 8, 8), (3, 2, 2)])
def test_networks_that_can_are_sized_by_the_data(cls: Any, shape: tuple[int, ...]) -> None:
    workload = cls(0, data=Pictures(shape, 3))
    x = workload.data_set.arrays().train_inputs.float() / 255
    assert workload(x).shape == (20, 3)
    assert (workload.n_classes, cls.n_classes, cls(0).n_classes) == (3, 10, 10)


#: Networks of one size; those of images are sized by any set of square ones.
SIZED = [n for n in registered("workloads") if not issubclass(workload_class(n), ImagesOnRings)]


def test_image_networks_say_what_they_cannot_take() -> None:
    with pytest.raises(UserError, match=r"takes square images, and an input of 'Pictures'"):
        MRRDigitsResNet(0, data=Pictures((3, 9, 7), 3))
    with pytest.raises(UserError, match=r"classifies, and data 'Pictures' has real targets"):
        MRRDigitsResNet(0, data=Pictures((1, 8, 8), None))
    assert MRRDigitsResNet(0, data=Pictures((3, 8, 8), 3)).eval()(torch.rand(2, 3, 8, 8)).shape == (
        2,
        3,
    )


@pytest.mark.parametrize("name", SIZED)
def test_networks_that_cannot_say_so_in_a_sentence(name: str) -> None:
    cls = workload_class(name)
    takes = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}[cls.data]
    free = name in ("mrr-digits", "mzi-digits")
    if not free:
        with pytest.raises(UserError, match=r"takes inputs of 1 x|detectors, one for each class"):
            cls(0, data=Pictures((3, 9, 7), 3))
        with pytest.raises(UserError, match=r"takes inputs of|detectors|classes"):
            cls(0, data=Pictures((13,), 10))
    else:
        with pytest.raises(UserError, match=r"takes images, and one input is 13"):
            cls(0, data=Pictures((13,), 10))
    # With the shape that it takes it is built, with as many outputs as there are classes.
    n_classes = 10 if name.startswith("diffractive") else 3
    made = cls(0, data=Pictures(takes, n_classes))
    with torch.no_grad():
        assert made(torch.rand(2, *takes)).shape == (2, n_classes)
    with pytest.raises(UserError, match=r"classifies, and data 'Pictures' has real targets"):
        cls(0, data=Pictures(takes, None))


def test_guessing_is_the_most_frequent_class_of_a_set_that_is_brought() -> None:
    assert MRRDigits(0, data=Pictures()).chance == 0.6
    assert MRRDigits(0).chance == MRRDigits(0, data="digits").chance == 0.1
    assert MRRMNIST(0, data="kmnist").chance == 0.1  # balanced, and not read for it

    class Own(MRRDigits):
        n_classes = 2

    assert Own(0, data=Pictures()).chance == 0.5  # classes of its own


def test_the_same_seed_draws_the_same_network_from_a_set_of_the_same_size() -> None:
    here, there = MRRDigits(3), MRRDigits(3, data=Pictures((1, 8, 8), 10))
    for a, b in zip(here.network.parameters(), there.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert here.data_set is resolve_data("digits")
    assert here.describe("smoke") == there.describe("smoke")


@pytest.mark.parametrize("shape", [(4, 3), (4,), (4, 10, 2)])
def test_outputs_that_are_no_logits_of_the_classes_are_refused(shape: tuple[int, ...]) -> None:
    x, y = torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    for use in (
        lambda w: w.loss(torch.zeros(shape), (x, y)),
        lambda w: w.outcomes(torch.zeros(shape), y),
    ):
        with pytest.raises(UserError, match=r"for 10 classes"):
            use(MRRDigits(0))


def test_outputs_are_not_looked_at_where_the_data_set_is_not_there() -> None:
    class Elsewhere(MRRDigits):
        data = "elsewhere"

        def build_network(self) -> Any:
            return DigitsNet(*mrr_layers(), (1, 8, 8), 3)

    logits = torch.zeros(2, 3)
    loss = Elsewhere(0).loss(logits, (logits, torch.tensor([0, 2])))
    assert float(loss) == pytest.approx(float(torch.log(torch.tensor(3.0))))
