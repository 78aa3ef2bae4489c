"""States of workloads, and a short training."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from pnnbench.data import DataModule, load
from pnnbench.methods.base import TrainingMethod
from pnnbench.running.training import TrainingData, quiet
from pnnbench.workloads.base import Workload


def state(workload: Workload) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in workload.network.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


def fit(workload: Workload, *methods: TrainingMethod) -> None:
    with quiet():
        pl.Trainer(
            max_epochs=1,
            callbacks=list(methods),
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(workload, datamodule=TrainingData(DataModule(load("digits"), limit_train=64)))
