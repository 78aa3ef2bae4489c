"""Metrics of images: reconstructions against what went in, generated ones against real ones.

Each gives several figures at once; the first is the one that a board is sorted by.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from pnnbench.errors import UserError
from pnnbench.metrics.extractors import extractor
from pnnbench.metrics.fidelity import frechet_unbiased, kernel_distance, precision_recall
from pnnbench.metrics.real_side import real_features

#: Side in pixels of the window of SSIM where images are large enough (Wang et al., 2004).
WINDOW = 11


class Reconstruction(torchmetrics.MetricCollection):
    """Mean squared error, PSNR in dB and SSIM of outputs against inputs, values in [0, 1].

    The error is the mean over all pixels of all images, and PSNR is -10 log10 of it: no mean of the
    PSNR of single images, which is larger and which one image without error makes infinite. SSIM is
    the mean over images.

    Args:
        side: Side of the images in pixels, at least 3; SSIM takes a window of `WINDOW` pixels, or
            the largest odd one that fits.

    Attributes:
        needs: What ``update`` takes.
    """

    needs: ClassVar[tuple[str, ...]] = ("outputs", "inputs")

    def __init__(self, side: int) -> None:
        if side < 3:
            raise UserError(f"images of {side} pixels have no structure to compare", allowed=">= 3")
        window = min(WINDOW, side - 1 + side % 2)
        ssim = StructuralSimilarityIndexMeasure(
            gaussian_kernel=window == WINDOW, kernel_size=window, data_range=1.0
        )
        super().__init__(
            {
                "mse": torchmetrics.MeanSquaredError(),
                "psnr_db": PeakSignalNoiseRatio(data_range=1.0),
                "ssim": ssim,
            },
            compute_groups=False,
        )

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Adds outputs and inputs (B, C, H, W) of some images."""
        outputs, inputs = args
        super().update(outputs, inputs.to(outputs), **kwargs)


class Generation(torchmetrics.Metric):
    """FID for infinitely many images, KID, precision and recall of outputs against targets.

    Args:
        network: Name of the feature extractor; see `pnnbench.metrics.extractors.EXTRACTORS`.

    Attributes:
        needs: What ``update`` takes.
    """

    needs: ClassVar[tuple[str, ...]] = ("outputs", "targets")
    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    generated: list[Tensor]

    def __init__(self, network: str) -> None:
        super().__init__()
        self.extractor = extractor(network)
        self.add_state("generated", [], dist_reduce_fx="cat")
        self._real: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Adds generated and real images (B, C, H, W), floats in [0, 1] or uint8."""
        self.generated.append(self.extractor.features(outputs))
        self._real.append(targets)

    def compute(self) -> dict[str, float]:
        """FID, KID, precision and recall by their names, the first the one that ranks."""
        generated = torch.cat(list(self.generated))
        real = real_features(torch.cat(self._real), self.extractor)
        precision, recall = precision_recall(generated, real)
        full, images = self.extractor.get_name(), min(len(generated), len(real))
        fid, kid = generation_names(full)
        return {
            fid: frechet_unbiased(generated, real),
            kid: kernel_distance(generated, real),
            f"precision-{full}-n{images}": precision,
            f"recall-{full}-n{images}": recall,
        }

    def reset(self) -> None:
        """Forgets all images."""
        super().reset()
        self._real = []


def generation_names(full: str) -> tuple[str, str]:
    """Names of FID and KID, which depend on the extractor and on no number of images.

    Precision and recall depend on it, and their names carry it.

    Args:
        full: Full name of an extractor: network, number of features, side in pixels and the
            weights' hash.
    """
    return f"fid-{full}", f"kid-{full}"
