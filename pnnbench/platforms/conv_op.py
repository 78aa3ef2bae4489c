"""A convolution with noise, an affine map, ReLU and pooling in one pass in C, built on demand.

Its oracle are the same steps in PyTorch, one after another. The source lies beside this file;
`native` compiles it on first use. ``PNNBENCH_COMPILE=0`` switches it off.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from pnnbench.platforms.native import load

_SOURCE = Path(__file__).with_name("conv_op.c")
#: Channels that the operation computes at once.
_LANES = 16


@functools.cache
def _library() -> ctypes.CDLL | str:
    """The loaded library, or why there is none."""
    library = load(_SOURCE)
    if isinstance(library, str):
        return library
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.conv_block.argtypes = [
        *(pointer, number, pointer, pointer, pointer, pointer, number, ctypes.c_float, pointer),
        *[number] * 9,
    ]
    library.conv_block.restype = ctypes.c_int
    return library


def missing() -> str:
    """Why the operation cannot be used here, empty if it can; builds it if need be."""
    library = _library()
    return library if isinstance(library, str) else ""


def conv_block(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    *,
    padding: int = 0,
    noise: Tensor | None = None,
    gain: float = 0.0,
) -> Tensor:
    """2 x 2 maximum pooling of relu(scale * (conv(x, weight) + gain * noise) + shift).

    All tensors are float32 on the CPU, without gradients; C conditions have a kernel each. Each
    output is summed in one order, whatever the number of conditions and images.

    Args:
        x: Inputs (C, B, channels, height, width); (1, B, ...) if all conditions have the same.
        weight: Kernels (C, outputs, channels, k, k).
        scale: Factor of each output channel (C, outputs).
        shift: What is added to it (C, outputs).
        padding: Zero padding in pixels.
        noise: (C, B, outputs, height', width') of the output before pooling, or (1, ...) for the
            same in all conditions; None for none.
        gain: Factor of the noise.

    Returns:
        (C, B, outputs, height' // 2, width' // 2); what is not a number stays so.

    Raises:
        RuntimeError: If the operation is not to be had.
        MemoryError: If there is no memory.
    """
    library = _library()
    if isinstance(library, str):
        raise RuntimeError(library)
    count, outputs, channels, kernel, _ = weight.shape
    groups = count
    # Lanes of all conditions side by side where they have the same inputs and noise.
    if len(x) == 1 and (noise is None or len(noise) == 1):
        groups, weight = 1, weight.flatten(0, 1)[None]
    used = count * outputs // groups
    spare = (0, -used % _LANES)
    kernels = F.pad(weight.permute(0, 2, 3, 4, 1), spare).contiguous()
    factors, added = (F.pad(t.reshape(groups, used), spare).contiguous() for t in (scale, shift))
    shown = F.pad(x, (padding,) * 4).contiguous()
    images, (height, width) = shown.shape[1], shown.shape[-2:]
    drawn = None if noise is None else noise.contiguous()
    rows, columns = height - kernel + 1, width - kernel + 1
    out = x.new_empty(count, images, outputs, rows // 2, columns // 2)
    failed = library.conv_block(
        *(shown.data_ptr(), len(shown), kernels.data_ptr(), factors.data_ptr(), added.data_ptr()),
        *((None, 1) if drawn is None else (drawn.data_ptr(), len(drawn))),
        *(float(gain), out.data_ptr(), groups, images, channels, height, width, kernel),
        *(used + spare[1], used, outputs),
    )
    if failed:
        raise MemoryError("convolution block: out of memory")
    return out
