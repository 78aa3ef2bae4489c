from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as hs
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.evaluation import harness
from pnnbench.evaluation.gaps import NotFiniteError
from pnnbench.evaluation.harness import (
    NOISE_BLOCK,
    DeviceNoise,
    evaluate_clean,
    evaluate_grid,
    job_cells,
    measure_clean,
    measure_grid,
)
from pnnbench.evaluation.readings import Reading
from pnnbench.methods.bp import BP
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.mrr import MRREnvironment, RingCalibration
from pnnbench.registry import workload_class
from pnnbench.running.training import fit
from pnnbench.workloads.base import Workload
from pnnbench.workloads.grid import SHOT_AXIS, Cell, Law, shot_cell
from pnnbench.workloads.mrr import MRRDigits, mrr_layers
from pnnbench.workloads.networks import DigitsNet, PhysicalNetwork

DIGITS = load("digits")
CALM = RingCalibration(readout_noise=0.002)
N = 130  # two blocks of shot noise and a part of a third


@torch.no_grad()
def outputs_on(workload: Workload, x: Tensor, *condition: Any) -> Tensor:
    with workload.operating(*condition):
        return workload(x)


class MeanLoss(torchmetrics.Metric):
    """Mean cross-entropy in float64: sees changes that leave every label as it is."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.total += F.cross_entropy(outputs.double(), targets, reduction="sum")
        self.count += len(targets)

    def compute(self) -> Tensor:
        return self.total / self.count


class Prefixed(DigitsNet):
    """The digits network with a digital layer in front, which notes what it sees."""

    def __init__(self, *factories: Any) -> None:
        super().__init__(*factories)
        self.prefix_images = 0
        self.physical_images = 0

    def prefix(self, x: Tensor) -> Tensor:
        self.prefix_images += len(x)
        return x * 1.25 - 0.1

    def physical(self, h: Tensor) -> Tensor:
        self.physical_images += len(h)
        return super().physical(h)


class Calm(MRRDigits):
    """mrr-digits with calm detectors: few images and epochs are enough to learn."""

    def build_network(self) -> PhysicalNetwork:
        return DigitsNet(*mrr_layers(CALM))


class Fine(MRRDigits):
    """The same with a digital prefix, measured by its mean loss."""

    def build_network(self) -> Prefixed:
        return Prefixed(*mrr_layers(CALM))

    def metric(self) -> torchmetrics.Metric:
        return MeanLoss()


def trained(cls: type[MRRDigits]) -> MRRDigits:
    """In float64, in which another order of summation shows in the last of 15 digits only."""
    data = DataModule(DIGITS, batch_size=32, limit_train=512)
    workload = cls(0)
    fit(workload, BP(lr="0.05 mA"), data, epochs=2)
    workload.calibrate(data.train_tensors()[0])
    return workload.double()


@pytest.fixture(scope="module")
def fine() -> MRRDigits:
    return trained(Fine)


@pytest.fixture(scope="module")
def accurate() -> MRRDigits:
    return trained(Calm)


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    x, y = DataModule(DIGITS, limit_test=N).test_tensors()
    assert len(x) == N
    return x.double(), y


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return MRRDigits(0).perturbation_grid("smoke")  # 2 devices, 38 cells


@pytest.fixture(scope="module")
def reference(fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]) -> list[float]:
    return evaluate_grid(fine, *images, cells)


@pytest.mark.parametrize("batch_size", [7, 64, 100, 1000])
def test_the_result_does_not_depend_on_the_batch_size(
    batch_size: int,
    fine: MRRDigits,
    images: tuple[Tensor, Tensor],
    cells: list[Cell],
    reference: list[float],
) -> None:
    found = evaluate_grid(fine, *images, cells, batch_size=batch_size)
    assert found == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("cells_per_batch", [1, 3, 100])
def test_the_result_does_not_depend_on_how_many_devices_share_a_batch(
    cells_per_batch: int,
    fine: MRRDigits,
    images: tuple[Tensor, Tensor],
    cells: list[Cell],
    reference: list[float],
) -> None:
    found = evaluate_grid(fine, *images, cells, cells_per_batch=cells_per_batch)
    assert found == pytest.approx(reference, rel=1e-12)


def test_the_result_does_not_depend_on_the_order_of_the_grid(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell], reference: list[float]
) -> None:
    assert evaluate_grid(fine, *images, cells[::-1])[::-1] == pytest.approx(reference, rel=1e-12)
    some = evaluate_grid(fine, *images, [cells[11], cells[4]])
    assert some == pytest.approx([reference[11], reference[4]], rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_result_does_not_depend_on_the_workers_of_the_loader(
    workers: int, fine: MRRDigits, cells: list[Cell], reference: list[float]
) -> None:
    data = DataModule(DIGITS, limit_test=N, eval_batch_size=33, num_workers=workers)
    batches = list(data.test_dataloader())
    assert [len(y) for _, y in batches] == [33, 33, 33, 31]
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    assert evaluate_grid(fine, x.double(), y, cells) == reference


def test_accuracies_are_the_same_to_the_last_image(
    accurate: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    values = evaluate_grid(accurate, *images, cells)
    assert evaluate_grid(accurate, *images, cells, batch_size=64, cells_per_batch=1) == values
    assert [round(v * N) / N for v in values] == values
    assert len(set(values)) > 5
    assert min(values) >= 0.0
    assert max(values) > 0.6


def test_the_grid_tells_cells_apart(cells: list[Cell], reference: list[float]) -> None:
    counted = [value for value, cell in zip(reference, cells, strict=True) if cell.counts]
    assert len(set(counted)) == len(counted) > 10
    by_severity = [sum(reference[2 * i : 2 * i + 2]) for i in range(7)]
    assert by_severity == sorted(by_severity)  # worse devices, larger loss


def test_one_cell_by_hand(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell], reference: list[float]
) -> None:
    x, y = images
    cell = next(c for c in cells if c.axis == "temperature_fine")
    fine.eval()
    device = fine.draw_device(cell.severity, cell.device_seed)
    start = 0

    def shot(layer: str, shape: tuple[int, ...]) -> Tensor:
        _, n, *rest = shape
        text = f"shot:{cell.device_seed}:{layer}:{start // 50}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        whole = torch.empty(50, *rest).normal_(generator=torch.Generator().manual_seed(seed))
        return whole[None, :n]

    outputs = []
    with torch.no_grad(), operate(fine.network, [Condition(device, cell.environment)], shot):
        for start in range(0, N, 50):
            outputs.append(fine.network(x[start : start + 50]))
    expected = F.cross_entropy(torch.cat(outputs).double(), y)
    assert reference[cells.index(cell)] == pytest.approx(expected.item(), rel=1e-12)


def test_what_lies_before_the_first_physical_layer_is_computed_once(
    images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    workload = Fine(0).double()
    network: Any = workload.network
    evaluate_grid(workload, *images, cells, batch_size=40, cells_per_batch=3)
    # Two before, which see that every layer is reached, and three times four: images do not mix.
    looked = 2 + 3 * 4
    assert network.prefix_images == N + looked
    assert network.physical_images == N * len(cells) + looked


def test_the_same_point_on_two_axes_has_the_same_value(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    cell = cells[0]
    other = dataclasses.replace(cell, axis="temperature", level=0.0, unit="degC")
    first, second = evaluate_grid(fine, *images, [cell, other])
    assert first == second


def test_each_cell_of_the_grid_changes_every_transfer() -> None:
    workload = MRRDigits(0)
    layers = workload.layers()
    ideal = {name: layer.transfer().detach() for name, layer in layers.items()}
    points = {(c.axis, c.level): c for c in workload.perturbation_grid("quick")}
    assert len(points) == 19
    for cell in points.values():
        device = workload.draw_device(cell.severity, cell.device_seed, cell.law)
        with operate(workload.network, [Condition(device, cell.environment)]):
            for name, layer in layers.items():
                changed = (layer.transfer() - ideal[name]).abs() > 1e-6
                assert changed.float().mean() > 0.99, (cell, name)


@pytest.mark.parametrize("error", ["detuning", "linewidth", "bias", "depth"])
def test_each_static_error_alone_changes_the_result(
    error: str, fine: MRRDigits, images: tuple[Tensor, Tensor]
) -> None:
    drawn = fine.draw_device(0.5, 1_000_000)
    device = Device({name: {error: e[error]} for name, e in drawn.errors.items()})
    assert error in drawn.errors["fc1"]
    ideal = outputs_on(fine, images[0], Device.ideal())
    assert (outputs_on(fine, images[0], device) - ideal).abs().max() > 1e-2


def test_temperature_alone_changes_the_result(
    fine: MRRDigits, images: tuple[Tensor, Tensor]
) -> None:
    fine.eval()
    ideal = outputs_on(fine, images[0], Device.ideal())
    for degc in (21.75, 22.25):
        warm = outputs_on(fine, images[0], Device.ideal(), MRREnvironment(degc))
        assert (warm - ideal).abs().max() > 1e-2


def test_shot_noise_alone_changes_the_result(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell], reference: list[float]
) -> None:
    x, y = images
    fine.eval()
    device = fine.draw_device(cells[0].severity, cells[0].device_seed)
    quiet = F.cross_entropy(outputs_on(fine, x, device, cells[0].environment), y).item()
    assert abs(reference[0] - quiet) > 1e-5 * quiet


@pytest.mark.parametrize("cells_per_batch", [1, 2])
def test_a_cell_that_perturbs_nothing_is_an_error(
    cells_per_batch: int, fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    still = dataclasses.replace(cells[0], severity=0.0)
    with pytest.raises(RuntimeError, match="leaves the transfer of layer 'conv1' unchanged"):
        evaluate_grid(fine, *images, [cells[0], still], cells_per_batch=cells_per_batch)
    assert all(layer.operation is None for layer in fine.layers().values())
    assert all(layer.weight_override is None for layer in fine.layers().values())


def test_a_device_that_forgets_one_layer_is_an_error(
    images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    class Forgetful(Fine):
        """Leaves the last layer ideal."""

        def draw_device(
            self, severity: float, seed: int | None, law: Law = "fabrication"
        ) -> Device:
            drawn = super().draw_device(severity, seed, law)
            return Device({n: e for n, e in drawn.errors.items() if n != "fc2"})

    with pytest.raises(RuntimeError, match="layer 'fc2' unchanged"):
        evaluate_grid(Forgetful(0).double(), *images, cells[:2])


@pytest.mark.parametrize(
    "name", ["mrr-digits", "mzi-digits", "freespace-digits", "diffractive-digits"]
)
def test_a_device_without_errors_is_an_error_beside_one_that_has_them(name: str) -> None:
    """In a batch the transfer is computed in another way, and may differ in its last digit."""
    workload = workload_class(name)(0)
    x, y = DataModule(DIGITS, limit_test=2).test_tensors()
    workload.calibrate(DataModule(DIGITS, limit_train=8).train_tensors()[0])

    class Lazy(type(workload)):  # type: ignore[misc]
        def draw_device(
            self, severity: float, seed: int | None, law: Law = "fabrication"
        ) -> Device:
            drawn = super().draw_device(severity, seed, law)
            last = list(self.layers())[-1]
            if seed == 1_000_001:
                return Device({n: e for n, e in drawn.errors.items() if n != last})
            return drawn

    nominal = workload.nominal_environment()
    pair = [Cell("device", 0.5, "", 0.5, 1_000_000 + i, nominal) for i in range(2)]
    lazy = Lazy(0)
    lazy.network.load_state_dict(workload.network.state_dict())
    for cells in (pair, pair[1:]):
        reading = measure_grid(lazy, x, y, cells)[-1]
        assert isinstance(reading.error, RuntimeError)
        assert "unchanged" in str(reading.error)
    assert measure_grid(lazy, x, y, pair)[0].error is None


def test_shot_noise_is_cut_from_fixed_blocks() -> None:
    def draw(cuts: list[int], devices: list[int]) -> Tensor:
        noise, parts = DeviceNoise(devices), []
        for size in cuts:
            drawn = noise("fc1", (len(devices), size, 4))
            parts.append(drawn.expand(len(devices), size, 4))
            noise.start += size
        return torch.cat(parts, dim=1)

    whole = draw([N], [1, 2, 3])
    assert torch.equal(draw([50, 50, 30], [1, 2, 3]), whole)
    assert torch.equal(draw([1, 48, 2, 60, 19], [1, 2, 3]), whole)
    assert torch.equal(draw([N], [3])[0], whole[2])
    assert abs(float(whole.mean())) < 0.1
    assert float(whole.std()) == pytest.approx(1.0, abs=0.05)
    blocks = [whole[c, b : b + 30] for c in range(3) for b in (0, NOISE_BLOCK, 2 * NOISE_BLOCK)]
    for i, a in enumerate(blocks):
        assert not any(torch.equal(a, b) for b in blocks[:i])
    assert not torch.equal(DeviceNoise([1])("fc2", (1, N, 4)), whole[:1])


def test_conditions_of_one_device_share_its_shot_noise() -> None:
    mixed = DeviceNoise([7, 8, 7, 7])("fc1", (4, N, 3))
    one = DeviceNoise([7, 7])("fc1", (2, N, 3)).expand(2, N, 3)
    assert torch.equal(mixed[[0, 2, 3]], one[[0, 1, 1]])
    assert not torch.equal(mixed[1], mixed[0])


def test_evaluation_leaves_no_trace(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell], reference: list[float]
) -> None:
    before = {k: v.clone() for k, v in fine.network.state_dict().items()}
    rng, evaluations = torch.get_rng_state(), fine.gradient_evaluations
    assert evaluate_grid(fine, *images, cells) == reference
    evaluate_clean(fine, *images)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(v, before[k]) for k, v in fine.network.state_dict().items())
    assert fine.gradient_evaluations == evaluations


def test_evaluation_goes_to_evaluation_mode(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell], reference: list[float]
) -> None:
    clean = evaluate_clean(fine, *images)
    fine.train()
    assert evaluate_grid(fine, *images, cells) == reference
    fine.train()
    assert evaluate_clean(fine, *images) == clean
    assert not fine.network.training


@pytest.mark.parametrize("batch_size", [1, 33, 1000])
def test_the_clean_metric_does_not_depend_on_the_batch_size(
    batch_size: int, fine: MRRDigits, images: tuple[Tensor, Tensor]
) -> None:
    x, y = images
    with torch.no_grad():
        expected = F.cross_entropy(fine.eval()(x).double(), y).item()
    assert evaluate_clean(fine, x, y, batch_size) == pytest.approx(expected, rel=1e-12)


def test_progress_is_told_after_each_group(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    told: list[tuple[int, int]] = []
    evaluate_grid(
        fine, *images, cells[:7], cells_per_batch=3, progress=lambda *args: told.append(args)
    )
    assert told == [(3, 7), (4, 7), (7, 7)]  # four cells of one device, three of another


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"cells_per_batch": 0}])
def test_sizes_out_of_range_read(
    given: dict[str, int], fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    with pytest.raises(UserError, match=next(iter(given))):
        evaluate_grid(fine, *images, cells, **given)  # type: ignore[arg-type]


def broken(workload: Workload, device: int) -> type[Workload]:
    """The workload's class, without finite outputs on one device."""

    class Broken(type(workload)):  # type: ignore[misc]
        def draw_device(
            self, severity: float, seed: int | None, law: Law = "fabrication"
        ) -> Device:
            drawn = super().draw_device(severity, seed, law)
            if seed != device:
                return drawn
            # Weights this large overflow in the sums over the inputs.
            torn = {
                layer: {**errors, "bias": torch.full_like(errors["bias"].double(), 1.7e308)}
                for layer, errors in drawn.errors.items()
            }
            return Device(torn, drawn.seed, drawn.severity)

    return Broken


@pytest.mark.parametrize("cells_per_batch", [1, 4, 100])
def test_a_device_without_finite_outputs_counts_as_wrong_and_leaves_the_others(
    cells_per_batch: int,
    accurate: MRRDigits,
    images: tuple[Tensor, Tensor],
    cells: list[Cell],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pnnbench.platforms.static_errors.LARGEST", 1.8e308)
    whole = evaluate_grid(accurate, *images, cells)
    workload = broken(accurate, 1_000_000)(0).double()
    workload.network.load_state_dict(accurate.network.state_dict())
    readings = measure_grid(workload, *images, cells, cells_per_batch=cells_per_batch)
    for cell, reading, value in zip(cells, readings, whole, strict=True):
        lost = cell.device_seed == 1_000_000
        assert reading.value == (0.0 if lost else value)
        assert reading.not_finite == (N if lost else 0)
        assert reading.error is None


def test_a_network_without_finite_outputs_gets_no_image_right(
    images: tuple[Tensor, Tensor],
) -> None:
    workload = MRRDigits(0).double()
    with torch.no_grad():
        workload.network.fc2.current.fill_(math.nan)
    reading = measure_clean(workload, *images)
    assert (reading.value, reading.not_finite) == (0.0, N)
    assert evaluate_clean(workload, *images) == 0.0


class Silent(torchmetrics.classification.MulticlassAccuracy):
    """The library's accuracy: an image without finite outputs is taken for class 0."""

    def __init__(self) -> None:
        super().__init__(10, average="micro", validate_args=False)


class Undefined(Silent):
    """A metric that is undefined for bad models."""

    def compute(self) -> Tensor:
        value = super().compute()
        return value * math.nan if value < 0.6 else value


class Refusing(Silent):
    """A metric that refuses bad outputs."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if (outputs.argmax(1) == targets).double().mean() < 0.5:
            raise ValueError("too bad to be measured")
        super().update(outputs, targets)


@pytest.mark.parametrize("metric", [Undefined, Refusing])
def test_a_cell_without_a_value_leaves_the_others(
    metric: type[Silent],
    accurate: MRRDigits,
    images: tuple[Tensor, Tensor],
    cells: list[Cell],
) -> None:
    class Other(Calm):
        def metric(self) -> torchmetrics.Metric:
            return metric()

    whole = evaluate_grid(accurate, *images, cells)
    workload = Other(0).double()
    workload.network.load_state_dict(accurate.network.state_dict())
    readings = measure_grid(workload, *images, cells)
    assert measure_clean(workload, *images).error is None
    lost = [i for i, r in enumerate(readings) if r.value is None]
    assert 0 < len(lost) < len(cells)
    for i, (reading, value) in enumerate(zip(readings, whole, strict=True)):
        if i in lost:
            assert value < 0.75
            assert reading.error is not None
            expected = NotFiniteError if metric is Undefined else ValueError
            assert type(reading.error) is expected
        else:
            assert reading == Reading(pytest.approx(value, abs=1e-6))
    if metric is Refusing:
        with pytest.raises(ValueError, match="too bad"):
            evaluate_grid(workload, *images, cells)
    else:
        found = evaluate_grid(workload, *images, cells)
        assert [i for i, v in enumerate(found) if math.isnan(v)] == lost


def test_a_metric_that_does_not_say_what_lost_outputs_count_has_no_value(
    images: tuple[Tensor, Tensor],
) -> None:
    class Other(Calm):
        def metric(self) -> torchmetrics.Metric:
            return Silent()

    workload = Other(0).double()
    with torch.no_grad():
        workload.network.fc2.current.fill_(math.nan)
    reading = measure_clean(workload, *images)
    assert (reading.value, reading.not_finite) == (None, N)
    assert isinstance(reading.error, NotFiniteError)
    assert "130 of 130 images are not finite, and Silent" in str(reading.error)


def test_a_device_that_cannot_be_operated_leaves_the_others(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell], reference: list[float]
) -> None:
    class Torn(Fine):
        def draw_device(
            self, severity: float, seed: int | None, law: Law = "fabrication"
        ) -> Device:
            if seed == 1_000_001:
                raise OverflowError("no such device")
            return super().draw_device(severity, seed, law)

    workload = Torn(0).double()
    workload.network.load_state_dict(fine.network.state_dict())
    readings = measure_grid(workload, *images, cells)
    for cell, reading, value in zip(cells, readings, reference, strict=True):
        if cell.device_seed == 1_000_001:
            assert isinstance(reading.error, OverflowError)
        else:
            assert reading.value == pytest.approx(value, rel=1e-6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seeds=hs.lists(hs.sampled_from([None, 1, 2, 3, 4]), min_size=1, max_size=40),
    size=hs.integers(1, 12),
    own=hs.integers(1, 13),
)
def test_no_device_is_in_more_groups_than_its_cells_need(
    seeds: list[int | None], size: int, own: int
) -> None:
    cells = [
        Cell("device", i, "", 0.0 if s is None else 1.0, s, MRREnvironment())
        for i, s in enumerate(seeds)
    ]
    groups = harness._by_device(cells, size, own)
    assert sorted(i for group in groups for i in group) == list(range(len(cells)))
    assert max(map(len, groups)) <= size
    for seed in set(seeds):
        drawn = [group for group in groups if any(seeds[i] == seed for i in group)]
        assert len(drawn) == math.ceil(seeds.count(seed) / size)
        if seeds.count(seed) >= own:
            assert {seeds[i] for group in drawn for i in group} == {seed}


def test_a_device_is_drawn_once_for_its_group(
    images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    drawn: list[tuple[float, int | None]] = []

    class Noting(Fine):
        def draw_device(
            self, severity: float, seed: int | None, law: Law = "fabrication"
        ) -> Device:
            drawn.append((severity, seed))
            return super().draw_device(severity, seed, law)

    x, y = images
    evaluate_grid(Noting(0).double(), x[:10], y[:10], cells, cells_per_batch=100)
    assert sorted(drawn) == sorted({(c.severity, c.device_seed) for c in cells})
    assert len(drawn) < len(cells)


def test_read_out_noise_alone_is_a_cell_of_a_job(
    fine: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    x, y = images
    *grid, cell = job_cells(fine, "smoke", x)
    assert grid == cells
    assert cell == shot_cell(MRREnvironment())
    assert (cell.axis, cell.level, cell.severity, cell.device_seed) == (SHOT_AXIS, 0.0, 0.0, None)
    assert not cell.counts
    (reading,) = measure_grid(fine, *images, [cell])
    assert reading.error is None
    # By hand: the ideal device with the noise of the ideal device.
    noise = DeviceNoise([None])
    with torch.no_grad(), operate(fine.network, [Condition(Device.ideal())], noise):
        outputs = fine(x)
    expected = F.cross_entropy(outputs.double(), y).item()
    assert reading.value == pytest.approx(expected, rel=1e-12)
    clean = evaluate_clean(fine, x, y)
    assert abs(expected - clean) > 1e-5 * clean
    # Among others, in any order, the same.
    mixed = evaluate_grid(fine, x, y, [cells[0], cell, cells[5]], cells_per_batch=2)
    assert mixed[1] == pytest.approx(expected, rel=1e-12)


def test_a_network_without_read_out_noise_has_no_such_cell(images: tuple[Tensor, Tensor]) -> None:
    class Quiet(MRRDigits):
        def build_network(self) -> DigitsNet:
            quiet = RingCalibration(readout_noise=0.0)
            return DigitsNet(*mrr_layers(quiet))

    workload = Quiet(0).double()
    assert job_cells(workload, "smoke", images[0]) == workload.perturbation_grid("smoke")


@pytest.mark.parametrize("batch_size", [33, 1000])
def test_each_reading_says_which_images_are_right(
    batch_size: int, accurate: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    x, y = images
    readings = measure_grid(accurate, x, y, cells, batch_size=batch_size)
    for reading in [measure_clean(accurate, x, y, batch_size), *readings]:
        assert reading.right is not None
        assert reading.right.shape == (N,)
        assert int(reading.right.sum()) / N == reading.value
    once = measure_grid(accurate, x, y, cells[:3])
    for reading, other in zip(once, readings, strict=False):
        assert reading.right is not None
        assert other.right is not None
        assert torch.equal(reading.right, other.right)


def test_outputs_that_are_not_finite_are_wrong(images: tuple[Tensor, Tensor]) -> None:
    workload = MRRDigits(0).double()
    with torch.no_grad():
        workload.network.fc2.current.fill_(math.nan)
    right = measure_clean(workload, *images).right
    assert right is not None
    assert not right.any()


def test_a_workload_that_cannot_tell_right_from_wrong_keeps_its_values(
    accurate: MRRDigits, images: tuple[Tensor, Tensor], cells: list[Cell]
) -> None:
    class Unsure(Calm):
        def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
            raise ZeroDivisionError("no idea")

    workload = Unsure(0).double()
    workload.network.load_state_dict(accurate.network.state_dict())
    readings = measure_grid(workload, *images, cells[:3])
    assert readings == measure_grid(accurate, *images, cells[:3])
    for reading in readings:
        assert reading.right is None
        assert isinstance(reading.right_error, ZeroDivisionError)


def test_no_training_method_is_imported_by_the_harness() -> None:
    assert not [n for n, v in vars(harness).items() if "methods" in getattr(v, "__module__", "")]
