"""The published network written out in plain tensors, and files in the released layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

SHAPES = {
    "conv1.weight": (6, 1, 5, 5),
    "conv2.weight": (16, 6, 5, 5),
    "fc1.weight": (120, 400),
    "fc2.weight": (84, 120),
    "fc3.weight": (10, 84),
    "norm1": 6,
    "norm2": 16,
    "norm3": 120,
    "norm4": 84,
}
GAMMA = 0.15


def lorentzian(x: torch.Tensor) -> torch.Tensor:
    return 1 - 2 / (1 + (x / GAMMA) ** 2)


def positive_branch(w: torch.Tensor) -> torch.Tensor:
    return GAMMA * torch.sqrt((1 + w) / (1 - w))


def random_model(seed: int, spread: float = 0.2) -> dict[str, np.ndarray]:
    """Random weights in (-1, 1) and batch-norm statistics, in the released layout."""
    rng = np.random.default_rng(seed)
    model: dict[str, np.ndarray] = {}
    for name, shape in SHAPES.items():
        if isinstance(shape, tuple):
            model[name] = np.tanh(spread * rng.standard_normal(shape))
            model[name.replace("weight", "bias")] = 0.1 * rng.standard_normal(shape[0])
        else:
            model[f"{name}.weight"] = rng.uniform(0.5, 1.5, shape)
            model[f"{name}.bias"] = 0.1 * rng.standard_normal(shape)
            model[f"{name}.running_mean"] = 0.1 * rng.standard_normal(shape)
            model[f"{name}.running_var"] = rng.uniform(0.5, 2.0, shape)
    model = {name: array.astype(np.float32) for name, array in model.items()}
    for name in ("norm1", "norm2", "norm3", "norm4"):
        model[f"{name}.num_batches_tracked"] = np.array(7)
    return model


def as_currents(model: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The same model as signed normalised currents with random signs, in float64."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.choice([-1.0, 1.0], array.shape)
        * positive_branch(torch.from_numpy(array).double()).numpy()
        if name in SHAPES
        else array
        for name, array in model.items()
    }


def write(path: Path, model: dict[str, np.ndarray]) -> Path:
    np.savez(path, **model)
    return path


def logits(
    currents: dict[str, torch.Tensor],
    model: dict[str, torch.Tensor],
    images: torch.Tensor,
    *,
    offset: float = 0.0,
    batch_statistics: bool = False,
    relu: bool = True,
) -> torch.Tensor:
    """Published network in float64; `offset` is added to the currents of fc2 and fc3."""

    def norm(name: str, h: torch.Tensor) -> torch.Tensor:
        mean, var = (model[f"{name}.{k}"].double() for k in ("running_mean", "running_var"))
        if batch_statistics:
            dims = [0, *range(2, h.dim())]
            mean, var = h.mean(dims), h.var(dims, correction=0)
        shape = (1, -1) + (1,) * (h.dim() - 2)
        h = (h - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        scale, shift = (model[f"{name}.{k}"].double().view(shape) for k in ("weight", "bias"))
        return h * scale + shift

    w = {
        name: lorentzian(x.double() + (offset if name in ("fc2", "fc3") else 0.0))
        for name, x in currents.items()
    }
    b = {name: model[f"{name}.bias"].double() for name in currents}
    act = torch.relu if relu else lambda h: h
    h = F.conv2d(images.double(), w["conv1"], b["conv1"], padding=2)
    h = F.max_pool2d(torch.relu(norm("norm1", h)), 2)
    h = F.conv2d(h, w["conv2"], b["conv2"])
    h = F.max_pool2d(torch.relu(norm("norm2", h)), 2).flatten(1)
    h = act(norm("norm3", F.linear(h, w["fc1"], b["fc1"])))
    h = act(norm("norm4", F.linear(h, w["fc2"], b["fc2"])))
    return F.linear(h, w["fc3"], b["fc3"])
