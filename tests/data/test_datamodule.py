from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.data import datamodule as module_under_test
from pnnbench.data.arrays import Arrays
from pnnbench.data.order import permutation
from pnnbench.errors import UserError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*fork"),
]


def numbered(n: int = 53, n_test: int = 11) -> Arrays:
    """Images whose pixels spell their own index, so that a batch tells which images it holds."""

    def part(count: int) -> tuple[Tensor, Tensor]:
        index = torch.arange(count)
        images = torch.stack([index // 256, index % 256], dim=1).to(torch.uint8)
        return images.reshape(-1, 1, 1, 2), index % 3

    return Arrays("numbered", *part(n), *part(n_test), n_classes=3)


def indices(images: Tensor) -> list[int]:
    pixels = (images.flatten(1) * 255).round().long()
    return (pixels[:, 0] * 256 + pixels[:, 1]).tolist()


class Recorder(pl.LightningModule):
    """A model whose weights depend on the order, and which notes the images of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)
        self.seen: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        self.seen.append(indices(batch[0]))
        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        if not self.trainer.sanity_checking:
            self.validated += indices(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)


class Kill(pl.Callback):
    """Writes a checkpoint in one hook after so many steps and stops the run there."""

    def __init__(self, hook: str, step: int, path: Path) -> None:
        def stop(trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == step:
                trainer.save_checkpoint(path)
                raise KeyboardInterrupt

        setattr(self, hook, stop)


def train(
    data: DataModule, *callbacks: pl.Callback, ckpt: Path | None = None, epochs: int = 3
) -> Recorder:
    torch.manual_seed(0)
    model = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


KILLS = [
    ("on_train_batch_end", 2),  # in the middle of epoch 0
    ("on_train_batch_end", 6),  # in the middle of epoch 1
    ("on_train_batch_end", 10),  # after the last batch of epoch 1
    ("on_train_batch_start", 7),  # a batch was taken but not trained on
    ("on_train_epoch_end", 5),
    ("on_train_epoch_end", 10),
    ("on_validation_end", 5),
]


@pytest.mark.parametrize(
    ("hook", "step", "holdout"),
    [(*kill, n) for kill in KILLS for n in (0, 9) if n or kill[0] != "on_validation_end"],
)
def test_resumed_run_sees_the_batches_of_an_uninterrupted_one(
    hook: str, step: int, holdout: int, tmp_path: Path
):
    batch_size = 12 if not holdout else 10

    def data() -> DataModule:
        return DataModule(numbered(), batch_size=batch_size, seed=4, holdout=holdout)

    whole = train(data())
    assert len(whole.seen) == 15
    assert whole.seen[:5] != whole.seen[5:10]
    path = tmp_path / "killed.ckpt"
    with pytest.raises(SystemExit):
        train(data(), Kill(hook, step, path))
    resumed = train(data(), ckpt=path)
    assert resumed.seen == whole.seen[step:]
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


def test_resume_with_workers_starts_in_the_right_epoch(tmp_path: Path):
    # Worker processes are handed batches ahead of time, before Lightning has set the epoch.
    def data() -> DataModule:
        return DataModule(numbered(), batch_size=12, seed=4, num_workers=2)

    whole = train(DataModule(numbered(), batch_size=12, seed=4))
    path = tmp_path / "killed.ckpt"
    with pytest.raises(SystemExit):
        train(data(), Kill("on_train_batch_end", 7, path))
    assert train(data(), ckpt=path).seen == whole.seen[7:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 5}, r"order: seed 4, now 5$"),
        ({"batch_size": 13}, r"order: batch_size 12, now 13$"),
        ({"limit_train": 40}, r"order: images 53, now 40$"),
        ({"arrays": numbered(53, 12)}, r"order: fingerprint 'sha256:\w+', now 'sha256:\w+'$"),
    ],
)
@pytest.mark.parametrize(("hook", "step"), [("on_train_epoch_end", 5), ("on_train_batch_end", 7)])
def test_resume_with_other_data_is_refused(
    hook: str, step: int, changes: dict, message: str, tmp_path: Path
):
    given = {"arrays": numbered(), "batch_size": 12, "seed": 4}
    path = tmp_path / "killed.ckpt"
    with pytest.raises(SystemExit):
        train(DataModule(**given), Kill(hook, step, path))
    with pytest.raises(UserError) as caught:
        train(DataModule(**(given | changes)), ckpt=path)
    assert re.search(message, caught.value.what)


def test_order_is_a_function_of_seed_and_epoch():
    data = DataModule(numbered(), batch_size=10, seed=8)
    model = train(data)
    for epoch in range(3):
        order = permutation(53, 8, epoch).tolist()
        assert list(chain(*model.seen[6 * epoch : 6 * epoch + 6])) == order
        assert [b.tolist() for b in data.train_batches(epoch)] == model.seen[6 * epoch :][:6]
    loader = data.train_dataloader()  # after the fit, by hand
    loader.sampler.set_epoch(2)
    assert [indices(x) for x, _ in loader] == model.seen[12:]
    assert [indices(x) for x, _ in loader] == model.seen[12:]
    assert train(DataModule(numbered(), batch_size=10, seed=9)).seen != model.seen


def test_other_use_of_the_loader_during_training_disturbs_nothing():
    class Peek(pl.Callback):
        def __init__(self) -> None:
            self.peeked: list[list[int]] = []

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            loader = trainer.datamodule.train_dataloader()
            self.peeked = [indices(x) for x, _ in loader]

    peek = Peek()
    data = DataModule(numbered(), batch_size=10, seed=8)
    assert train(data, peek).seen == train(DataModule(numbered(), 10, 8)).seen
    assert list(chain(*peek.peeked)) == permutation(53, 8, 0).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_leave_the_global_generator_alone(workers: int):
    data = DataModule(numbered(), batch_size=10, holdout=13, num_workers=workers)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert len(list(loader)) == len(loader)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_do_not_depend_on_the_workers():
    def batches(workers: int) -> list[tuple[Tensor, Tensor]]:
        data = DataModule(
            load("digits"), 100, 2, holdout=300, eval_batch_size=70, num_workers=workers
        )
        train_loader = data.train_dataloader()
        train_loader.sampler.set_epoch(3)
        return [*train_loader, *data.val_dataloader(), *data.test_dataloader()]

    here, there = batches(0), batches(2)
    assert len(here) == len(there) == 12 + 5 + 6
    for (x, y), (x2, y2) in zip(here, there, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


def test_parts_and_limits():
    data = DataModule(
        numbered(), batch_size=8, holdout=13, limit_train=20, limit_test=7, eval_batch_size=5
    )
    assert indices(data.train_tensors()[0]) == list(range(20))
    assert indices(data.validation_tensors()[0]) == list(range(40, 53))
    assert indices(data.test_tensors()[0]) == list(range(7))
    assert data.n_train == 20
    assert [len(y) for _, y in data.train_dataloader()] == [8, 8, 4]
    assert [indices(x) for x, _ in data.val_dataloader()] == [
        list(range(40, 45)),
        list(range(45, 50)),
        list(range(50, 53)),
    ]
    assert [indices(x) for x, _ in data.test_dataloader()] == [[0, 1, 2, 3, 4], [5, 6]]
    assert sorted(train(data, epochs=1).validated) == list(range(40, 53))


def test_a_single_image_is_left_out_of_the_last_batch_only():
    data = DataModule(numbered(21), batch_size=10)
    assert [len(y) for _, y in data.train_dataloader()] == [10, 10]
    data = DataModule(numbered(21), batch_size=1)
    assert len(list(data.train_dataloader())) == 21


@pytest.mark.parametrize("limit_bytes", [0, 2**40])
def test_inputs_are_bytes_over_255(limit_bytes: int, monkeypatch: pytest.MonkeyPatch):
    # Both ways of conversion: batch by batch, and once for the whole set.
    monkeypatch.setattr(module_under_test, "FLOAT_LIMIT_BYTES", limit_bytes)
    digits = load("digits")
    data = DataModule(digits, batch_size=64, seed=1)
    expected = digits.train_inputs.numpy().astype("float32") / 255
    x, y = data.train_tensors()
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert (x.numpy() == expected).all()
    assert 0 == x.min() < x.max() == 1
    for index, batch in zip(data.train_batches(0), data.train_dataloader(), strict=True):
        assert isinstance(batch, tuple)
        assert (batch[0].numpy() == expected[index.numpy()]).all()
        assert torch.equal(batch[1], digits.train_targets[index])
    assert digits.train_inputs.dtype == torch.uint8


def test_a_set_can_be_given_by_name(tmp_path: Path):
    assert DataModule("digits").arrays.fingerprint == load("digits").fingerprint
    missing = DataModule("mnist", root=str(tmp_path))
    with pytest.raises(UserError, match=r"MNIST is not there"):
        missing.setup("fit")


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"seed": -1},
        {"holdout": -1},
        {"limit_train": 0},
        {"limit_test": 0},
        {"eval_batch_size": 0},
        {"num_workers": True},
    ],
)
def test_bad_numbers_are_refused(changes: dict):
    with pytest.raises(UserError, match=next(iter(changes))):
        DataModule(numbered(), **changes)


def test_holdout_must_leave_something():
    with pytest.raises(UserError, match=r"holdout is 52, and 'numbered' has 53"):
        DataModule(numbered(), holdout=52).setup()


def test_a_loader_without_its_trainer_cannot_resume():
    data = DataModule(numbered(), batch_size=12)
    loader = data.train_dataloader()
    with pytest.raises(UserError, match=r"pass datamodule="):
        loader.load_state_dict(loader.state_dict())
