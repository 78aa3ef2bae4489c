"""Training against the environment, beside a loop written out by hand.

The loop warps modulator images with torchvision, has its own probes, steps, norms, clipping and
accumulation, and shares only the initial parameters with the workload.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF
from torchvision.transforms._functional_tensor import affine as tensor_affine

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.environment import (
    RandomEnvironment,
    SATEnvironment,
    SATOutward,
    moved_along,
)
from pnnbench.methods.positions import chosen_parameters, draw_probe, folded, whose_turn
from pnnbench.methods.sat import SAT
from pnnbench.platforms.base import Device
from pnnbench.platforms.misalignment import MisalignmentEnvironment
from pnnbench.running.training import TrainingData, quiet
from pnnbench.workloads.base import Batch
from pnnbench.workloads.freespace import FreeSpaceDigits, FreeSpaceMNIST
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mzi import MZIDigits

EPOCHS, BATCH, IMAGES, SEED, LR, LR_DIGITAL = 2, 32, 144, 3, 0.01, 1e-3
DIGITS = load("digits")
X, Y = (t[:40] for t in DataModule(DIGITS).train_tensors())
RANGES = dict(FreeSpaceDigits.environment_ranges)


def data() -> DataModule:
    return DataModule(DIGITS, batch_size=BATCH, seed=SEED, limit_train=IMAGES)


class Doubled(TrainingData):
    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch[0].double(), batch[1]


def warped(weight: Tensor, side: int, where: dict[str, float]) -> Tensor:
    """Weights (out, side^2) met on modulator images of 3 x 4 cells of 12 x 10, columns doubled."""
    images = math.ceil(len(weight) / 12)
    up, left = (12 - side) // 2, (10 - side) // 2
    canvas = []
    for k in range(images * 12):
        tile = weight[k].view(side, side) if k < len(weight) else torch.zeros(side, side).double()
        canvas.append(F.pad(tile, (left, 10 - side - left, up, 12 - side - up)))
    rows = torch.stack(canvas).view(images, 3, 4, 12, 10)
    image = rows.permute(0, 1, 3, 2, 4).reshape(images, 36, 40).repeat_interleave(2, dim=2)
    matrix = TF._get_inverse_affine_matrix(
        [0.0, 0.0],
        where.get("rotation_deg", 0.0),
        [where.get("shift_x_px", 0.0), where.get("shift_y_px", 0.0)],
        where.get("scale", 1.0),
        [0.0, 0.0],
    )
    moved = tensor_affine(image[:, None], matrix, InterpolationMode.BILINEAR.value, [0.0]).squeeze(
        1
    )
    pairs = moved.view(images, 36, 40, 2).mean(-1).view(images, 3, 12, 4, 10).transpose(2, 3)
    tiles = pairs[..., up : up + side, left : left + side].reshape(images * 12, side * side)
    return tiles[: len(weight)]


def draws(seed: int, call: int, names: list[str], probe: float, two: bool) -> dict[str, float]:
    digest = hashlib.sha256(f"method:{seed}:{call}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    size = 1e-3 + 0.999 * torch.rand(len(names), generator=generator, dtype=torch.float64)
    sign = torch.randint(0, 2, (len(names),), generator=generator) * 2 - 1
    return dict(zip(names, (probe * size * (sign if two else 1)).tolist(), strict=True))


def place(position: dict[str, float]) -> dict[str, float]:
    inside = {}
    for name, u in position.items():
        turned = math.acos(math.cos(math.pi * abs(u))) / math.pi  # to and fro between 0 and 1
        inside[name] = math.copysign(turned, u) * RANGES[name]
    return {name: value + (name == "scale") for name, value in inside.items()}


class HandLoop:
    def __init__(self, method: TrainingMethod) -> None:
        self.m: Any = method
        self.net: Any = FreeSpaceDigits(SEED).double().network
        self.w = [self.net.fc1.weight, self.net.fc2.weight]
        self.b = [self.net.fc1.bias, self.net.fc2.bias]

    def cross_entropy(
        self, x: Tensor, y: Tensor, where: dict[str, float], add: list[Tensor] | None = None
    ) -> Tensor:
        add = add or [torch.zeros_like(p) for p in [*self.w, *self.b]]
        h = x.flatten(1)
        weights = [
            warped(w + a, side, where) for w, a, side in zip(self.w, add, (8, 6), strict=False)
        ]
        h = torch.sigmoid(h @ weights[0].T + self.b[0] + add[2])
        return F.cross_entropy(h @ weights[1].T + self.b[1] + add[3], y)

    def loss(self, x: Tensor, y: Tensor, call: int, epoch: int) -> Tensor:
        m = self.m
        names = list(RANGES) if m.parameters == "all" else m.parameters.split(",")
        if m.turns == "batch":
            names = [names[(call - 1) % len(names)]]
        if m.turns == "epoch":
            names = [names[epoch % len(names)]]
        u = draws(SEED, call, names, m.probe, m.two_sided)
        if isinstance(m, RandomEnvironment):
            out = {n: v + math.copysign(m.outward, v) for n, v in u.items()}
            return self.cross_entropy(x, y, place(out if m.outward else u))
        nominal = self.cross_entropy(x, y, {})
        add = None
        rho = float(str(m.rho).split()[0])
        if rho:
            group = [*self.w, *(self.b if m.perturb == "all" else [])]
            g = torch.autograd.grad(nominal, group)
            norm = torch.sqrt(sum((t**2).sum() for t in g))
            add = [rho * t / norm for t in g]
            add += [torch.zeros_like(b) for b in self.b[len(add) - 2 :]]
        rise = float(self.cross_entropy(x, y, place(u)).detach() - nominal.detach())
        length = sum(v**2 for v in u.values()) ** 0.5
        slope = rise / length
        along = (1.0 if slope > 0 else -1.0) if m.normalise else slope
        steps = m.step if isinstance(m.step, dict) else dict.fromkeys(names, m.step)
        worst = {n: m.keep_probe * v + steps[n] * along * v / length for n, v in u.items()}
        return self.cross_entropy(x, y, place(worst), add)

    def train(self, clip: float | None, accumulate: int) -> list[Tensor]:
        groups = [{"params": self.w, "lr": LR}, {"params": self.b, "lr": LR_DIGITAL}]
        optimizer = torch.optim.Adam(groups)
        source, call, step = data(), 0, 0
        images, labels = source.train_tensors()
        steps = EPOCHS * math.ceil(math.ceil(IMAGES / BATCH) / accumulate)
        for epoch in range(EPOCHS):
            batches = list(source.train_batches(epoch))
            for i, index in enumerate(batches):
                call += 1
                x, y = images[index].double(), labels[index]
                (self.loss(x, y, call, epoch) / accumulate).backward()
                if (i + 1) % accumulate and i + 1 < len(batches):
                    continue
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_([*self.w, *self.b], clip)
                for group, peak in zip(optimizer.param_groups, (LR, LR_DIGITAL), strict=True):
                    group["lr"] = peak * 0.5 * (1 + math.cos(math.pi * step / steps))
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                with torch.no_grad():
                    for w in self.w:
                        w.clamp_(-1.0, 1.0)
        return [p.detach() for p in [*self.w, *self.b]]


RATE = f"{LR} full modulation"
BALL = {"rho": "0.1 full modulation"}
METHODS: dict[str, dict[str, Any]] = {
    "together": BALL,
    "published, rotation": {
        "parameters": "rotation_deg",
        "two_sided": False,
        "normalise": False,
        "step": 0.8,
        "probe": 0.5,
        "rho": "0.3 full modulation",
        "perturb": "all",
    },
    "published, in turns": {**BALL, "turns": "batch", "normalise": False, "step": 5.0},
    "a step for each": {
        **BALL,
        "parameters": "rotation_deg,scale",
        "turns": "batch",
        "normalise": False,
        "step": {"rotation_deg": 8.0, "scale": 0.1},
    },
    "text, per epoch": {**BALL, "turns": "epoch", "keep_probe": False, "two_sided": False},
    "environment only": {"rho": 0.0, "step": 0.5},
}


def through_trainer(method: TrainingMethod, **flags: Any) -> list[Tensor]:
    workload = FreeSpaceDigits(SEED).double()
    method.seed = SEED
    with quiet():
        trainer = pl.Trainer(
            max_epochs=EPOCHS,
            callbacks=[method],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            deterministic=True,
            **flags,
        )
        trainer.fit(workload, datamodule=Doubled(data()))
    net: Any = workload.network
    tensors = [net.fc1.weight, net.fc2.weight, net.fc1.bias, net.fc2.bias]
    return [t.detach() for t in tensors]


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    """Distance of two results relative to how far training moved the parameters."""
    net: Any = FreeSpaceDigits(SEED).double().network
    start = [net.fc1.weight, net.fc2.weight, net.fc1.bias, net.fc2.bias]
    moved = max(float((p - s.detach()).norm()) for p, s in zip(b, start, strict=True))
    return max(float((p - q).norm()) for p, q in zip(a, b, strict=True)) / moved


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("clip", "accumulate"), [(None, 1), (0.1, 1), (None, 2)], ids=["plain", "clip", "accumulate"]
)
def test_it_is_the_loop_written_out(name: str, clip: float | None, accumulate: int) -> None:
    def made() -> TrainingMethod:
        return SATEnvironment(**METHODS[name], lr=RATE)

    flags: dict[str, Any] = {"accumulate_grad_batches": accumulate}
    if clip is not None:
        flags["gradient_clip_val"] = clip
    found = through_trainer(made(), **flags)
    # The weights of a bilinear sample are kept in single precision.
    assert distance(found, HandLoop(made()).train(clip, accumulate)) < 2e-4


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"turns": "batch", "outward": 0.4},
        {"parameters": "scale", "probe": 0.3},
    ],
)
def test_random_environments_are_the_loop_written_out(params: dict[str, Any]) -> None:
    found = through_trainer(RandomEnvironment(**params, lr=RATE))
    other = HandLoop(RandomEnvironment(**params, lr=RATE)).train(None, 1)
    assert distance(found, other) < 2e-4


def test_methods_of_the_loop_are_far_apart() -> None:
    found = {name: through_trainer(SATEnvironment(**p, lr=RATE)) for name, p in METHODS.items()}
    found["random"] = through_trainer(RandomEnvironment(lr=RATE))
    found["bp"] = through_trainer(BP(lr=RATE))
    found["sat"] = through_trainer(SAT(**BALL, lr=RATE))
    names = list(found)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert distance(found[a], found[b]) > 1e-2, (a, b)


def test_without_a_step_and_a_ball_it_is_the_random_environment() -> None:
    params: dict[str, Any] = {"probe": 0.7, "turns": "batch", "lr": RATE}
    found = through_trainer(SATEnvironment(step=0.0, rho=0.0, **params))
    assert distance(found, through_trainer(RandomEnvironment(**params))) == 0.0


@pytest.mark.parametrize("turns", ["together", "batch"])
@pytest.mark.parametrize("perturb", ["controls", "all"])
def test_outwards_without_a_ball_is_the_random_environment_of_its_law(
    turns: str, perturb: str
) -> None:
    params: dict[str, Any] = {"probe": 0.9, "turns": turns, "lr": RATE}
    outward = SATOutward(step=0.25, rho=0.0, perturb=perturb, **params)
    found = through_trainer(outward)
    assert distance(found, through_trainer(RandomEnvironment(outward=0.25, **params))) == 0.0
    assert outward.figures() == {}
    with_ball = through_trainer(SATOutward(step=0.25, rho=0.1, **params))
    assert distance(found, with_ball) > 1e-2


def test_outwards_without_a_ball_makes_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    physical = FreeSpaceDigits.physical

    def counted(self: Any, *args: Any) -> Tensor:
        passes.append(1)
        return physical(self, *args)

    monkeypatch.setattr(FreeSpaceDigits, "physical", counted)
    found = {}
    for made in (RandomEnvironment(), SATOutward(rho=0.0), SATEnvironment(rho=0.0)):
        passes.clear()
        made.calls = 1
        made.loss(FreeSpaceDigits(0), (X, Y))
        found[type(made).__name__] = len(passes)
    assert found == {"RandomEnvironment": 1, "SATOutward": 1, "SATEnvironment": 3}


def test_the_share_of_rising_slopes_is_counted_and_kept() -> None:
    method = SATEnvironment(rho=0.0, lr=RATE)
    rises: list[float] = []
    rise = method.rise

    def noted(*args: Any) -> float:
        rises.append(rise(*args))
        return rises[-1]

    method.rise = noted  # type: ignore[method-assign]
    through_trainer(method)
    assert len(rises) == EPOCHS * math.ceil(IMAGES / BATCH)
    share = sum(r > 0.0 for r in rises) / len(rises)
    assert method.figures() == {"share_of_positive_slopes": share}
    other = SATEnvironment()
    other.load_state_dict(method.state_dict())
    assert other.figures() == method.figures()
    other.attach(FreeSpaceDigits())
    assert other.figures() == {}


def test_without_measurements_it_goes_outwards_where_the_loss_rises() -> None:
    """At one parameter alone, whose loss rises on both sides, nothing is lost."""
    workload = FreeSpaceDigits(SEED)
    optimizer = torch.optim.Adam(workload.parameters(), lr=0.02)
    for _ in range(60):  # before training, rotation makes no difference
        optimizer.zero_grad()
        BP().loss(workload, (X, Y)).backward()
        optimizer.step()
    params: dict[str, Any] = {
        "parameters": "rotation_deg",
        "rho": "0.2 full modulation",
        "step": 0.4,
    }
    measured, outward = SATEnvironment(**params), SATOutward(**params)
    rises = []
    for call in range(1, 12):
        measured.calls = outward.calls = call
        u = draw_probe(["rotation_deg"], 0.75, True, measured.generator())
        nominal = float(workload.loss(workload(X), (X, Y)).detach())
        rise = measured.rise(workload, X, (X, Y), u, nominal)
        rises.append(rise)
        a, b = (float(m.loss(workload, (X, Y)).detach()) for m in (measured, outward))
        assert (a == b) == (rise > 0.0)
    assert outward.rise(workload, X, (X, Y), u, nominal) == 1.0
    assert any(r > 0.0 for r in rises)


def test_the_step_goes_up_the_slope_along_the_probe() -> None:
    method = SATEnvironment(step=0.5, normalise=True)
    u = {"rotation_deg": 0.3, "scale": -0.4}
    up, down = method.adversarial(u, 0.2), method.adversarial(u, -0.2)
    assert up == pytest.approx({"rotation_deg": 0.3 + 0.3, "scale": -0.4 - 0.4})
    assert down == pytest.approx({"rotation_deg": 0.0, "scale": 0.0}, abs=1e-12)
    dropped = SATEnvironment(step=0.5, keep_probe=False).adversarial(u, 0.2)
    assert dropped == pytest.approx({"rotation_deg": 0.3, "scale": -0.4})


def test_the_published_step_is_a_multiple_of_the_slope() -> None:
    # theta_adv = theta_0 + delta + a_1 (L1 - L0) / delta, with a range of one unit.
    method = SATEnvironment(step=0.8, normalise=False)
    assert method.adversarial({"rotation_deg": 0.25}, 0.1) == pytest.approx(
        {"rotation_deg": 0.25 + 0.8 * 0.1 / 0.25}
    )


@pytest.mark.parametrize("method", [SATEnvironment, RandomEnvironment])
def test_environments_stay_in_the_range(method: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MisalignmentEnvironment] = []
    operating = FreeSpaceDigits.operating

    def watched(self: Any, device: Device, environment: Any = None) -> Any:
        seen.append(environment)
        return operating(self, device, environment)

    monkeypatch.setattr(FreeSpaceDigits, "operating", watched)
    made = method(**({"step": 2.0} if method is SATEnvironment else {}))
    workload = FreeSpaceDigits(0)
    for call in range(1, 60):
        made.calls = call
        made.loss(workload, (X, Y))
    for name, half in RANGES.items():
        offsets = [getattr(e, name) - (name == "scale") for e in seen]
        assert max(map(abs, offsets)) <= half * (1 + 1e-12)
        assert min(offsets) < -0.5 * half < 0.5 * half < max(offsets)


#: Every way in which a method moves the environment, each with the law it draws from.
LAWS: dict[str, Any] = {
    "random": RandomEnvironment(),
    "random in turns, further out": RandomEnvironment(outward=0.25, turns="batch"),
    "together": SATEnvironment(probe=0.75),
    "in turns": SATEnvironment(probe=1.0, turns="batch"),
    "published": SATEnvironment(
        parameters="rotation_deg, shift_y_px, scale",
        probe=1.0,
        two_sided=False,
        step={"rotation_deg": 12.5, "shift_y_px": 12.5, "scale": 0.1},
        normalise=False,
        turns="batch",
        ranges={"rotation_deg": 2.0, "shift_y_px": 2.0, "scale": 0.1},
    ),
    "text": SATEnvironment(probe=0.05, keep_probe=False, step=12.5, normalise=False),
    "text, by its sign": SATEnvironment(probe=0.05, keep_probe=False, step=0.5),
    "outwards": SATOutward(probe=1.0, turns="batch"),
}


@pytest.mark.parametrize(
    "workload",
    [FreeSpaceDigits(0), pytest.param(FreeSpaceMNIST(0), marks=pytest.mark.slow)],
    ids=["digits", "mnist"],
)
@pytest.mark.parametrize("law", LAWS)
def test_no_law_has_an_atom_nor_stands_on_a_test_level(law: str, workload: Any) -> None:
    """Over 10,000 draws no position comes twice, and none is that of a cell."""
    method = LAWS[law]
    slopes = torch.rand(10_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cells = workload.perturbation_grid("smoke")
    drawn: dict[str, list[float]] = {name: [] for name in workload.environment_ranges}
    for call, slope in enumerate(slopes.tolist(), 1):
        method.calls = call
        u = method.draw(workload)
        if isinstance(method, SATEnvironment):
            length = math.sqrt(sum(v * v for v in u.values()))
            where = method.adversarial(u, (slope - 0.1) * length)
        else:
            where = moved_along(u, method.outward, 1.0)
        environment = method.environment(workload, where)
        for name in u:
            drawn[name].append(getattr(environment, name))
    nominal = workload.nominal_environment()
    for name, values in drawn.items():
        tested = {getattr(cell.environment, name) for cell in cells} - {getattr(nominal, name)}
        assert len(tested) >= 20
        assert not tested & set(values)
        width = {**workload.environment_ranges, **(method.ranges or {})}[name]
        assert all(abs(v - getattr(nominal, name)) <= width * (1 + 1e-9) for v in values)
        assert len(set(values)) == len(values)


@given(st.floats(-1e6, 1e6))
def test_folding_keeps_the_side_and_the_inside(u: float) -> None:
    found = folded(u)
    assert -1.0 <= found <= 1.0
    assert found * u >= 0.0
    assert folded(-u) == -found
    if abs(u) <= 1.0:
        assert found == u
    # The distance to the nearest even number: a triangle wave without flat parts.
    assert abs(found) == pytest.approx(abs(u / 2 - round(u / 2)) * 2, abs=1e-9)


def test_ranges_can_be_those_of_another_protocol() -> None:
    workload = FreeSpaceDigits(0)
    method = RandomEnvironment(
        parameters="rotation_deg, scale", ranges={"rotation_deg": 2.0, "scale": 0.1}
    )
    method.attach(workload)
    found = method.environment(workload, {"rotation_deg": 0.5, "scale": -1.25})
    assert found.as_dict() == pytest.approx(
        {"rotation_deg": 1.0, "shift_x_px": 0.0, "shift_y_px": 0.0, "scale": 0.925}
    )


def test_one_sided_probes_are_positive() -> None:
    method = RandomEnvironment(two_sided=False, probe=0.5)
    for call in range(200):
        method.calls = call
        u = draw_probe(list(RANGES), method.probe, method.two_sided, method.generator())
        assert all(0.0 < v <= 0.5 for v in u.values())


def test_parameters_take_their_turns() -> None:
    names = ["a", "b", "c"]
    assert [whose_turn(names, "batch", call, 0) for call in (1, 2, 3, 4)] == [
        ["a"],
        ["b"],
        ["c"],
        ["a"],
    ]
    assert [whose_turn(names, "epoch", 7, epoch) for epoch in (0, 1, 4)] == [["a"], ["b"], ["b"]]
    assert whose_turn(names, "together", 5, 5) == names


def test_the_extra_passes_leave_batch_norm_alone_and_are_counted() -> None:
    workload = MRRDigits(0).train()
    before = {n: b.clone() for n, b in workload.named_buffers()}
    method = SATEnvironment()
    method.calls = 1
    method.loss(workload, (X, Y))
    after = dict(workload.named_buffers())
    counts = [n for n in after if n.endswith("num_batches_tracked")]
    assert all(int(after[n]) == int(before[n]) + 1 for n in counts)
    assert workload.gradient_evaluations == 2
    # Slopes along the environment are differences: one more pass, without a gradient.
    assert workload.forward_evaluations == 1
    alone = MRRDigits(0).train()
    method = SATEnvironment(rho=0.0)
    method.calls = 1
    method.loss(alone, (X, Y))
    assert (alone.gradient_evaluations, alone.forward_evaluations) == (1, 2)


@pytest.mark.parametrize("method", [SATEnvironment, RandomEnvironment])
def test_only_workloads_with_an_environment_are_supported(method: type[TrainingMethod]) -> None:
    assert method.supports(FreeSpaceDigits())
    assert method.supports(MRRDigits())
    assert not method.supports(MZIDigits())


@pytest.mark.parametrize("method", [SATEnvironment, RandomEnvironment])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"turns": "never"}, "turns is 'never'"),
        ({"probe": 0.0}, "probe"),
        ({"probe": 1.5}, "probe"),
        ({"ranges": {"scale": 0.0}}, "ranges.scale"),
        ({"ranges": 2.0}, "ranges is 2.0"),
    ],
)
def test_bad_hyper_parameters_are_refused(
    method: type[Any], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        method(**params)


def test_an_unknown_parameter_is_refused_when_attached() -> None:
    with pytest.raises(UserError, match="ranges has numbers for scale"):
        RandomEnvironment(ranges={"scale": 0.1}).attach(FreeSpaceDigits())
    with pytest.raises(UserError, match="step has numbers for scale"):
        SATEnvironment(step={"scale": 0.1}).attach(FreeSpaceDigits())
    with pytest.raises(UserError, match="outward has numbers for scale"):
        RandomEnvironment(outward={"scale": 0.1}).attach(FreeSpaceDigits())
    with pytest.raises(UserError, match="step is an empty mapping"):
        SATEnvironment(step={})
    with pytest.raises(UserError, match=r"step\.scale"):
        SATEnvironment(step={"scale": -1.0})
    with pytest.raises(UserError, match="unknown environment parameter 'tilt'"):
        SATEnvironment(parameters="rotation_deg, tilt").attach(FreeSpaceDigits())


@pytest.mark.parametrize("parameters", ["rotation,rotation", "scale, rotation_deg, Rotation"])
def test_a_parameter_is_named_once(parameters: str) -> None:
    for method in (RandomEnvironment(parameters=parameters), SATEnvironment(parameters=parameters)):
        with pytest.raises(UserError, match="names rotation_deg twice"):
            method.attach(FreeSpaceDigits())


def test_a_parameter_may_be_named_without_its_unit() -> None:
    workload = FreeSpaceDigits()
    names = list(workload.environment_ranges)
    for name in names:
        word, _, unit = name.rpartition("_")
        for spelling in (name, name.upper(), word if unit in ("deg", "px", "degc") else name):
            assert chosen_parameters(workload, spelling) == [name]
    assert chosen_parameters(workload, "all") == names
    assert chosen_parameters(MRRDigits(), "temperature") == ["temperature_degc"]
    for wrong in ("", "shift", "deg"):
        with pytest.raises(UserError, match="unknown environment parameter"):
            chosen_parameters(workload, wrong)
