"""The read-out of physical layers: their outputs as detectors give them, noise and full scale."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError

#: Draws standard-normal shot noise: (layer name, shape with the conditions first and the images
#: second) -> a tensor of that shape, or one that broadcasts to it.
ShotNoise = Callable[[str, tuple[int, ...]], Tensor]
#: Sees a layer's output and gives what stands in its place.
Tap = Callable[[Tensor], Tensor]


@dataclasses.dataclass
class Operation:
    """What one physical layer sees while operated: stacked errors and environments.

    Attributes:
        count: Number of conditions, the leading dimension of everything stacked.
        errors: Error name -> tensor (count, ...), or (...) when there is one condition.
        environment: Field name -> tensor (count,), or a scalar when there is one condition.
        numbers: The same as plain numbers, one for each condition: what is decided by them does not
            wait for a GPU.
        shot: Source of shot noise, None for noiseless read-out.
        auto_range: Whether the read-out's full scale is the largest value of the batch instead of
            the calibrated one.
    """

    count: int
    errors: dict[str, Tensor]
    environment: dict[str, Tensor]
    numbers: dict[str, tuple[float, ...]]
    shot: ShotNoise | None
    auto_range: bool = False


class ReadOut(nn.Module):
    """A module whose output detectors measure, under the conditions of an `Operation`."""

    #: Whether detectors measure the layer's output in ordinary operation.
    detected: bool = True
    #: Number of complex fields that `tap_field` sees; None where the layer has no such fields.
    n_fields: int | None = None

    full_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("full_scale", torch.ones(()))
        self.layer_name = ""
        self.operation: Operation | None = None
        self._recorded_peak: Tensor | None = None
        self.field_tap: Tap | None = None
        self.read_out_tap: Tap | None = None
        self._calls: int | None = None
        self._images: int | None = None

    def start_pass(self, images: int) -> None:
        """Tells that a pass of the network begins, for one that may use a layer several times.

        Each use of the layer in the pass then has shot noise of its own, and so has each of the
        rows that an image may have in the layer's batch. In a network that does not tell, a layer
        is used once, with one row for each image.

        Args:
            images: Inputs of the pass, those of all conditions.
        """
        self._calls, self._images = 0, images

    def _noise_stream(self) -> str:
        """Name by which shot noise is drawn for this use of the layer."""
        if self._calls is None:
            return self.layer_name
        self._calls += 1
        return self.layer_name if self._calls == 1 else f"{self.layer_name} use {self._calls}"

    def _shot(self, shot: ShotNoise, blocks: Tensor) -> Tensor:
        """Shot noise for outputs (C, rows, ...), drawn image by image; C may be 1 for them all."""
        count, rows = blocks.shape[:2]
        images = rows if self._images is None else self._images // count
        if not images or rows % images:  # no rows of images
            images = rows
        each = () if rows == images else (rows // images,)
        z = shot(self._noise_stream(), (count, images, *each, *blocks.shape[2:]))
        return (z.flatten(1, 2) if each else z).to(blocks.device)

    @property
    def recording(self) -> bool:
        """Whether the read-out's full scale is being calibrated."""
        return self._recorded_peak is not None

    def blocks(self, x: Tensor, count: int) -> Tensor:
        """Inputs condition by condition.

        Args:
            x: Inputs (count * B, ...), condition-major.
            count: Number of conditions.

        Returns:
            (count, B, ...).

        Raises:
            UserError: If the inputs cannot be shared out evenly.
        """
        if len(x) % count:
            raise UserError(
                f"a batch of {len(x)} inputs for {count} conditions",
                allowed=f"a multiple of {count}",
                next_step="repeat the batch once for each condition, one condition after another",
            )
        return x.unflatten(0, (count, len(x) // count))

    def tap_field(self, field: Tensor) -> Tensor:
        """Passes the output field, before any detector, through `field_tap` if there is one."""
        return field if self.field_tap is None else self.field_tap(field)

    def read_out(
        self,
        y: Tensor,
        noise: float,
        full_scale: Tensor | None = None,
        *,
        seen: Callable[[], Tensor] | None = None,
    ) -> Tensor:
        """Adds shot noise to a measured output, or records its full scale while calibrating.

        Args:
            y: Output of the physical product, batch first (conditions x batch when operated).
            noise: Standard deviation as a fraction of the read-out's full scale.
            full_scale: Full scale of each value, broadcastable to ``y``, for detectors whose range
                follows the signal; None takes the calibrated one.
            seen: Gives what the detectors could see, batch first: its largest value sets the full
                scale. None is ``y`` itself.

        Returns:
            Tensor like ``y``.
        """
        if self._recorded_peak is not None:
            largest = _peak((y if seen is None else seen()).flatten())
            self._recorded_peak = torch.maximum(self._recorded_peak, largest)
        op = self.operation
        if op is not None and op.shot is not None and noise != 0.0:
            blocks = self.blocks(y, op.count)
            z = self._shot(op.shot, blocks)
            if full_scale is not None:
                y = y + noise * full_scale * z.expand_as(blocks).flatten(0, 1)
            elif op.auto_range:
                signal = blocks if seen is None else self.blocks(seen(), op.count)
                scale = _peak(signal.flatten(1)).view(-1, *[1] * (blocks.dim() - 1))
                y = (blocks + noise * scale * z).flatten(0, 1)
            else:
                y = torch.add(blocks, z, alpha=noise * self.known_scale()).flatten(0, 1)
        return y if self.read_out_tap is None else self.read_out_tap(y)

    def known_scale(self) -> float:
        """The calibrated full scale of the read-out.

        Raises:
            UserError: If there is none above 0.
        """
        scale = float(self.full_scale)
        if not (math.isfinite(scale) and scale > 0.0):
            raise UserError(
                f"the read-out of layer {self.layer_name!r} has a full scale of {scale:g}",
                allowed="a finite number above 0",
                next_step="calibrate the workload: Workload.calibrate(images)",
            )
        return scale


def _peak(y: Tensor) -> Tensor:
    """Largest finite magnitude along the last dimension; 0 where there is none."""
    return y.detach().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).abs().amax(-1)
