"""Dual adaptive training: networks that predict the hardware's systematic error, fused states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pnnbench.accelerator import optimizer_to, without_autocast
from pnnbench.errors import UserError, check_count, check_range
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.draws import Draws
from pnnbench.methods.laws import Law, LawOf, Rule
from pnnbench.methods.pat import check_placement, straight_through
from pnnbench.methods.sepn import SEPNs
from pnnbench.methods.trainer_options import accumulated_batches
from pnnbench.platforms.base import PhysicalLayer, Tap, derive_seed, tapped
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Access, Batch, Workload
from pnnbench.workloads.hardware import Measurement

#: Channel widths of the published error-prediction networks, with about 10,000 and 4,000 complex
#: parameters.
SIZES = {"10k": (4, 8, 16), "4k": (4, 6, 8)}


def power(field: Tensor) -> Tensor:
    """Power of complex fields."""
    return field.real.square() + field.imag.square()


def fuse(field: Tensor, measured: Tensor) -> Tensor:
    """State fusion: the measured amplitude with the simulated phase.

    Args:
        field: Simulated complex fields (B, n).
        measured: Measured powers (B, n); readings below zero count as dark.

    Returns:
        Fields of that value with the gradient of the simulated ones, so that a power behind them
        is differentiated at the fused field.
    """
    with torch.no_grad():
        fused = torch.polar(measured.clamp(min=0.0).sqrt(), field.angle())
    return straight_through(field, fused)


def _replaced(powers: Tensor, values: Mapping[str, Tensor], name: str) -> Tensor:
    """Powers that keep their gradient and take the values kept under that name."""
    return straight_through(powers, values[name])


class DAT(TrainingMethod):
    """Dual adaptive training with measurements at the outputs.

    Networks that predict the systematic error (SEPNs) stand behind every mesh, E + c · SEPN(E), and
    learn to make the digital model agree with the device. The task is trained on fused states: the
    measured amplitude with the simulated phase. In the first phase the SEPNs learn and stay out of
    the task pass (c = 0); in the second they stand in it (c = 1) and learn on only if asked to.
    They are never deployed.

    Args:
        count: Parallel SEPNs behind each mesh.
        size: Of an SEPN: ``"10k"`` or ``"4k"`` complex parameters.
        batch_norm: Whether the SEPNs have batch normalisation.
        first_phase: Share of the training steps in the first phase, in [0, 1].
        keep_learning: Whether the SEPNs learn in the second phase too.
        lr_sepn: Learning rate of the SEPNs' own Adam, > 0; it decays like the others.
        placement: ``"output"`` differentiates the digital normalisation at simulated powers, as
            published, ``"read-out"`` at measured ones.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.

    Attributes:
        sepns: Layer name -> SEPNs; empty until attached to a workload.
    """

    access: ClassVar[Access] = "in_situ"
    chosen_by: ClassVar[Rule] = "own device"
    laws: ClassVar[Mapping[str, LawOf]] = MappingProxyType({"lr_sepn": Law(1e-4, 0.1, most=100.0)})
    source = "Zheng et al., Nature Machine Intelligence 5, 1119 (2023)"

    def __init__(
        self,
        count: int = 6,
        size: str = "10k",
        batch_norm: bool = True,
        first_phase: float = 1 / 3,
        keep_learning: bool = False,
        lr_sepn: float = 1e-3,
        placement: str = "output",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(lr, lr_digital, optimizer)
        self.count = check_count("count", count, low=1, high=100)
        if size not in SIZES:
            raise UserError(f"size is {size!r}", allowed=", ".join(SIZES))
        self.size = size
        self.batch_norm = bool(batch_norm)
        self.first_phase = check_range("first_phase", first_phase, low=0.0, high=1.0)
        self.keep_learning = bool(keep_learning)
        self.lr_sepn = check_range("lr_sepn", lr_sepn, low=0.0, high=100.0, low_open=True)
        self.placement = check_placement(placement)
        self.sepns = nn.ModuleDict()
        self._optimizer: torch.optim.Optimizer | None = None
        self._batches: int | None = None  # of the whole training, in a Trainer

    @classmethod
    def supports(cls, workload: Workload) -> bool:
        """Whether every physical layer gives complex fields on a number of ports."""
        return all(layer.n_fields for layer in workload.layers().values())

    def attach(self, workload: Workload) -> None:
        """Makes new SEPNs, from the method's own seed."""
        super().attach(workload)
        self._batches = None
        self.sepns = nn.ModuleDict()
        dtype = next(workload.network.parameters()).dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("sepn", self.seed))
            for name, layer in workload.layers().items():
                ports = int(layer.n_fields or 0)
                made = SEPNs(ports, self.count, SIZES[self.size], self.batch_norm)
                self.sepns[name.replace(".", "/")] = made.to(dtype)
        self._optimizer = torch.optim.Adam(self.sepns.parameters(), lr=self.lr_sepn)

    def configure_optimizers(self, workload: Workload) -> dict[str, Any]:
        """Optimiser of the task; the SEPNs have their own.

        Raises:
            UserError: If the phases need the number of batches and the Trainer does not know it.
        """
        steps = self.total_steps(workload, "first_phase, a share of the training,")
        trainer = workload.trainer
        self._batches = steps * accumulated_batches(trainer)
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            # The last batches of an epoch may be less than a step accumulates.
            batches = int(trainer.num_training_batches) * trainer.max_epochs
            self._batches = min(self._batches, batches)
        self.sepns.to(workload.device, next(workload.network.parameters()).dtype)
        if self._optimizer is not None:
            optimizer_to(self._optimizer, workload.device)
        return super().configure_optimizers(workload)

    @property
    def in_first_phase(self) -> bool:
        """Whether the SEPNs stay out of the task pass."""
        return self._batches is None or self.calls <= self.first_phase * self._batches

    def _sepn(self, layer: str) -> SEPNs:
        found = self.sepns[layer.replace(".", "/")]
        assert isinstance(found, SEPNs)  # noqa: S101 - for the type checker
        return found

    def measured_powers(self, workload: Workload, measurement: Measurement) -> dict[str, Tensor]:
        """Layer name -> measured power (B, n) behind it, where it is measured."""
        return dict(measurement.read_outs)

    @contextmanager
    def _predicting(
        self,
        workload: Workload,
        keep: dict[str, Tensor] | None = None,
        then: Mapping[str, Tap] | None = None,
        read_outs: Mapping[str, Tap] | None = None,
        *,
        c: bool = True,
    ) -> Iterator[None]:
        """Context in which SEPNs stand behind the meshes; keeps the powers behind them."""

        def tap(name: str) -> Callable[[Tensor], Tensor]:
            def field_tap(field: Tensor) -> Tensor:
                if c:
                    field = field + self._sepn(name)(field)
                if keep is not None:
                    keep[name] = power(field)
                return field if then is None or name not in then else then[name](field)

            return field_tap

        fields = {name: tap(name) for name in workload.layers()}
        with tapped(workload.network, fields=fields, read_outs=read_outs):
            yield

    def sepn_losses(
        self, workload: Workload, h: Tensor, measurement: Measurement
    ) -> Iterator[Tensor]:
        """Losses of the SEPNs, each of which gets a step of its own.

        Args:
            workload: The workload.
            h: What `Workload.prefix` gives (B, ...), without gradient.
            measurement: What the hardware gave.

        Yields:
            Mean squared error of the outputs.
        """
        with self._predicting(workload):
            outputs = workload.physical(h, self._frozen(workload))
        yield F.mse_loss(outputs, measurement.outputs)

    @staticmethod
    def _frozen(workload: Workload) -> dict[str, Tensor]:
        everything = {**workload.controls(), **workload.digital_parameters()}
        return {name: p.detach() for name, p in everything.items()}

    def train_sepns(self, workload: Workload, h: Tensor, measurement: Measurement) -> None:
        """One step of the SEPNs' own optimiser for each of their losses."""
        assert self._optimizer is not None  # noqa: S101 - made when attached
        progress = 0.0 if not self._batches else min(1.0, (self.calls - 1) / self._batches)
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr_sepn * self.decay(progress)
        parameters = list(self.sepns.parameters())
        self.sepns.train()
        with workload.extra_pass(), without_autocast(h.device):
            for loss in self.sepn_losses(workload, h, measurement):
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                for p, g in zip(parameters, gradients, strict=True):
                    p.grad = g
                self._optimizer.step()
                self._optimizer.zero_grad(set_to_none=True)
        self.sepns.eval()

    def loss(self, workload: Workload, batch: Batch) -> Tensor:
        """Task loss at fused states; the SEPNs learn from the same measurement before."""
        h = workload.prefix(batch[0])
        draws = Draws(workload)  # all passes of a batch drop the same
        with draws.again():
            measurement = self.hardware.measure(h)
        several = [name for name, uses in measurement.uses.items() if len(uses) > 1]
        if several:
            raise UserError(
                f"{type(self).__name__} fuses the one reading of each layer, and "
                f"{', '.join(several)} are used several times in a pass",
                next_step="pat, nat-in-situ or sat-in-situ take the uses one by one",
            )
        first = self.in_first_phase
        if first or self.keep_learning:
            with draws.again():
                self.train_sepns(workload, h.detach(), measurement)
        measured = self.measured_powers(workload, measurement)
        simulated: dict[str, Tensor] = {}
        fusing = {name: partial(fuse, measured=powers) for name, powers in measured.items()}
        read_outs: dict[str, Tap] = {}
        if self.placement == "output":  # back to simulated powers behind the fused field
            for name in measurement.read_outs:
                read_outs[name] = partial(_replaced, values=simulated, name=name)
        self.sepns.eval().requires_grad_(False)
        try:
            with self._predicting(workload, simulated, fusing, read_outs, c=not first):
                outputs = workload.physical(h)
        finally:
            self.sepns.requires_grad_(True)
        return workload.loss(straight_through(outputs, measurement.outputs), batch)

    def state_dict(self) -> dict[str, Any]:
        """Adds the SEPNs and their optimiser."""
        state = super().state_dict()
        if self._optimizer is not None:
            state["sepns"] = {k: v.detach().clone() for k, v in self.sepns.state_dict().items()}
            state["optimizer"] = self._optimizer.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the SEPNs and their optimiser."""
        super().load_state_dict(state_dict)
        if self._optimizer is not None:
            self.sepns.load_state_dict(state_dict["sepns"])
            self._optimizer.load_state_dict(state_dict["optimizer"])


class DATInternal(DAT):
    """Dual adaptive training with measurements of internal states too.

    States are fused behind every mesh. SEPNs learn from internal planes: ``"unitary"`` adds the
    errors of the normalised powers behind every mesh to the loss of the outputs; ``"separable"``
    gives each mesh the measured complex field at its input and trains its SEPNs alone, an
    idealisation, since a photodiode measures no phase; ``"both"`` does the second, then the first.

    Args:
        states: ``"unitary"``, ``"separable"`` or ``"both"``.
        count: Parallel SEPNs behind each mesh.
        size: Of an SEPN: ``"10k"`` or ``"4k"`` complex parameters.
        batch_norm: Whether the SEPNs have batch normalisation.
        first_phase: Share of the training steps in the first phase, in [0, 1].
        keep_learning: Whether the SEPNs learn in the second phase too.
        lr_sepn: Learning rate of the SEPNs' own Adam, > 0.
        placement: ``"output"`` or ``"read-out"``; see DAT.
        lr: Peak learning rate of the control parameters; see TrainingMethod.
        lr_digital: Peak learning rate of the digital parameters.
        optimizer: ``"adam"`` or ``"sgd"``.
    """

    access: ClassVar[Access] = "in_situ_internal"

    def __init__(
        self,
        states: str = "unitary",
        count: int = 6,
        size: str = "10k",
        batch_norm: bool = True,
        first_phase: float = 1 / 3,
        keep_learning: bool = False,
        lr_sepn: float = 1e-3,
        placement: str = "output",
        lr: Amount = 0.1,
        lr_digital: float = 1e-3,
        optimizer: str = "adam",
    ) -> None:
        super().__init__(
            count,
            size,
            batch_norm,
            first_phase,
            keep_learning,
            lr_sepn,
            placement,
            lr,
            lr_digital,
            optimizer,
        )
        if states not in ("unitary", "separable", "both"):
            raise UserError(f"states is {states!r}", allowed="unitary, separable, both")
        self.states = states

    def measured_powers(self, workload: Workload, measurement: Measurement) -> dict[str, Tensor]:
        """Adds the powers behind meshes without detectors."""
        powers = {name: power(f.output) for name, f in measurement.fields.items()}
        return {**powers, **measurement.read_outs}

    def sepn_losses(
        self, workload: Workload, h: Tensor, measurement: Measurement
    ) -> Iterator[Tensor]:
        """Losses of the SEPNs from internal states; see the class.

        Args:
            workload: The workload.
            h: What `Workload.prefix` gives (B, ...), without gradient.
            measurement: What the hardware gave.

        Yields:
            For each mesh its own, and then the joint one, as ``states`` says.
        """
        layers = workload.layers()
        measured = self.measured_powers(workload, measurement)
        if self.states in ("separable", "both"):
            workload.gradient_evaluations += 1  # all meshes once, each from what went into it
            for name, layer in layers.items():
                yield self._separate(name, layer, measurement.fields[name].input, measured[name])
        if self.states in ("unitary", "both"):
            simulated: dict[str, Tensor] = {}
            with self._predicting(workload, simulated):
                outputs = workload.physical(h, self._frozen(workload))
            loss = F.mse_loss(outputs, measurement.outputs)
            for name, layer in layers.items():
                if not layer.detected:
                    loss = loss + _mismatch(simulated[name], measured[name])
            yield loss

    def _separate(self, name: str, layer: PhysicalLayer, field: Tensor, measured: Tensor) -> Tensor:
        with torch.no_grad():
            unitary = layer.transfer()
        layer.override_weight(unitary)
        kept: dict[str, Tensor] = {}

        def tap(out: Tensor) -> Tensor:
            kept[name] = power(out + self._sepn(name)(out))
            return out

        layer.field_tap = tap
        try:
            layer(field)
        finally:
            layer.field_tap = None
            layer.override_weight(None)
        return _mismatch(kept[name], measured)


def _mismatch(simulated: Tensor, measured: Tensor) -> Tensor:
    """Mean squared error of normalised powers (B, n)."""
    return F.mse_loss(F.normalize(simulated, dim=-1), F.normalize(measured, dim=-1))
