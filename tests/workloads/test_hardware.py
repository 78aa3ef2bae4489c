"""Hardware as a black box: what it measures, counts, hides and refuses."""

from __future__ import annotations

import itertools
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.platforms.base import Device
from pnnbench.platforms.mrr import MRREnvironment
from pnnbench.platforms.mzi import MZIMesh
from pnnbench.registry import method_class, registered
from pnnbench.seeds import FIRST_TRAINING_DEVICE, FIRST_VALIDATION_DEVICE
from pnnbench.workloads.base import Access, Batch, Workload
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.grid import FIRST_TEST_DEVICE
from pnnbench.workloads.hardware import Hardware
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits, MZIWorkload
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.optical_networks import DigitsFront, OpticalNet

IMAGES, LABELS = DataModule(load("digits")).train_tensors()
BOTH = pytest.mark.parametrize("cls", [MRRDigits, MZIDigits])


class TwoMeshes(MZIWorkload):
    name = "two-meshes"
    data = "digits"
    tiers = MZIDigits.tiers

    def build_network(self) -> PhysicalNetwork:
        return OpticalNet(DigitsFront(16), [MZIMesh(16, detected=False), MZIMesh(16)])


class Probe(TrainingMethod):
    """Does nothing but hold the hardware."""

    def __init__(self) -> None:
        super().__init__(lr=0.1)

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        return workload.loss(workload(batch[0]), batch)


class ProbeInSitu(Probe):
    access: ClassVar[Access] = "in_situ"


class ProbeInternal(Probe):
    access: ClassVar[Access] = "in_situ_internal"


def attached(workload: Workload, method: TrainingMethod) -> TrainingMethod:
    method.attach(workload)
    workload.train()
    return method


def tensors(workload: Workload) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in workload.network.state_dict().items()}


@BOTH
def test_it_counts_and_leaves_the_workload_alone(cls: type[Workload]) -> None:
    workload = cls(0).train()
    device = workload.draw_device(0.15, 3)
    hardware = workload.hardware(device)
    before = tensors(workload)
    h = workload.prefix(IMAGES[:12])
    changed = tensors(workload)  # the front end's own batch norm, in training mode
    measured = hardware.measure(h)
    assert not measured.outputs.requires_grad
    assert not any(r.requires_grad for r in measured.read_outs.values())
    assert hardware.queries == 12
    hardware.measure(h[:5])
    assert (hardware.queries, workload.hardware_queries) == (17, 17)
    after = tensors(workload)
    assert [k for k in after if not torch.equal(after[k], changed[k])] == []
    assert before.keys() == after.keys()
    for layer in workload.layers().values():
        assert layer.operation is None
        assert layer.field_tap is None
        assert layer.read_out_tap is None
    assert workload.gradient_evaluations == workload.forward_evaluations == 0


@BOTH
def test_nothing_of_it_is_the_device(cls: type[Workload]) -> None:
    workload = cls(0)
    device = workload.draw_device(0.15, 3)
    hardware = workload.hardware(device)
    values = list(vars(hardware).values())
    assert not any(isinstance(v, (Device, Tensor, dict)) for v in values)
    assert sorted(n for n in vars(hardware) if not n.startswith("_")) == ["internal", "queries"]


@BOTH
def test_it_measures_its_device_up_to_the_noise_of_its_detectors(cls: type[Workload]) -> None:
    workload = cls(0).eval()
    workload.calibrate(IMAGES[:200])
    x, device = IMAGES[:100], workload.draw_device(2.0 if cls is MRRDigits else 0.15, 3)
    h = workload.prefix(x).detach()
    with workload.operating(device):
        expected = workload(x).detach()
    measured = workload.hardware(device, seed=1).measure(h).outputs
    other = workload.hardware(device, seed=2).measure(h).outputs
    ideal = workload(x).detach()

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b).square().mean().sqrt())

    noise = apart(measured, expected)
    assert noise > 0.0
    assert not torch.equal(measured, other)
    averaged = torch.stack(
        [workload.hardware(device, seed=s).measure(h).outputs for s in range(40)]
    ).mean(0)
    assert apart(averaged, expected) < min(0.5 * noise, 0.8 * apart(averaged, ideal))


def test_it_is_in_its_environment() -> None:
    workload = MRRDigits(0).eval()
    workload.calibrate(IMAGES[:200])
    h, device = IMAGES[:10], workload.draw_device(0.5, 3)
    outputs = [
        workload.hardware(device).measure(h).outputs,
        workload.hardware(device, MRREnvironment(22.5)).measure(h).outputs,
        workload.hardware(workload.draw_device(0.5, 4)).measure(h).outputs,
    ]
    for a, b in itertools.combinations(outputs, 2):
        assert not torch.allclose(a, b, atol=1e-2)


@BOTH
def test_controls_can_be_set_for_one_pass(cls: type[Workload]) -> None:
    workload = cls(0).eval()
    h = workload.prefix(IMAGES[:10]).detach()
    device = workload.draw_device(0.1, 3)
    controls = {n: p + 0.3 for n, p in workload.controls().items()}
    shifted = workload.hardware(device).measure(h, controls).outputs
    present = workload.hardware(device).measure(h).outputs
    assert not torch.allclose(shifted, present, atol=1e-3)
    with torch.no_grad():
        for p in workload.controls().values():
            p.add_(0.3)
    torch.testing.assert_close(workload.hardware(device).measure(h).outputs, shifted)


@BOTH
def test_noise_is_a_function_of_seed_step_and_pass(cls: type[Workload]) -> None:
    workload = cls(0).eval()
    h = workload.prefix(IMAGES[:8]).detach()
    device = workload.draw_device(0.1, 3)

    def two_passes(step: int) -> list[Tensor]:
        hardware = workload.hardware(device, seed=7)
        hardware.start_step(step)
        return [hardware.measure(h).outputs for _ in range(2)]

    first, again, later = two_passes(5), two_passes(5), two_passes(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], later[0])


def test_detector_readings_are_powers_of_the_detected_layers_alone() -> None:
    workload = TwoMeshes(0).eval()
    h = workload.prefix(IMAGES[:6]).detach()
    measured = workload.hardware(workload.draw_device(0.1, 3)).measure(h)
    assert list(measured.read_outs) == ["mesh2"]
    assert measured.read_outs["mesh2"].shape == (6, 16)
    assert not measured.read_outs["mesh2"].is_complex()
    with pytest.raises(UserError, match="in_situ_internal"):
        _ = measured.fields


def test_internal_access_reads_the_fields_of_every_mesh() -> None:
    workload = TwoMeshes(0)
    method = attached(workload, ProbeInternal())
    h = workload.prefix(IMAGES[:6]).detach()
    measured = method.hardware.measure(h)
    assert list(measured.fields) == ["mesh1", "mesh2"]
    torch.testing.assert_close(measured.fields["mesh1"].input, h)
    device = workload.training_device(method.seed)
    with workload.operating(device), torch.no_grad():
        first = workload.network.mesh1(h)  # type: ignore[operator]
        torch.testing.assert_close(measured.fields["mesh1"].output, first)
        torch.testing.assert_close(
            measured.fields["mesh2"].input,
            workload.network.activation(first),  # type: ignore[operator]
        )
    power = measured.fields["mesh2"].output.abs().square()
    torch.testing.assert_close(
        measured.read_outs["mesh2"], power, rtol=0.1, atol=float(power.max()) * 0.1
    )


class Halved(torch.nn.Module):
    """Halves the field in place."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(0.5)


class OutOfPlace(Halved):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5


def test_fields_are_those_at_the_layer_whatever_is_done_with_them() -> None:
    h = TwoMeshes(0).prefix(IMAGES[:6]).detach()
    fields = []
    for activation in (Halved(), OutOfPlace()):
        workload = TwoMeshes(0)
        workload.network.activation = activation
        method = attached(workload, ProbeInternal())
        fields.append(method.hardware.measure(h).fields)
    for name, expected in fields[1].items():
        assert torch.equal(fields[0][name].output, expected.output)
        assert torch.equal(fields[0][name].input, expected.input)


def test_a_method_in_silico_has_no_hardware() -> None:
    workload = MZIDigits(0)
    method = attached(workload, Probe())
    with pytest.raises(UserError, match="Probe is in silico"):
        _ = method.hardware
    with pytest.raises(UserError, match="Probe is in silico"):
        workload.hardware(workload.draw_device(0.1, 1))


def test_a_method_in_situ_reads_no_fields() -> None:
    workload = TwoMeshes(0)
    method = attached(workload, ProbeInSitu())
    measured = method.hardware.measure(workload.prefix(IMAGES[:4]))
    with pytest.raises(UserError, match="in_situ_internal"):
        _ = measured.fields


def test_hardware_before_the_workload_is_an_error() -> None:
    with pytest.raises(UserError, match="before it is attached"):
        _ = ProbeInSitu().hardware


@BOTH
def test_a_method_never_meets_a_test_device(cls: type[Workload]) -> None:
    workload = cls(0)
    attached(workload, ProbeInSitu())
    with pytest.raises(UserError, match="test device"):
        workload.draw_device(0.1, FIRST_TEST_DEVICE)
    with pytest.raises(UserError, match="validation device"):
        workload.draw_device(0.1, FIRST_VALIDATION_DEVICE)
    with pytest.raises(UserError, match="test device"):
        workload.hardware(Device({}, seed=FIRST_TEST_DEVICE + 3))
    with pytest.raises(UserError, match="training device"):
        workload.training_device(FIRST_TEST_DEVICE)


@BOTH
def test_training_and_test_devices_differ(cls: type[Workload]) -> None:
    workload = cls(0)
    tested = {c.device_seed for c in workload.perturbation_grid("smoke")}
    assert min(tested) >= FIRST_TEST_DEVICE
    name = next(iter(workload.layers()))
    for number in (0, 1, 2):
        training = workload.training_device(number)
        assert training.seed == FIRST_TRAINING_DEVICE + number
        assert training.severity == cls.training_severity
        for other in tested:
            drawn = workload.draw_device(cls.training_severity, other)
            for error, value in training.errors[name].items():
                if value.dim():
                    assert not torch.allclose(value, drawn.errors[name][error])


def test_every_method_in_situ_gets_the_same_training_device() -> None:
    outputs = {}
    for name in registered("methods"):
        cls = method_class(name)
        if cls.access == "in_silico":
            continue
        workload = MZIDigits(0)
        method = cls()
        method.seed = 4
        attached(workload, method)
        workload.eval()
        assert isinstance(method.hardware, Hardware)
        method.hardware.start_step(1)
        outputs[name] = method.hardware.measure(workload.prefix(IMAGES[:9])).outputs
    assert len(outputs) >= 4
    first = next(iter(outputs.values()))
    assert all(torch.equal(first, other) for other in outputs.values())


@pytest.mark.parametrize(
    ("cls", "name", "asked", "set_to"),
    [
        (MRRDigits, "network.conv1.current", 6.0, 5.0),
        (MRRDigits, "network.conv1.current", -1.0, 0.0),
        (FreeSpaceDigits, "network.fc1.weight", 3.0, 1.0),
        (FreeSpaceDigits, "network.fc1.weight", -3.0, -1.0),
        (MZIDigits, None, 7.0, 7.0),
    ],
)
def test_settings_for_one_pass_are_cut_to_the_range_of_the_drivers(
    cls: type[Workload], name: str | None, asked: float, set_to: float
) -> None:
    workload = cls(0)
    hardware = workload.hardware(workload.training_device(0))
    name = name or next(iter(workload.controls()))
    h = workload.prefix(IMAGES[:8])

    def measured(value: float, *, part: slice) -> Tensor:
        setting = workload.controls()[name].detach().clone()
        setting.view(-1)[part] = value
        hardware.start_step(1)  # the same noise
        return hardware.measure(h, {name: setting}).outputs

    for part in (slice(None), slice(0, 5)):
        found = measured(asked, part=part)
        assert torch.equal(found, measured(set_to, part=part))
        assert not torch.equal(found, measured(0.9 * set_to + 0.01, part=part))


@BOTH
def test_a_mixed_precision_of_the_training_shortens_nothing_that_is_measured(
    cls: type[Workload],
) -> None:
    workload = cls(0)
    h = workload.prefix(IMAGES[:8]).detach()
    found = []
    for mixed in (False, True):
        box = workload.hardware(workload.training_device(0))
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            found.append(box.measure(h))
    assert torch.equal(found[0].outputs, found[1].outputs)
    assert found[1].outputs.dtype == torch.float32
