"""How far rounding may move a figure between machines: counted image by image, not assumed.

Two machines add the same numbers in another order. Which images of a classifier that can flip is
known: those whose two largest outputs are closer than the rounding of the outputs. Of most cells
there is none, and then the accuracy must agree to the last image.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor

from pnnbench.accelerator import device_of
from pnnbench.workloads.accuracy import Accuracy, top1
from pnnbench.workloads.base import Workload

#: Multiple of the rounding error that was measured, up to which outputs may differ elsewhere.
MARGIN = 16.0
#: Name of the figure beside the accuracy: images that rounding may flip.
UNDECIDED = "undecided"
#: Change of a figure that is no share of images, relative to it, per relative change of outputs.
#: A mean of squares changes by twice that of what is squared; distances of distributions, whose
#: small eigenvalues cancel, by more.
_AMPLIFIED = 20.0
#: Relative change of such a figure, at most.
_RELATIVE = 0.002
#: Images on which rounding is measured.
_IMAGES = 100


@torch.no_grad()
def output_rounding(workload: Workload, images: Tensor) -> float:
    """Largest change of an output between machines, relative to the largest output of its image.

    Args:
        workload: A trained, calibrated workload in single precision.
        images: Test images (N, ...), on any device, of which the first 100 are passed.

    Returns:
        `MARGIN` times the difference between single and double precision.
    """
    shown = images[:_IMAGES].to(device_of(workload))
    single = workload.network(shown).double().flatten(1)
    twin = copy.deepcopy(workload.network).double()
    double = twin(shown.double() if shown.is_floating_point() else shown).flatten(1)
    size = double.abs().amax(1).clamp(min=torch.finfo(torch.float64).tiny)
    apart = ((single - double).abs().amax(1) / size).nan_to_num(0.0, 0.0, 0.0)
    return MARGIN * max(float(apart.max()), torch.finfo(torch.float32).eps)


def relative_limit(rounding: float) -> float:
    """How far a figure that is no share of images may be off, relative to it.

    Args:
        rounding: What `output_rounding` gives.
    """
    return min(_AMPLIFIED * rounding, _RELATIVE)


class DecidedAccuracy(Accuracy):
    """The accuracy, and beside it how many images rounding may flip.

    Args:
        rounding: What `output_rounding` gives.
    """

    undecided: Tensor

    def __init__(self, rounding: float) -> None:
        super().__init__()
        self.rounding = rounding
        self.add_state("undecided", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Adds the outputs (B, classes) and class indices (B,) of some images."""
        super().update(outputs, targets)
        targets = targets.to(outputs.device)
        own = outputs.gather(1, targets[:, None])[:, 0]
        others = outputs.scatter(1, targets[:, None], -torch.inf).amax(1)
        # An image flips only between right and wrong: its class against the best of the others.
        near = (own - others).abs() <= 2.0 * self.rounding * outputs.abs().amax(1)
        right = top1(outputs, targets)
        self.undecided += (near & (right | torch.isfinite(outputs).all(1))).sum().to(self.undecided)

    def compute(self) -> Any:
        """The accuracy by its name, then the count."""
        return {"accuracy": super().compute(), UNDECIDED: self.undecided}


def count_undecided(workload: Workload, rounding: float) -> bool:
    """Makes a workload that is measured by accuracy count the images that rounding may flip.

    Args:
        workload: The workload, changed in place.
        rounding: What `output_rounding` gives.

    Returns:
        Whether it is measured by accuracy.
    """
    if type(workload.metric()) not in (Accuracy, DecidedAccuracy):
        return False
    object.__setattr__(workload, "metric", functools.partial(DecidedAccuracy, rounding))
    return True
