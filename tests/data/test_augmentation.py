from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as theirs

from pnnbench.api.training import data_of
from pnnbench.data import DataModule, load
from pnnbench.data.arrays import Arrays
from pnnbench.data.augmentation import Augmentation
from pnnbench.data.order import Drawn, EpochBatches, numbers
from pnnbench.errors import UserError
from pnnbench.running.job_specs import Job
from pnnbench.running.jobs import data_module
from pnnbench.running.suites import load_suite
from pnnbench.workloads.mrr import MRRDigits
from pnnbench.workloads.mrr_images import MRRDigitsGAN

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*fork"),
]

seeds = st.integers(0, 2**70)
augmentations = st.builds(Augmentation, st.integers(1, 6), st.booleans())


def photographs(n: int = 53, n_test: int = 11) -> Arrays:
    """Random images of 3 x 6 x 5 pixels, none of which is black."""
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[Tensor, Tensor]:
        shape = (count, 3, 6, 5)
        images = torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)
        return images, torch.arange(count) % 3

    return Arrays("photographs", *part(n), *part(n_test), n_classes=3)


def expected(image: Tensor, padding: int, place: tuple[int, int, bool]) -> Tensor:
    """What torchvision makes of one image."""
    down, right, flipped = place
    height, width = image.shape[-2:]
    padded = theirs.pad(image, [padding])
    found = theirs.crop(padded, padding + down, padding + right, height, width)
    return theirs.horizontal_flip(found) if flipped else found


@given(
    augmentation=augmentations,
    count=st.integers(1, 9),
    channels=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64]),
    seed=seeds,
    epoch=st.integers(0, 500),
)
def test_images_are_those_of_torchvision(
    augmentation: Augmentation,
    count: int,
    channels: int,
    height: int,
    width: int,
    dtype: torch.dtype,
    seed: int,
    epoch: int,
):
    images = torch.arange(count * channels * height * width) % 251 + 1
    images = images.view(count, channels, height, width).to(dtype)
    before, drawn = images.clone(), numbers(count, seed, epoch)
    found = augmentation.apply(images, drawn)
    places = list(zip(*(x.tolist() for x in augmentation.places(drawn)), strict=True))
    padding = augmentation.crop_padding
    assert found.dtype == dtype
    assert torch.equal(images, before)
    for image, changed, place in zip(images, found, places, strict=True):
        assert torch.equal(changed, expected(image, padding, place))
        assert -padding <= place[0] <= padding
        assert -padding <= place[1] <= padding
        assert augmentation.flip or not place[2]


@given(
    augmentation=augmentations,
    n=st.integers(2, 60),
    more=st.integers(0, 40),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=seeds,
    epoch=st.integers(0, 500),
)
def test_an_image_becomes_the_same_in_batches_of_any_size_and_among_any_others(
    augmentation: Augmentation,
    n: int,
    more: int,
    sizes: tuple[int, int],
    seed: int,
    epoch: int,
):
    images = torch.arange((n + more) * 20).view(-1, 1, 5, 4)
    whole = augmentation.apply(images[:n], numbers(n, seed, epoch))
    for count, size in ((n, sizes[0]), (n + more, sizes[1])):
        batches = EpochBatches(count, size, seed, draws=True)
        batches.set_epoch(epoch)
        for drawn in batches:
            assert isinstance(drawn, Drawn)
            here = drawn.images < n
            found = augmentation.apply(images[drawn.images], drawn.numbers)
            assert torch.equal(found[here], whole[drawn.images[here]])


def test_images_stay_on_their_device():
    images = torch.empty(4, 3, 6, 5, device="meta", dtype=torch.uint8)
    found = Augmentation().apply(images, numbers(4, 0, 0))
    assert (found.device.type, found.shape, found.dtype) == ("meta", images.shape, torch.uint8)


@pytest.mark.gpu
def test_images_are_the_same_on_a_gpu():
    images, drawn = photographs().train_inputs, numbers(53, 3, 1)
    for pixels in (images, images / 255.0):
        found = Augmentation().apply(pixels.cuda(), drawn)
        assert torch.equal(found.cpu(), Augmentation().apply(pixels, drawn))


def test_places_are_uniform_and_every_other_image_is_flipped():
    count = 81_000
    down, right, flipped = Augmentation(4).places(numbers(count, 5, 2))
    # Of 9 x 9 places each is expected 1000 times, and of the halves 40,500: five deviations.
    places = ((down + 4) * 9 + right + 4).bincount(minlength=81)
    assert (places - 1000).abs().max() < 5 * 31.5
    assert abs(int(flipped.sum()) - count / 2) < 5 * 142.3
    for part in (flipped[down == 4], flipped[right == -4]):
        assert abs(int(part.sum()) - len(part) / 2) < 5 * (len(part) / 4) ** 0.5


def test_numbers_are_pinned_and_apart():
    # The same on every machine and version; a change here changes every result with augmentation.
    assert numbers(2, 0, 0).tolist() == [3364714723560915154, 8672610666707191275]
    drawn = {tuple(numbers(4, s, e).tolist()) for s in range(20) for e in range(20)}
    assert len(drawn) == 400
    places = Augmentation().places(torch.tensor([0, 2**63 - 1]))
    assert [x.tolist() for x in places] == [[-4, 4], [-4, 4], [False, True]]


class Recorder(pl.LightningModule):
    """A model that keeps the images of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(90, 3)
        self.seen: list[Tensor] = []
        self.validated: list[Tensor] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        self.seen.append(batch[0])
        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.validated.append(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Kill(pl.Callback):
    """Writes a checkpoint after so many steps and stops the run there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


def train(data: DataModule, *callbacks: pl.Callback, ckpt: Path | None = None) -> Recorder:
    torch.manual_seed(0)
    model = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


def module(augmentation: Augmentation | None = None, **changes: Any) -> DataModule:
    given = {"batch_size": 10, "seed": 4, "holdout": 9} | changes
    return DataModule(photographs(), augmentation=augmentation, **given)


@pytest.mark.parametrize("step", [2, 7, 10])  # in the first epoch, in the second, at its end
def test_a_resumed_run_sees_the_images_of_an_uninterrupted_one(step: int, tmp_path: Path):
    whole = train(module(Augmentation(2)))
    path = tmp_path / "killed.ckpt"
    with pytest.raises(SystemExit):
        train(module(Augmentation(2)), Kill(step, path))
    resumed = train(module(Augmentation(2)), ckpt=path)
    assert len(resumed.seen) == 15 - step
    assert all(map(torch.equal, resumed.seen, whole.seen[step:]))
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


@pytest.mark.parametrize(
    ("before", "after"),
    [(Augmentation(2), None), (None, Augmentation(2)), (Augmentation(2), Augmentation(3))],
)
def test_resume_with_another_augmentation_is_refused(
    before: Augmentation | None, after: Augmentation | None, tmp_path: Path
):
    path = tmp_path / "killed.ckpt"
    with pytest.raises(SystemExit):
        train(module(before), Kill(2, path))
    with pytest.raises(UserError, match=r"other data or another order: augmentation "):
        train(module(after), ckpt=path)


def test_training_batches_alone_are_changed_and_anew_in_each_epoch():
    plain, changed = module(), module(Augmentation(2))
    images = plain.train_tensors()[0]
    seen, seen_plain = train(changed), train(plain)
    for epoch in range(3):
        drawn = numbers(44, 4, epoch)
        for i, index in enumerate(plain.train_batches(epoch)):
            made = Augmentation(2).apply(images[index], drawn[index])
            assert torch.equal(seen.seen[5 * epoch + i], made)
            assert torch.equal(seen_plain.seen[5 * epoch + i], images[index])
    assert all(map(torch.equal, seen.validated, seen_plain.validated))
    for part in ("train", "validation", "test"):
        both = (getattr(data, f"{part}_tensors")() for data in (plain, changed))
        assert all(map(torch.equal, *both))
    assert all(map(torch.equal, *([x for x, _ in d.test_dataloader()] for d in (plain, changed))))


def test_workers_make_the_same_images():
    def batches(workers: int) -> list[Tensor]:
        loader = module(Augmentation(), num_workers=workers).train_dataloader()
        loader.sampler.set_epoch(3)
        return [x for x, _ in loader]

    assert all(map(torch.equal, batches(0), batches(2)))


class Flipped(MRRDigits):
    """Digits that are cropped and flipped as they are trained on."""

    augmentation = Augmentation(1)


class Vectors(MRRDigitsGAN):
    """An augmentation of what are no images."""

    augmentation = Augmentation()


class Undecided(MRRDigits):
    """An augmentation that is none."""

    augmentation: Any = "crop"


def job(tmp_path: Path, cls: type) -> Job:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "{suite: tiny, protocol: pnnbench-2, tier: smoke, seeds: [0], methods: [bp], "
        f"workloads: [{cls.__module__}.{cls.__qualname__}]}}"
    )
    return load_suite(path).jobs[0]


def test_a_workload_says_how_its_images_are_changed():
    assert MRRDigits.augmentation is None
    assert "augmentation" not in MRRDigits(0).describe("smoke")
    told = Flipped(0).describe("smoke")
    assert told["augmentation"] == {"crop_padding": 1, "flip": True}
    del told["augmentation"]
    plain = MRRDigits(0).describe("smoke")
    assert {**told, "workload": None} == {**plain, "workload": None}
    assert data_of(Flipped(0), "smoke").augmentation == Augmentation(1)
    assert data_of(MRRDigits(0), "smoke").augmentation is None


def test_a_job_trains_on_changed_images_and_its_hash_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    of = job(tmp_path, Flipped)
    data = data_module(of)
    images, _ = next(iter(data.train_dataloader()))
    index = data.train_batches(0)[0]
    plain = data.train_tensors(index)[0]
    assert torch.equal(images, Augmentation(1).apply(plain, numbers(data.n_train, 0, 0)[index]))
    assert not torch.equal(images, plain)
    monkeypatch.setattr(Flipped, "augmentation", Augmentation(2))
    other = job(tmp_path, Flipped).spec()["hash"]
    monkeypatch.setattr(Flipped, "augmentation", None)
    none = job(tmp_path, Flipped).spec()["hash"]
    assert len({of.spec()["hash"], other, none}) == 3


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Vectors, r"inputs of the data set 'latents-16-digits' are \(16,\), and only images"),
        (Undecided, r"Undecided: augmentation is 'crop'"),
    ],
)
def test_a_suite_is_refused_before_its_first_job(cls: type, message: str, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        job(tmp_path, cls)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"crop_padding": -1}, r"crop_padding is -1"),
        ({"crop_padding": 2.0}, r"crop_padding is 2.0"),
        ({"crop_padding": True}, r"crop_padding is True"),
        ({"crop_padding": 256}, r"crop_padding is 256"),
        ({"flip": 1}, r"flip is 1"),
        ({"crop_padding": 0, "flip": False}, r"neither crops nor flips"),
    ],
)
def test_bad_values_are_refused(given: dict, message: str):
    with pytest.raises(UserError, match=message):
        Augmentation(**given)


def test_a_data_module_refuses_what_is_no_augmentation_and_vectors():
    with pytest.raises(UserError, match=r"DataModule: augmentation is 'flip'"):
        DataModule(photographs(), augmentation="flip")
    with pytest.raises(UserError, match=r"\(16,\), and only images are augmented"):
        DataModule("latents:digits,16", augmentation=Augmentation()).setup()


def test_only_the_images_that_are_asked_for_become_floats():
    data = DataModule(load("digits"), holdout=37, augmentation=Augmentation())
    index = torch.tensor([5, 1, 1399])
    images, targets = data.train_tensors(index)
    whole, labels = data.train_tensors()
    assert torch.equal(images, whole[index])
    assert torch.equal(targets, labels[index])
    assert torch.equal(data.train_tensors(slice(7))[0], whole[:7])
    assert data._part("train").inputs.dtype == torch.uint8
