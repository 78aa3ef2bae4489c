"""PyHessian as a well-behaved engine: the eigenvalue of largest magnitude by power iteration.

PyHessian 0.1 takes every parameter that asks for a gradient, leaves the model in evaluation mode,
drops stored gradients, draws from torch's global generator, assumes CUDA and warns about its own
reference cycles. This wrapper keeps all of that inside. What it cannot change: the value is the
eigenvalue of largest magnitude, whatever its sign, and power iteration approaches it from inside.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping

import torch
from pyhessian import hessian as pyhessian_hessian
from torch import Tensor, nn

from pnnbench.errors import UserError, check_range
from pnnbench.evaluation.hessian import deployed
from pnnbench.evaluation.task_loss import task_loss
from pnnbench.platforms.base import Device
from pnnbench.workloads.base import Workload


@dataclasses.dataclass(frozen=True)
class PyHessianResult:
    """What PyHessian found.

    Attributes:
        value: Signed eigenvalue of largest magnitude.
        images: Number of images.
        products: Number of Hessian-vector products taken.
        converged: Whether it stopped by its tolerance rather than by its limit.
    """

    value: float
    images: int
    products: int
    converged: bool


class _Chunks:
    """A data loader of fixed chunks that counts how often it is passed through."""

    def __init__(self, images: Tensor, labels: Tensor, chunk: int) -> None:
        self.pairs = list(zip(images.split(chunk), labels.split(chunk), strict=True))
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        return iter(self.pairs)


class _Recorder(nn.Module):
    """The workload as PyHessian sees it; keeps the inputs for losses that compare with them."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.workload = workload
        self.inputs = torch.empty(0)

    def train(self, mode: bool = True) -> _Recorder:
        """Leaves the modes as they are: PyHessian asks for evaluation, which deploys a network."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.inputs = x
        return self.workload(x)

    def criterion(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return task_loss(self.workload, outputs, (self.inputs, labels))


def _check_used(model: _Recorder, parameters: Mapping[str, nn.Parameter], chunks: _Chunks) -> None:
    """Raises a UserError if the loss does not depend on one of the parameters."""
    x, y = chunks.pairs[0]
    with torch.enable_grad():
        loss = model.criterion(model(x[:2]), y[:2])
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    unused = [n for n, g in zip(parameters, gradients, strict=True) if g is None]
    if unused:
        raise UserError(
            f"the loss does not depend on {', '.join(unused)}",
            allowed="parameters that take part in the forward pass",
            next_step="leave them out of the parameters given to PyHessian",
        )


def pyhessian_eigenvalue(
    workload: Workload,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    chunk: int = 250,
    parameters: Mapping[str, nn.Parameter] | None = None,
    tol: float = 1e-4,
    max_products: int = 100,
    device: Device | None = None,
) -> PyHessianResult:
    """Runs PyHessian on the task loss of a workload on one device: evaluation mode, no noise.

    Args:
        workload: The workload; afterwards it is what it was, to the bit.
        images: Images (N, ...), on any device.
        labels: Targets (N, ...).
        seed: Seed of the start vector.
        chunk: Images per pass. PyHessian draws its start vector only, so that the value does not
            depend on the chunk beyond rounding.
        parameters: Parameters of the workload by name; None takes the controls.
        tol: Relative change between two iterations at which it stops. The error is of this order
            where the leading eigenvalues are well separated, and larger where they are not.
        max_products: Most products, at least 2.
        device: The device to operate the workload on; None is the ideal one, of the digital model.

    Returns:
        The signed eigenvalue of largest magnitude and what it cost.

    Raises:
        UserError: If an argument is out of range, or a parameter does not enter the loss.
    """
    check_range("tol", tol, low=0.0, high=1.0)
    check_range("max_products", max_products, low=2, high=1e6)
    check_range("chunk", chunk, low=1, high=1e9)
    chosen = dict(workload.controls() if parameters is None else parameters)
    if not chosen or len(images) == 0 or len(images) != len(labels):
        raise UserError(
            f"{len(chosen)} parameters, {len(images)} images and {len(labels)} labels",
            allowed="at least one parameter, and as many labels as images, at least one",
        )
    hardware = next(iter(chosen.values())).device
    with deployed(workload, device, digital=device is None), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
        torch.manual_seed(seed)  # inside the forked random state of `deployed`
        for p in workload.parameters():
            p.grad = None
        for p in chosen.values():
            p.requires_grad_(True)
        model = _Recorder(workload)
        chunks = _Chunks(images.to(hardware), labels.to(hardware), int(chunk))
        _check_used(model, chosen, chunks)
        with torch.enable_grad():
            engine = pyhessian_hessian(
                model, model.criterion, dataloader=chunks, cuda=hardware.type == "cuda"
            )
            values, _ = engine.eigenvalues(maxIter=max_products, tol=tol, top_n=1)
        for p in chosen.values():
            p.grad = None
    return PyHessianResult(
        value=float(values[0]),
        images=len(images),
        products=chunks.passes,
        converged=chunks.passes < max_products,
    )
