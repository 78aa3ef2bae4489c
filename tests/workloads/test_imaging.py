"""Reconstruction and generation as workloads: their judge, its bits, and what a record keeps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

import pnnbench
from pnnbench.data import Arrays, DataModule, DataSet, load
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.bp_weights import BPWeights
from pnnbench.methods.evolution import Evolution
from pnnbench.methods.lbfgs import LBFGS
from pnnbench.methods.sat import SAT
from pnnbench.metrics.extractors import extractor
from pnnbench.running.suites import load_suite
from pnnbench.running.training import fit, quiet
from pnnbench.workloads.base import Tier
from pnnbench.workloads.mrr_images import MRRDigitsAutoencoder, MRRDigitsGAN

from ..defaults import double_by_default

METHODS: dict[str, Callable[[], TrainingMethod]] = {
    "bp": BP,
    "bp-weights": BPWeights,
    "sat": SAT,
    "lbfgs": lambda: LBFGS(iterations=3),
    "evolution": lambda: Evolution(population=2, parents=1),
}


def data(holdout: int = 0) -> DataModule:
    """Five batches of latent vectors with their images."""
    return DataModule(
        MRRDigitsGAN.data, batch_size=16, limit_train=80, limit_test=80, holdout=holdout
    )


def judge_of(workload: MRRDigitsGAN) -> dict[str, Tensor]:
    """Copies the judge's tensors."""
    return {name: value.clone() for name, value in workload.judge.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Interrupted(Exception):  # noqa: N818 - no error
    """Ends a training after an epoch."""


def trained(method: TrainingMethod, folder: Path | None = None, **options: Any) -> MRRDigitsGAN:
    """A generator after two epochs."""
    torch.manual_seed(options.pop("global_seed", 0))
    workload = MRRDigitsGAN(options.pop("seed", 0))
    fit(workload, method, data(), **{"epochs": 2, "folder": folder, **options})
    return workload


@pytest.mark.parametrize("name", METHODS)
def test_the_judge_takes_one_step_for_each_batch(name: str) -> None:
    """However often the method evaluates its loss; and no step but that."""
    workload, method = MRRDigitsGAN(0), METHODS[name]()
    steps: list[int] = []
    seen: list[dict[str, Tensor]] = []

    class Between(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
            steps.append(pl_module._steps)
            seen.append(judge_of(pl_module))

    class Prepared(MRRDigitsGAN):
        """Notes the judge as its step has left it."""

        def prepared(self, batch: Any) -> Any:
            found = super().prepared(batch)
            left.append(judge_of(self))
            return found

    left: list[dict[str, Tensor]] = []
    workload = Prepared(0)
    start = judge_of(workload)
    fit(workload, method, data(), epochs=1, watching=[Between()])
    assert steps == [1, 2, 3, 4, 5]
    assert all(same(a, b) for a, b in zip(left, seen, strict=True))
    states = [start, *seen]
    assert not any(same(a, b) for a, b in itertools.pairwise(states))
    assert all(p.grad is None and not p.requires_grad for p in workload.judge.parameters())
    assert not workload.judge.training


def test_methods_train_nothing_of_the_judge() -> None:
    workload = MRRDigitsGAN(0)
    named = {**workload.controls(), **workload.digital_parameters()}
    assert all(name.startswith("network.") for name in named)
    inside = {id(p) for p in workload.network.parameters()}
    assert {id(p) for p in named.values()} == inside
    assert not inside & {id(p) for p in workload.judge.parameters()}
    assert not any("judge" in name for name in workload.network.state_dict())


def test_the_judge_sees_what_the_trained_weights_make() -> None:
    """Methods that train weights put them into the controls at the end of an epoch only."""
    workload, method = MRRDigitsGAN(0), BPWeights()
    workload.train()
    method.attach(workload)
    with torch.no_grad():
        for weight in method.weights.values():
            weight.mul_(0.3)
    seen: list[Tensor] = []
    for module in (workload.network, workload.judge):
        module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    latents, images = data().train_tensors()
    workload.prepared((latents[:16], images[:16]))
    z, real, made = seen
    assert torch.equal(real, images[:16])
    with torch.no_grad(), method.overriding(workload):
        expected = workload.network(z)
        stale = MRRDigitsGAN(0).train().network(z)
    assert torch.allclose(made, expected, atol=1e-4)
    assert not torch.allclose(made, stale, atol=1e-2)


def test_latent_vectors_of_the_training_are_fresh_and_follow_the_seed() -> None:
    batch = tuple(part[:8] for part in data().train_tensors())

    def drawn(seed: int, global_seed: int) -> list[Tensor]:
        torch.manual_seed(global_seed)
        workload = MRRDigitsGAN(seed).train()
        return [workload.prepared(batch)[0] for _ in range(3)]  # type: ignore[arg-type]

    first, again, other = drawn(0, 1), drawn(0, 2), drawn(1, 1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], batch[0])


def test_latent_vectors_are_the_same_whatever_precision_torch_has_by_default() -> None:
    batch = tuple(part[:8] for part in data().train_tensors())
    found = []
    for context in (nullcontext, double_by_default):
        workload = MRRDigitsGAN(0).train()
        with context():
            found.append(workload.prepared(batch)[0])  # type: ignore[arg-type]
    assert torch.equal(*found)


def test_no_pass_of_the_judge_moves_what_batch_norm_remembers() -> None:
    workload = MRRDigitsGAN(0).train()
    before = {n: v.clone() for n, v in workload.network.state_dict().items()}
    workload.prepared(tuple(part[:8] for part in data().train_tensors()))  # type: ignore[arg-type]
    assert same(before, dict(workload.network.state_dict()))
    assert workload.gradient_evaluations == 0


def test_the_loss_is_exact_in_double_precision() -> None:
    workload = MRRDigitsGAN(0).eval()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = (torch.zeros(4, 16), images)
    single, double = workload.loss(images, batch), workload.loss(images.double(), batch)
    assert double.dtype is torch.float64
    assert float(single) == pytest.approx(float(double), rel=1e-5, abs=1e-6)
    x = images[:1].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: workload.loss(v, batch), (x,), eps=1e-6)


@pytest.mark.parametrize("name", ["bp", "bp-weights", "lbfgs"])
def test_an_interrupted_training_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    """Generator, judge and the judge's optimiser, between two epochs."""

    def stop(done: int, total: int, loss: float) -> None:
        if done == total:
            raise Interrupted

    whole = trained(METHODS[name]())
    with pytest.raises(Interrupted):
        trained(METHODS[name](), tmp_path, report=stop)
    resumed = trained(METHODS[name](), tmp_path, global_seed=9)
    assert same(whole.tensors(), resumed.tensors())
    assert whole._steps == resumed._steps == 10
    states = [w._optimizer.state_dict()["state"] for w in (whole, resumed)]
    for a, b in zip(*(s.values() for s in states), strict=True):
        assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


def test_a_training_goes_on_from_the_middle_of_an_epoch(tmp_path: Path) -> None:
    def trainer(*callbacks: pl.Callback, **flags: Any) -> pl.Trainer:
        return pl.Trainer(
            max_epochs=2,
            callbacks=[BP(), *callbacks],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"enable_checkpointing": False, **flags},
        )

    whole, again = MRRDigitsGAN(0), MRRDigitsGAN(7)
    kept = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1)
    with quiet():
        trainer(kept, enable_checkpointing=True).fit(whole, datamodule=data())
        (path,) = tmp_path.glob("*step=3*")
        trainer().fit(again, datamodule=data(), ckpt_path=str(path), weights_only=True)
    assert same(whole.tensors(), again.tensors())


@pytest.mark.parametrize("name", ["_u", "_v"])
def test_a_file_cannot_scale_the_loss_by_the_singular_vectors_of_the_judge(name: str) -> None:
    honest, forged = MRRDigitsGAN(0), MRRDigitsGAN(0)
    tensors = honest.tensors()
    names = [n for n in tensors if n.endswith(name)]
    assert len(names) == len([m for m in honest.judge.modules() if hasattr(m, "parametrizations")])
    forged.load_tensors({n: v * 9.0 if n in names else v for n, v in tensors.items()})
    honest.load_tensors(tensors)
    batch = data().test_tensors()
    losses = [w.eval().loss(w(batch[0]), batch) for w in (honest, forged)]
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    for layer in forged.judge.modules():
        if hasattr(layer, "parametrizations"):
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
            assert float(largest) == pytest.approx(1.0, abs=1e-5)


def test_a_record_keeps_the_judge_that_the_loss_needs() -> None:
    workload = trained(BP(), epochs=1).eval()
    tensors = {name: value.clone() for name, value in workload.tensors().items()}
    other = MRRDigitsGAN(1).eval()
    other.load_tensors(tensors)
    batch = data().test_tensors()
    outputs = [w(batch[0]) for w in (workload, other)]
    assert torch.equal(*outputs)
    assert torch.equal(workload.loss(outputs[0], batch), other.loss(outputs[1], batch))
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_tensors({n: v for n, v in tensors.items() if not n.startswith("judge.")})


def described(cls: type[Any] = MRRDigitsGAN, **attributes: Any) -> dict[str, Any]:
    """What decides a result of a class, some of its attributes replaced, under its own name."""
    made = type(cls.__name__, (cls,), {"__module__": cls.__module__, **attributes})
    made.__qualname__ = cls.__qualname__
    found: dict[str, Any] = made(0).describe("smoke")
    return found


def test_whatever_decides_a_result_is_in_the_hash() -> None:
    found = [
        described(),
        described(width=4),
        described(depth=1),
        described(judge_width=8),
        described(judge_step=2e-3),
        described(data="latents:digits,8"),
    ]
    assert len({repr(one) for one in found}) == len(found)
    assert described() == MRRDigitsGAN(1).describe("smoke")
    coders = [
        described(MRRDigitsAutoencoder, **changed)
        for changed in ({}, {"width": 4}, {"depth": 1}, {"latent": 4})
    ]
    assert len({repr(one) for one in coders}) == len(coders)


ENOUGH = Tier(epochs=1, batch_size=32, n_devices=1, test_images=700, validation_images=700)


def test_another_extractor_is_another_job() -> None:
    other = described(extractor="efficientnet-lite0", tiers={"smoke": ENOUGH})
    assert other["extractor"] == "efficientnet-lite0-320-64px-57934424"
    assert described()["extractor"] == "digits-32-8px-17af51a9"


def test_a_tier_with_too_few_images_is_refused_before_work_starts() -> None:
    for name in ("test_images", "validation_images"):
        few = Tier(epochs=1, batch_size=8, n_devices=1, **{name: 65})
        with pytest.raises(UserError, match=f"{name} of the tier 'smoke' is 65") as refused:
            described(tiers={"smoke": few})
        assert refused.value.allowed == "at least 66"
    with pytest.raises(UserError, match="unknown feature extractor 'digit'"):
        described(extractor="digit")


def test_guessing_is_one_image_for_all() -> None:
    """Of a Gaussian from a point: the square of the way, and the trace of the covariance."""
    arrays = load("digits")
    network = extractor("digits")
    mean = arrays.train_inputs.double().mean(0) / 255.0
    point = network.features(mean.float()[None])[0].double()
    real = network.features(arrays.test_inputs).double()

    def distance(x: Tensor) -> float:
        return float((x.mean(0) - point).square().sum() + torch.cov(x.T).trace())

    n = len(real) // 2
    halves = (distance(real[:n]) + distance(real[n : 2 * n])) / 2
    expected = 2.0 * distance(real[: 2 * n]) - halves
    assert MRRDigitsGAN(0).chance == pytest.approx(expected, rel=1e-5)
    found = load("digits")
    off = found.test_inputs.double() - found.train_inputs.double().mean(0)
    level = float((off / 255.0).square().mean())
    assert MRRDigitsAutoencoder(0).chance == pytest.approx(level, rel=1e-9)
    for cls in (MRRDigitsGAN, MRRDigitsAutoencoder):
        assert (cls.chance, cls.higher_is_better) == (None, False)


class Oblong(DataSet):
    """Images that are not square."""

    def load(self, root: Any = None, download: bool = False) -> Arrays:
        x = torch.zeros(40, 1, 4, 8, dtype=torch.uint8)
        return Arrays("oblong", x, torch.arange(40) % 2, x, torch.arange(40) % 2, 2)


def test_data_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="takes square images"):
        MRRDigitsAutoencoder(data=Oblong)
    with pytest.raises(UserError, match="makes images from latent vectors") as refused:
        MRRDigitsGAN(data="digits")
    assert refused.value.next_step == "name it as latents:digits,16"
    assert MRRDigitsGAN(data="latents:digits,4").network.latent == 4


class Missing(MRRDigitsGAN):
    """A generator whose extractor has no weights here."""

    name: ClassVar[str] = "missing"
    extractor: ClassVar[str] = "inception-v3"
    tiers: ClassVar[dict[str, Tier]] = {
        "smoke": Tier(epochs=1, batch_size=8, n_devices=1, train_images=16)
    }


def test_missing_weights_are_told_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PNNBENCH_INCEPTION", raising=False)
    with pytest.raises(UserError) as refused:
        Missing(0).check_ready()
    words = f"{refused.value.what} {refused.value.next_step}"
    for part in ("weights-inception-2015-12-05", "PNNBENCH_INCEPTION", "efficientnet-lite0"):
        assert part in words
    MRRDigitsGAN(0).check_ready()
    with pytest.raises(UserError, match="are not there; looked in"):
        pnnbench.train(Missing(0), tier="smoke")


def test_a_suite_with_missing_weights_is_refused_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first job, which is of another workload; listing it asks for nothing."""
    monkeypatch.delenv("PNNBENCH_INCEPTION", raising=False)
    suite = {
        "suite": "missing",
        "protocol": "pnnbench-2",
        "tier": "smoke",
        "workloads": ["mrr-digits", f"{__name__}.Missing"],
        "seeds": [0],
        "methods": ["bp"],
    }
    (tmp_path / "missing.yaml").write_text(yaml.safe_dump(suite))
    assert len(load_suite(tmp_path / "missing.yaml").jobs) == 2
    with pytest.raises(UserError, match="are not there; looked in"):
        pnnbench.run(tmp_path / "missing.yaml", tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("record.json"))


@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_images_beyond_what_the_decoder_reaches_are_refused(low: float) -> None:
    found = load("digits")

    class Normalised(DataSet):
        mixed = True

        def load(self, root: Any = None, download: bool = False) -> Arrays:
            train, test = (
                low + (1.0 - low) * part.float() / 255
                for part in (found.train_inputs, found.test_inputs)
            )
            return Arrays("own", train, found.train_targets, test, found.test_targets, 10)

    workload = MRRDigitsAutoencoder(0, data=Normalised())
    if low == 0.0:
        workload.check_ready()
        return
    with pytest.raises(UserError, match=r"are torch\.float32 from -1 to 1"):
        workload.check_ready()
