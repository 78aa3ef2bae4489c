from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.evaluation import quick
from pnnbench.evaluation.harness import measure_grid
from pnnbench.evaluation.noise import DeviceNoise
from pnnbench.evaluation.quick import QuickPass, Ways, noted, worthwhile
from pnnbench.evaluation.readings import Reading
from pnnbench.methods.bp import BP
from pnnbench.platforms import conv_op, fused
from pnnbench.platforms.base import Condition, hold_transfer, operate
from pnnbench.platforms.fused import fusing
from pnnbench.running.training import fit
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import Cell
from pnnbench.workloads.mrr import MRRMNIST, MRRDigits
from pnnbench.workloads.mrr_images import MRRDigitsResNet
from pnnbench.workloads.mzi import MZIDigits

pytestmark = pytest.mark.skipif(bool(conv_op.missing()), reason="no C compiler")
DIGITS = load("digits")
N = 130


@pytest.fixture(scope="module")
def trained() -> MRRDigits:
    data = DataModule(DIGITS, batch_size=32, limit_train=512)
    workload = MRRDigits(0)
    fit(workload, BP(lr="0.05 mA"), data, epochs=2)
    workload.calibrate(data.train_tensors()[0])
    return workload


@pytest.fixture(scope="module")
def test_set() -> tuple[Tensor, Tensor]:
    return DataModule(DIGITS, limit_test=N).test_tensors()


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return MRRDigits(0).perturbation_grid("smoke")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "WORTHWHILE", 10**12)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "WORTHWHILE", 1)


def measured(
    workload: Workload, images: tuple[Tensor, Tensor], cells: list[Cell], **options: object
) -> tuple[list[Reading], Ways]:
    with noted() as ways:
        readings = measure_grid(workload, *images, cells, **options)  # type: ignore[arg-type]
    return readings, ways


def same(one: list[Reading], other: list[Reading]) -> bool:
    rights = zip(one, other, strict=True)
    return one == other and all(
        a.right is not None and b.right is not None and torch.equal(a.right, b.right)
        for a, b in rights
    )


@pytest.mark.parametrize("calibrated", [False, True])
def test_readings_are_the_plain_ones_to_the_image(
    calibrated: bool,
    trained: MRRDigits,
    test_set: tuple[Tensor, Tensor],
    cells: list[Cell],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calibration = DataModule(DIGITS).train_tensors()[0][:64] if calibrated else None
    monkeypatch.setattr(quick, "WORTHWHILE", 10**12)
    plain, none = measured(trained, test_set, cells, calibration=calibration)
    assert none.as_dict() == {}
    monkeypatch.setattr(quick, "WORTHWHILE", 1)
    for options in ({}, {"batch_size": 64}, {"cells_per_batch": 1}, {"cells_per_batch": 7}):
        found, ways = measured(trained, test_set, cells, calibration=calibration, **options)
        assert same(found, plain)
        assert ways.batches > ways.again
        assert ways.compared >= 1
        assert 0.0 < ways.largest <= quick.TOLERANCE
        assert not ways.reasons
    assert 0.1 < sum(r.value or 0.0 for r in plain) / len(plain) < 0.95


@pytest.mark.parametrize("cls", [MRRDigits, MRRMNIST])
def test_outputs_agree_to_the_stated_tolerance(cls: type[Workload]) -> None:
    torch.manual_seed(0)
    side = 8 if cls is MRRDigits else 28
    x = torch.rand(40, 1, side, side)
    workload = cls(0)
    workload.calibrate(x)
    seeds = [1_000_000, 1_000_001]
    conditions = [Condition(workload.draw_device(0.5, seed)) for seed in seeds]
    shown = x.repeat(2, 1, 1, 1)
    noise = {}

    def shot(layer: str, shape: tuple[int, ...]) -> Tensor:
        return noise.setdefault(layer, torch.randn(shape))

    operated = operate(workload.network, conditions, shot)
    with torch.no_grad(), operated, hold_transfer(workload.network):
        plain = workload.network.physical(shown)
        with fusing(x, shown):
            found = workload.network.physical(shown)
    assert not torch.equal(found, plain)  # another order of sums
    assert float((found - plain).abs().max() / plain.abs().max()) < quick.TOLERANCE


class Wrong:
    """The operation, off by a share of its outputs."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, *args: object, **kwargs: object) -> Tensor:
        return conv_op.conv_block(*args, **kwargs) * (1 + self.share)  # type: ignore[arg-type]


@pytest.fixture
def plain_readings(
    trained: MRRDigits, test_set: tuple[Tensor, Tensor], cells: list[Cell], eager: None
) -> list[Reading]:
    return measured(trained, test_set, cells)[0]


def test_where_outputs_differ_the_plain_ones_are_taken_and_said(
    trained: MRRDigits,
    test_set: tuple[Tensor, Tensor],
    cells: list[Cell],
    plain_readings: list[Reading],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quick, "WORTHWHILE", 1)

    class Module:
        conv_block = staticmethod(Wrong(1e-3))

    monkeypatch.setattr(fused, "conv_op", Module)
    found, ways = measured(trained, test_set, cells)
    assert same(found, plain_readings)
    assert "allowed" in ways.as_dict()["plain_because"][0]


def test_where_it_fails_the_plain_ones_are_taken_and_said(
    trained: MRRDigits,
    test_set: tuple[Tensor, Tensor],
    cells: list[Cell],
    plain_readings: list[Reading],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quick, "WORTHWHILE", 1)

    def fails(*args: object, **kwargs: object) -> Tensor:
        raise MemoryError("convolution block: out of memory")

    class Module:
        conv_block = staticmethod(fails)

    monkeypatch.setattr(fused, "conv_op", Module)
    found, ways = measured(trained, test_set, cells)
    assert same(found, plain_readings)
    assert ways.as_dict() == {"plain_because": ["MemoryError: convolution block: out of memory"]}


def test_a_missing_compiler_is_said_once(
    trained: MRRDigits,
    test_set: tuple[Tensor, Tensor],
    cells: list[Cell],
    plain_readings: list[Reading],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quick, "WORTHWHILE", 1)
    monkeypatch.setattr(conv_op, "_library", lambda: "there is no C compiler")
    with noted() as ways:
        first = measure_grid(trained, *test_set, cells)
        measure_grid(trained, *test_set, cells[:2])
    assert same(first, plain_readings)
    assert ways.as_dict() == {"plain_because": ["there is no C compiler"]}


def test_images_that_rounding_could_turn_are_in_doubt(trained: MRRDigits) -> None:
    run = QuickPass(trained, 2, DeviceNoise([1, 1]))
    apart = torch.zeros(6, 10)
    apart[:, 3], apart[:, 4] = 100.0, 90.0
    assert run._doubtful(apart).tolist() == [False] * 3
    for gap, doubtful in ((1e-3, True), (2e-3, False)):  # 4e-6 x 2 x 100 = 8e-4 on both sides
        close = apart.clone()
        close[5, 4] = 100.0 - 0.6 * gap
        assert run._doubtful(close).tolist() == [False, False, doubtful]
    close[1, 4] = float("inf")
    assert run._doubtful(close).all()  # a cell without a largest output says nothing of any image


def test_batches_in_doubt_are_computed_again(
    trained: MRRDigits,
    test_set: tuple[Tensor, Tensor],
    cells: list[Cell],
    plain_readings: list[Reading],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quick, "WORTHWHILE", 1)
    monkeypatch.setattr(quick, "_DOUBT", 1e9)
    found, ways = measured(trained, test_set, cells)
    assert same(found, plain_readings)
    assert ways.compared == ways.batches
    assert 0 < ways.again < ways.batches  # the first of each group is compared anyway


def test_only_images_in_doubt_are_computed_again(
    trained: MRRDigits,
    test_set: tuple[Tensor, Tensor],
    cells: list[Cell],
    plain_readings: list[Reading],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the noise that they have in the whole batch."""
    monkeypatch.setattr(quick, "WORTHWHILE", 1)
    wanted = torch.zeros(40, dtype=torch.bool)
    wanted[[3, 4, 31]] = True
    monkeypatch.setattr(QuickPass, "_doubtful", lambda run, out: wanted[: len(out) // run.count])
    plain: list[int] = []
    physical = trained.network.physical

    def noted_physical(h: Tensor) -> Tensor:
        if fused._SHOWN.get() is None:
            plain.append(len(h))
        return physical(h)

    monkeypatch.setattr(trained.network, "physical", noted_physical)
    found, ways = measured(trained, test_set, cells, batch_size=40)
    assert same(found, plain_readings)
    assert 0.0 < ways.largest <= quick.TOLERANCE
    # 40, 40, 40 and 10 images of a device's 19 cells: the first batch whole, then those in doubt.
    # Before all of them two images, which see that every layer is reached, and three times four,
    # which see that images do not mix.
    assert [plain.pop(0) for _ in range(4)] == [2, 4, 4, 4]
    assert plain == [40 * 19, 3 * 19, 3 * 19, 2 * 19] * 2


def test_a_difference_in_an_image_in_doubt_ends_it_for_the_whole_batch(
    trained: MRRDigits, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = QuickPass(trained, 1, DeviceNoise([None]))
    x = torch.rand(8, 1, 8, 8)
    asked: list[int] = []
    wrong = [1.0, 1.01]  # the faster way, in the first batch and in the second

    def physical(h: Tensor) -> Tensor:
        shown = fused._SHOWN.get()
        fast = shown is not None
        if shown is not None:
            shown[2].append(trained)
        asked.append(-len(h) if fast else len(h))
        return h.flatten(1)[:, :10] * (wrong.pop(0) if fast else 1.0)

    monkeypatch.setattr(trained.network, "physical", physical)
    monkeypatch.setattr(run, "_doubtful", lambda out: torch.arange(len(out)) == 2)
    with torch.no_grad():
        for _ in range(3):
            assert torch.equal(run.outputs(x, x), x.flatten(1)[:, :10])
    assert asked == [-8, 8, -8, 1, 8, 8]
    assert "outputs differ by" in run._ways.reasons[0]


def test_what_is_not_worth_it_is_left_alone(
    trained: MRRDigits, test_set: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    assert not worthwhile(trained, quick.WORTHWHILE - 1)
    assert worthwhile(trained, quick.WORTHWHILE)
    assert not worthwhile(MZIDigits(0), quick.WORTHWHILE)

    class Own(MRRDigits):
        def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
            return None

    assert not worthwhile(Own(0), quick.WORTHWHILE)


def test_double_precision_is_computed_in_the_plain_way(
    test_set: tuple[Tensor, Tensor], cells: list[Cell], small: None
) -> None:
    workload = MRRDigits(0)
    workload.calibrate(DataModule(DIGITS, limit_train=64).train_tensors()[0])
    workload.double()
    x, y = test_set
    _, ways = measured(workload, (x.double(), y), [dataclasses.replace(cells[0])])
    assert ways.largest == 0.0


def test_a_network_of_other_blocks_is_computed_once_and_nothing_is_said_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload, data = MRRDigitsResNet(0), DataModule(DIGITS, limit_train=64, limit_test=40)
    workload.calibrate(data.train_tensors()[0])
    cells = [c for c in workload.perturbation_grid("smoke") if c.axis == "device"][:3]
    passes: list[int] = []
    physical = workload.network.physical
    monkeypatch.setattr(
        workload.network, "physical", lambda h: (passes.append(len(h)), physical(h))[1]
    )
    plain, _ = measured(workload, data.test_tensors(), cells)
    once, passes[:] = list(passes), []
    monkeypatch.setattr(quick, "WORTHWHILE", 1)
    found, ways = measured(workload, data.test_tensors(), cells)
    assert same(found, plain)
    assert passes == once
    assert ways.as_dict() == {}
