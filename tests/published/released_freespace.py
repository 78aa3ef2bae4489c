"""The published free-space network on torchvision's warp, and files in the released layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import affine

CELL_ROWS, CELL_COLUMNS = 32, 30


def random_model(seed: int) -> dict[str, np.ndarray]:
    """Random weights in (-1, 1) and biases, in the released layout."""
    rng = np.random.default_rng(seed)
    model = {
        "fc1__weight": np.tanh(0.1 * rng.standard_normal((144, 784))),
        "fc1__bias": 0.1 * rng.standard_normal(144),
        "fc2__weight": np.tanh(0.5 * rng.standard_normal((10, 144))),
        "fc2__bias": 0.1 * rng.standard_normal(10),
    }
    return {name: array.astype(np.float32) for name, array in model.items()}


def warped(weight: Tensor, **misalignment: Any) -> Tensor:
    """Weights that the light meets: shown on the modulator, moved, read at every second column."""
    outputs, inputs = weight.shape
    side = int(inputs**0.5)
    row, column = (CELL_ROWS - side) // 2, (CELL_COLUMNS - side) // 2
    shown = torch.zeros(-(-outputs // 12), 3 * CELL_ROWS, 4 * CELL_COLUMNS)
    places = []
    for k in range(outputs):
        top = k % 12 // 4 * CELL_ROWS + row
        left = k % 4 * CELL_COLUMNS + column
        places.append((k // 12, slice(top, top + side), slice(left, left + side)))
        shown[places[-1]] = weight[k].view(side, side)
    shown = shown.repeat_interleave(2, dim=-1)
    moved = affine(
        shown[:, None],
        angle=misalignment.get("rotation_deg", 0.0),
        translate=[misalignment.get("shift_x_px", 0.0), misalignment.get("shift_y_px", 0.0)],
        scale=misalignment.get("scale", 1.0),
        shear=[0.0, 0.0],
    )[:, 0, :, ::2]
    return torch.stack([moved[place].flatten() for place in places])


def outputs(
    model: dict[str, np.ndarray], images: Tensor, first: dict[str, Any], second: dict[str, Any]
) -> Tensor:
    """Logits (N, 10) with each layer's misalignment, for normalised images."""
    w = {name: torch.from_numpy(array) for name, array in model.items()}
    h = images.flatten(1) @ warped(w["fc1__weight"], **first).T + w["fc1__bias"]
    return torch.sigmoid(h) @ warped(w["fc2__weight"], **second).T + w["fc2__bias"]
