"""The Hessian of a workload's task loss with respect to its controls, one product at a time.

Always the deployed model: one device, by default the ideal one, evaluation mode, no shot noise.
`deployed` sets that up and puts everything back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError, check_range
from pnnbench.evaluation.lanczos import ROUNDING
from pnnbench.evaluation.second_derivatives import cheap_second_derivatives
from pnnbench.evaluation.task_loss import task_loss
from pnnbench.platforms.base import Device
from pnnbench.workloads.base import Workload


@contextmanager
def deployed(
    workload: Workload, device: Device | None = None, *, digital: bool = False
) -> Iterator[None]:
    """Puts a workload into the state in which sharpness is defined, and back.

    Inside: evaluation mode, one device, no parameter asks for a gradient. Afterwards modes,
    gradients, parameters, buffers, `requires_grad` flags, operations, the count of gradient
    evaluations and torch's random state are what they were, to the bit.

    Args:
        workload: The workload to measure.
        device: The device to operate it on, in its nominal environment; None is the ideal one.
        digital: Whether the physical layers are the digital model that is trained, where a
            platform's hardware is finer than that; see `PhysicalLayer.deployed`.

    Yields:
        None.

    Raises:
        UserError: If the device is not one of this workload.
    """
    modes = [(m, m.training) for m in workload.modules()]
    flags = [(p, p.requires_grad, p.grad) for p in workload.parameters()]
    grads = [(g, g.detach().clone()) for _, _, g in flags if g is not None]
    values = [(t, t.detach().clone()) for t in (*workload.parameters(), *workload.buffers())]
    operations = [(layer, layer.operation) for layer in workload.layers().values()]
    evaluations = workload.gradient_evaluations
    cuda = sorted({p.device.index or 0 for p in workload.parameters() if p.is_cuda})
    try:
        with torch.random.fork_rng(devices=cuda):
            workload.eval()
            for p, _, _ in flags:
                p.requires_grad_(False)
            for layer, _ in operations:
                layer.operation = None
                layer.train(digital)
            with nullcontext() if device is None else workload.operating(device):
                yield
    finally:
        with torch.no_grad():
            for t, value in (*values, *grads):
                if not _same_bits(t, value):
                    t.copy_(value)
        for p, flag, grad in flags:
            p.requires_grad_(flag)
            p.grad = grad
        for m, training in modes:
            m.training = training
        for layer, operation in operations:
            layer.operation = operation
        workload.gradient_evaluations = evaluations


#: Memory for the gradient graph of one chunk of images, in bytes.
GRAPH_BYTES = 2e9
#: Images of a chunk, at most, but where the weights' own graph is large beside that of the images.
CHUNK = 250
#: Memory for the images of such a chunk, in multiples of that for the weights: a mesh is built anew
#: for each chunk, and with chunks of `CHUNK` that is nine tenths of a product.
_BESIDE_WEIGHTS = 8


def fitting_chunk(workload: Workload, images: Tensor, labels: Tensor) -> int:
    """How many images' gradient graph fits into `GRAPH_BYTES`, at least one.

    At most `CHUNK`, or as many as take `_BESIDE_WEIGHTS` times the memory of what is the same for
    all images, the weights as a function of the controls.

    It follows the shapes alone, so that it is the same on every machine.

    Args:
        workload: Inside `deployed`.
        images: Images (N, ...), of which the first ones are passed through.
        labels: Their targets (N, ...).
    """
    if len(images) < 4:
        return CHUNK
    try:
        two, four = (
            ControlHessian(workload, images[:n], labels[:n], chunk=n).graph_bytes() for n in (2, 4)
        )
    except Exception:  # no second derivative: what needs it says so itself
        return CHUNK
    each = (four - two) / 2
    if each <= 0.0:
        return CHUNK
    weights = two - 2 * each
    most = max(CHUNK, _BESIDE_WEIGHTS * weights / each)
    return int(min(most, max(1.0, (GRAPH_BYTES - weights) // each)))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    left, right = (t.detach().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(left, right)


@dataclasses.dataclass(frozen=True)
class _Graph:
    """Loss of one chunk and its gradient with respect to leaves that stand for the controls."""

    loss: Tensor
    gradient: list[Tensor]
    variables: list[Tensor]


class ControlHessian:
    """Mean task loss over images as a function of the controls: values, gradients, products.

    Images are streamed in chunks whose losses are weighted by their size, so that no figure
    depends on the chunk beyond rounding. Products are exact (double backward; on a CPU faster than
    forward-over-reverse for these networks), in the precision of the controls but for the loss,
    which is taken in float64 like the sums; see `task_loss`.
    Vectors are flat: the controls one after another in the order of `Workload.controls`.

    Args:
        workload: Inside `deployed`.
        images: Images (N, ...), N at least 1.
        labels: Targets (N, ...).
        chunk: Images per pass.
        scale: Multiplies the outputs before the loss.
        keep_bytes: Memory for gradient graphs kept from one product to the next, which makes a
            product about 1.4 times faster; the chunks that do not fit are computed anew.
        plain: Whether products go through torch's own operations throughout, which
            `cheap_second_derivatives` is held against.

    Attributes:
        size: Number of controls.
        at: Values of the controls (size,), float64.
        products: Number of products taken so far.
        rounding: Rounding error of a product relative to the norm of the Hessian: `ROUNDING` units
            in the last place of the controls.
    """

    def __init__(
        self,
        workload: Workload,
        images: Tensor,
        labels: Tensor,
        *,
        chunk: int = CHUNK,
        scale: float = 1.0,
        keep_bytes: float = GRAPH_BYTES,
        plain: bool = False,
    ) -> None:
        check_range("chunk", chunk, low=1, high=1e9)
        check_range("scale", scale, low=0.0, high=1e6, low_open=True)
        if len(images) == 0 or len(images) != len(labels):
            raise UserError(
                f"{len(images)} images and {len(labels)} labels do not make a sample",
                allowed="as many labels as images, at least one",
            )
        self.workload = workload
        self.controls: dict[str, nn.Parameter] = workload.controls()
        self.device = next(iter(self.controls.values())).device
        # On the workload's device, so that the chunks stay where they are.
        self.images = workload.in_precision(images).to(self.device)
        self.labels = labels.to(self.device)
        self._prefixes: dict[tuple[int, int], Tensor] = {}
        self.chunk = chunk
        self.scale = scale
        self.size = sum(p.numel() for p in self.controls.values())
        self.at = torch.cat([p.detach().flatten().double() for p in self.controls.values()])
        self.products = 0
        dtypes = {p.dtype for p in self.controls.values()}
        self.rounding = ROUNDING * max(torch.finfo(dtype).eps for dtype in dtypes)
        self.keep_bytes = keep_bytes
        self.plain = plain
        self._kept: dict[int, _Graph] = {}
        self._graph_bytes: int | None = None

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Splits a flat vector (size,) into tensors shaped and typed like the controls."""
        parts = vector.split([p.numel() for p in self.controls.values()])
        return {
            name: part.view_as(p).to(p.dtype)
            for (name, p), part in zip(self.controls.items(), parts, strict=True)
        }

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields images and labels chunk by chunk, on the workload's device."""
        yield from zip(self.images.split(self.chunk), self.labels.split(self.chunk), strict=True)

    def _inputs(self, x: Tensor) -> Tensor:
        """Inputs of the first physical layer: no control enters them, so they are kept."""
        key = (x.data_ptr(), len(x))
        if key not in self._prefixes:
            with torch.no_grad():
                self._prefixes[key] = self.workload.prefix(x)
        return self._prefixes[key]

    def _loss(self, controls: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = self.workload.physical(self._inputs(x), controls)
        if self.scale != 1.0:
            outputs = outputs * self.scale
        return task_loss(self.workload, outputs, (x, y))

    def _graph(self, at: Tensor, x: Tensor, y: Tensor, create_graph: bool) -> _Graph:
        leaves = {n: t.detach().clone().requires_grad_() for n, t in self.unflatten(at).items()}
        variables = list(leaves.values())
        cheap = create_graph and not self.plain
        network = self.workload.network
        quick = cheap_second_derivatives(network) if cheap else nullcontext()
        with torch.enable_grad(), quick:
            loss = self._loss(leaves, x, y)
            gradient = torch.autograd.grad(
                loss, variables, create_graph=create_graph, materialize_grads=True
            )
        return _Graph(loss.detach(), list(gradient), variables)

    @torch.no_grad()
    def value(self, at: Tensor | None = None) -> float:
        """Mean loss at flat controls (size,), by default the present ones."""
        controls = self.unflatten(self.at if at is None else at)
        total = sum(len(x) * self._loss(controls, x, y).double() for x, y in self.chunks())
        return float(total) / len(self.images)

    def value_and_gradient(self, at: Tensor | None = None) -> tuple[float, Tensor]:
        """Mean loss and its gradient (size,) at flat controls (size,), by default the present."""
        at = self.at if at is None else at
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        gradient = torch.zeros_like(self.at)
        for x, y in self.chunks():
            graph = self._graph(at, x, y, create_graph=False)
            total += len(x) * graph.loss.double()
            gradient += len(x) * torch.cat([g.flatten() for g in graph.gradient])
        return float(total) / len(self.images), gradient / len(self.images)

    def graph_bytes(self) -> int:
        """Memory that the gradient graph of one chunk holds, counted tensor by tensor."""
        if self._graph_bytes is None:
            x, y = next(self.chunks())
            held: list[Tensor] = []  # until all are counted: no memory is there twice

            def count(t: Tensor) -> Tensor:
                held.append(t.detach())
                return held[-1]  # a saved output would keep the graph that it is an output of

            with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
                self._graph(self.at, x, y, create_graph=True)
            storages = (t.untyped_storage() for t in held)
            self._graph_bytes = sum({s.data_ptr(): s.nbytes() for s in storages}.values())
        return self._graph_bytes

    def release(self) -> None:
        """Frees the kept graphs; the next product builds them again."""
        self._kept.clear()

    def _chunk_product(self, index: int, parts: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        graph = self._kept.get(index)
        keep = graph is not None or (index + 1) * self.graph_bytes() <= self.keep_bytes
        if graph is None:
            graph = self._graph(self.at, x, y, create_graph=True)
        if keep:
            self._kept[index] = graph
        pairs = [(g, v) for g, v in zip(graph.gradient, parts, strict=True) if g.requires_grad]
        if not pairs:
            return torch.zeros(self.size, device=self.device)
        product = torch.autograd.grad(
            [g for g, _ in pairs],
            graph.variables,
            [v for _, v in pairs],
            retain_graph=keep,
            materialize_grads=True,
        )
        return torch.cat([p.flatten() for p in product])

    def product(self, vector: Tensor) -> Tensor:
        """Hessian of the mean loss times a flat vector (size,), float64."""
        return self.product_and_quotients(vector)[0]

    def product_and_quotients(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A product, and how it varies over the images.

        Args:
            vector: Flat vector (size,).

        Returns:
            The product (size,); ``v' H_c v`` for the Hessian of each chunk (chunks,); the number
            of images in each chunk (chunks,). The last two are float64.
        """
        parts = list(self.unflatten(vector).values())
        total = torch.zeros_like(self.at)
        quotients, counts = [], []
        for index, (x, y) in enumerate(self.chunks()):
            h = self._chunk_product(index, parts, x, y).double()
            quotients.append(vector @ h)
            counts.append(float(len(x)))
            total += len(x) * h
        self.products += 1
        return total / len(self.images), torch.stack(quotients).cpu(), torch.tensor(counts).double()
