"""From items as data sets give them, one (input, target) pair after another, to tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pnnbench.data.arrays import as_tensor
from pnnbench.errors import UserError


def picture(image: Any) -> Tensor:
    """Makes a tensor of a PIL image.

    Args:
        image: The image. Palettes, transparency and other colour spaces become RGB.

    Returns:
        uint8 (1, H, W) of a grey or black and white image, (3, H, W) of one with colours; grey of
        more than 8 bits as it is.
    """
    from torchvision.transforms.functional import pil_to_tensor

    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    found: Tensor = pil_to_tensor(image)
    return found


def item_tensor(value: Any) -> Tensor:
    """Makes a tensor of an input or a target: a tensor, an array, a number or a PIL image."""
    from PIL.Image import Image

    if isinstance(value, Image):
        return picture(value)
    if isinstance(value, np.generic) and value.dtype == np.float64:
        value = np.asarray(value)
    return as_tensor(value)


def stacked(items: Iterable[Any], where: str) -> tuple[Tensor, Tensor]:
    """Stacks items to the tensors of a set, in their order.

    Args:
        items: Pairs of an input and a target; more than these two in an item is left out.
        where: What the items are, for messages.

    Returns:
        Inputs (N, ...) and targets (N, ...).

    Raises:
        UserError: If an item is no pair, items differ in shape or type, or there is none.
    """
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    for i, item in enumerate(items):
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise UserError(
                f"{where}: item {i} is a {type(item).__name__}",
                allowed="a pair of an input and a target",
            )
        try:
            x, y = item_tensor(item[0]), item_tensor(item[1])
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{where}: item {i} is no pair of numbers: {error}",
                allowed="tensors, NumPy arrays, numbers or PIL images",
            ) from None
        for kind, kept, value in (("input", inputs, x), ("target", targets, y)):
            if kept and (kept[0].shape != value.shape or kept[0].dtype != value.dtype):
                raise UserError(
                    f"{where}: the {kind} of item 0 is {kept[0].dtype} of shape "
                    f"{tuple(kept[0].shape)}, that of item {i} is {value.dtype} of shape "
                    f"{tuple(value.shape)}",
                    allowed="one shape and one data type",
                    next_step="bring all items to one size before, for example with a transform",
                )
            kept.append(value)
    if not inputs:
        raise UserError(f"{where} is empty", allowed="at least one item")
    return torch.stack(inputs), torch.stack(targets)
