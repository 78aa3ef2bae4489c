from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pnnbench.methods.lbfgs import LBFGS
from pnnbench.workloads.convert import physical

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
    seen = next(m for m in workload.modules() if isinstance(m, Drops)).seen
    kinds = [sum(torch.equal(one, other) for other in seen) for one in seen]
    # Two batches of the same images: the passes of each are alike, those of the other are not.
    first = kinds[0]
    assert first > 1
    assert kinds == [first] * first + [len(seen) - first] * (len(seen) - first)
    assert not torch.equal(seen[0], seen[-1])
