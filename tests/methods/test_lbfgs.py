from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pnnbench.data import DataModule
from pnnbench.methods.lbfgs import LBFGS
from pnnbench.workloads.base import Batch
from pnnbench.workloads.convert import physical
from pnnbench.workloads.freespace import FreeSpaceDigits

from ..workloads.networks_of_users import images


class Drops(nn.Module):
    """Half of what it has seen is dropped, and noted."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.drop = nn.Dropout(0.5)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        dropped = self.drop(x.flatten(1))
        self.seen.append(dropped.detach().clone())
        return self.layer(dropped)


def test_what_lies_beyond_the_range_is_judged_at_its_edge() -> None:
    """What a step keeps is what its line search has accepted."""
    torch.manual_seed(0)
    workload, method = FreeSpaceDigits(0).train(), LBFGS(iterations=6, lr=1.0)
    judged: list[float] = []
    outside: list[float] = []
    loss = workload.loss

    def noted(outputs: Tensor, batch: Batch) -> Tensor:
        outside.append(max(float(p.abs().max()) for p in workload.controls().values()))
        found = loss(outputs, batch)
        judged.append(float(found.detach()))
        return found

    method.attach(workload)
    optimizer = method.make_optimizer([{"params": list(workload.network.parameters())}])
    workload.optimizers = lambda *args: optimizer  # type: ignore[method-assign]
    workload.loss = noted  # type: ignore[method-assign]
    batch = DataModule("digits", limit_train=64).train_tensors()
    clamped = 0
    for _ in range(12):
        judged.clear()
        method.step(workload, batch)
        asked = [p.detach().clone() for p in workload.controls().values()]
        method.after_step(workload)
        clamped += any(
            not torch.equal(p, a) for p, a in zip(workload.controls().values(), asked, strict=True)
        )
        with workload.extra_pass(), torch.no_grad():
            kept = float(loss(workload(batch[0]), batch))
        assert min(abs(kept - found) for found in judged) <= 1e-5 * max(1.0, kept)
    assert max(outside) <= 1.0
    assert clamped  # it has asked for what lies beyond


def test_all_passes_of_a_step_draw_the_same_and_steps_draw_anew() -> None:
    torch.manual_seed(3)
    network = Drops()
    workload = physical(network, "mrr")
    x, y = images(16)
    batches = DataLoader(TensorDataset(torch.cat([x, x]), torch.cat([y, y])), 16)
    trainer = pl.Trainer(
        max_epochs=1,
        callbacks=[LBFGS(iterations=3)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(workload, batches)
    # A few images are passed before, to see what the network is.
    seen = [
        x for x in next(m for m in workload.modules() if isinstance(m, Drops)).seen if len(x) == 16
    ]
    kinds = [sum(torch.equal(one, other) for other in seen) for one in seen]
    # Two batches of the same images: the passes of each are alike, those of the other are not.
    first = kinds[0]
    assert first > 1
    assert kinds == [first] * first + [len(seen) - first] * (len(seen) - first)
    assert not torch.equal(seen[0], seen[-1])
