"""Networks as users write them, small, for images (B, 1, 8, 8)."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Convolutions with a residual connection, batch norm, dropout, a layer used twice."""

    def __init__(self, n_outputs: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.twice = nn.Linear(64, 64)
        self.alias = self.twice
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(64, n_outputs)
        self.register_buffer("shift", torch.full((64,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.conv(x)))
        h = F.max_pool2d(h + self.grouped(h), 2).flatten(1)
        h = torch.tanh(self.twice(h))
        h = torch.tanh(self.alias(h)) + self.shift
        return self.head(self.drop(h))


class Classifier(pl.LightningModule):
    """A LightningModule with a loss of its own, which logs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y, label_smoothing=0.2)
        self.log("loss", loss, prog_bar=True)
        self.log_dict({"again": loss})
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def images(n: int = 48, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 8, 8, generator=generator), torch.randint(
        0, 10, (n,), generator=generator
    )


def made(cls: type[nn.Module] = Residual, seed: int = 0, **options: int) -> nn.Module:
    """A network with statistics that are not those of a fresh one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = cls(**options)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return model
