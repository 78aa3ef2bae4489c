"""Where tensors are computed, and in which precision: the one place that names devices.

Draws are made on the CPU, whatever the device: devices, noise, order and initial values are the
same on all of them. The device is provenance and no part of a job's hash; the precision of the
training is, if it is not single.

On a GPU float32 is float32: the shortened products of its tensor cores are off. Operations are
the deterministic ones where there are any; the others say so in a warning and go on.
"""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pnnbench.errors import UserError, check_kind, unknown_name

if TYPE_CHECKING:
    import torch
    from torch import nn

#: What can be asked for. ``"auto"`` is the CPU unless the workload says that it gains from a GPU
#: and there is one.
ACCELERATORS = ("auto", "cpu", "cuda")
#: Precision of the training: single, or mixed with bfloat16 or float16 (a GPU only).
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
#: The usual one, which is no part of a job's hash.
SINGLE = "32"
#: Without it the products of a GPU follow how many streams share its workspace.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def check_accelerator(name: str, where: str = "accelerator") -> str:
    """Returns one of `ACCELERATORS`.

    Args:
        name: What was asked for.
        where: What it is called there.

    Raises:
        UserError: If it is none of them, or a GPU that is not there.
    """
    check_kind(where, name, str, allowed=", ".join(ACCELERATORS))
    if name not in ACCELERATORS:
        raise unknown_name("accelerator", name, ACCELERATORS, where=where)
    if name == "cuda":
        _require_gpu(where)
    return name


def check_precision(name: Any, where: str = "precision") -> str:
    """Returns one of `PRECISIONS`; the number 32 will do as well.

    Args:
        name: What was asked for.
        where: What it is called there.

    Raises:
        UserError: If it is none of them.
    """
    name = SINGLE if name == 32 and not isinstance(name, bool) else name
    check_kind(where, name, str, allowed=", ".join(PRECISIONS))
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS, where=where)
    return str(name)


def _require_gpu(where: str) -> None:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        raise UserError(
            f"{where} is 'cuda', and torch {torch.__version__} finds no GPU"
            + ("" if built else ": it is built without CUDA"),
            allowed="cpu, or auto for the CPU where there is no GPU",
            next_step="nvidia-smi shows the GPUs of this machine"
            if built
            else "install a build of torch with CUDA",
        )


def choose(
    accelerator: str = "auto", *, gains: bool = False, precision: str = SINGLE
) -> torch.device:
    """Chooses the device of a piece of work, and sets torch up for it.

    Args:
        accelerator: One of `ACCELERATORS`.
        gains: Whether the work gains from a GPU; see `pnnbench.workloads.base.Workload`.
        precision: That of the training.

    Returns:
        The device: that of CUDA that is the first to be seen (``CUDA_VISIBLE_DEVICES``), or the
        CPU.

    Raises:
        UserError: If a name is unknown, there is no GPU and one was asked for, or the precision is
            one that the CPU has not.
    """
    import torch

    check_accelerator(accelerator)
    check_precision(precision)
    if accelerator == "cuda" or (accelerator == "auto" and gains and torch.cuda.is_available()):
        _set_up_cuda()
        return torch.device("cuda", 0)
    if precision == "16-mixed":
        raise UserError(
            "precision is '16-mixed' on the CPU",
            allowed=", ".join(p for p in PRECISIONS if p != precision),
            next_step="ask for a GPU: --accelerator cuda",
        )
    return torch.device("cpu")


def _set_up_cuda() -> None:
    """Makes CUDA compute what it says, and the same each time. Before its first product."""
    import torch

    os.environ.setdefault(*_WORKSPACE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 has new names for these and warns of the old
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # No operation here reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device


def on_cpu(device: torch.device) -> bool:
    """Whether a device is the CPU, for which alone there are operations in C."""
    return device.type == "cpu"


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Context in which nothing is cast to a shorter precision, whatever the training has.

    Args:
        device: Where it is computed; one that has no mixed precision needs nothing.
    """
    import torch

    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def optimizer_to(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Puts what an optimiser remembers where its parameters are.

    An optimiser that is none of the Trainer's stays where it was when the network moves.

    Args:
        optimizer: The optimiser.
        device: Where its parameters are. The count of steps stays on the CPU, as torch has it.
    """
    for state in optimizer.state.values():
        for name, value in state.items():
            if hasattr(value, "to") and name != "step":
                state[name] = value.to(device)


def describe(device: torch.device, precision: str = SINGLE) -> dict[str, Any]:
    """Device and precision as plain values, for a record; empty for single precision on the CPU.

    Args:
        device: Where it was computed.
        precision: That of the training.
    """
    import torch

    found: dict[str, Any] = {} if precision == SINGLE else {"training_precision": precision}
    if device.type == "cuda":
        found |= {
            "device": "cuda",
            "gpu": torch.cuda.get_device_name(device),
            "gpu_capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
            "cuda": str(torch.version.cuda),
            "cudnn": int(torch.backends.cudnn.version() or 0),
            "tf32": False,
        }
    return found


def synchronised(device: torch.device) -> None:
    """Waits for a GPU to be done, so that a clock read after it tells of its work."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def count_gpu_memory(device: torch.device) -> None:
    """Begins to count the most memory on a GPU: what jobs before it took is no cost of a job."""
    if device.type == "cuda":
        import torch

        torch.cuda.init()  # in a process that has not used the GPU there is nothing to reset
        torch.cuda.reset_peak_memory_stats(device)


def peak_gpu_memory(device: torch.device) -> dict[str, int]:
    """The most memory that tensors of this process have had on a GPU, for a record's cost.

    Counted since `count_gpu_memory`; empty for the CPU.
    """
    if device.type != "cuda":
        return {}
    import torch

    return {"peak_gpu_memory_bytes": int(torch.cuda.max_memory_allocated(device))}
