"""Reconstruction and generation: losses, metrics and what guessing reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from pnnbench.accelerator import optimizer_to, without_autocast
from pnnbench.data import DataSet
from pnnbench.data.guessing import error_of_mean, mean_item
from pnnbench.data.latents import Latents
from pnnbench.errors import UserError
from pnnbench.metrics.extractors import extractor, extractor_class
from pnnbench.metrics.fidelity import frechet_unbiased
from pnnbench.metrics.images import Generation as GenerationMetric
from pnnbench.metrics.images import Reconstruction as ReconstructionMetric
from pnnbench.metrics.images import generation_names
from pnnbench.metrics.real_side import real_features
from pnnbench.platforms.base import derive_seed
from pnnbench.workloads.base import Workload
from pnnbench.workloads.image_networks import Discriminator, hinge_loss, normalise, realism_loss

Batch = tuple[Tensor, Tensor]
#: What the names of the discriminator's tensors begin with in a file of parameters.
_JUDGE = "judge."


def image_shape(owner: object, data_set: DataSet) -> tuple[int, int, int]:
    """Channels, height and width of a set of square images; raises a UserError for others."""
    shape = data_set.image_shape if isinstance(data_set, Latents) else data_set.input_shape
    if len(shape) != 3 or shape[1] != shape[2]:
        raise UserError(
            f"{type(owner).__name__} takes square images, and an input of {data_set.name!r} has "
            f"the shape {tuple(shape)}",
            allowed="(C, H, W) with H = W",
        )
    channels, height, width = shape
    return channels, height, width


class _MeanImage:
    """Attribute that is the error of one image for all, the mean of the training images."""

    def __get__(self, instance: Any, owner: type) -> float | None:
        if instance is None:
            return None
        arrays = instance.data_set.arrays()
        return error_of_mean(arrays.train_inputs, arrays.test_inputs)


class Reconstruction:
    """Mixin: images that come out as they went in; mean squared error, PSNR and SSIM beside it.

    Pixels are in [0, 1]. ``chance`` is the error of the mean of the training images.
    """

    metric_name: ClassVar[str] = "mse"
    higher_is_better: ClassVar[bool] = False
    chance: ClassVar[float | None] = cast(Any, _MeanImage())
    data_set: DataSet

    def check_data(self, data_set: DataSet) -> None:
        """Refuses what are no square images."""
        image_shape(self, data_set)

    def check_ready(self) -> None:
        """Refuses pixels that are not in [0, 1], which no output of the decoder reaches."""
        cast(Any, super()).check_ready()
        inputs = self.data_set.arrays().train_inputs
        if inputs.dtype == torch.uint8:
            return
        real = inputs.real if inputs.is_complex() or inputs.is_floating_point() else inputs.float()
        low, high = float(real.min()), float(real.max())
        if inputs.is_complex() or low < 0.0 or high > 1.0:
            raise UserError(
                f"inputs of {self.data_set.name!r} are {inputs.dtype} from {low:g} to {high:g}",
                allowed="images in [0, 1], or uint8",
                next_step="leave out what normalises them, or divide by the largest value",
            )

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of outputs (B, C, H, W) against the inputs."""
        return F.mse_loss(outputs, batch[0])

    def metric(self) -> Any:
        """Mean squared error over all images, PSNR in dB, SSIM."""
        return ReconstructionMetric(image_shape(self, self.data_set)[1])

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """None: no image is right or wrong."""
        return None


class _GreyImage:
    """Attribute that is the distance of one image for all, the mean of the training images."""

    def __get__(self, instance: Any, owner: type) -> float | None:
        return None if instance is None else instance.distance_of_mean()


class _FidName:
    """Attribute that is the name of the Fréchet distance with the workload's extractor."""

    def __get__(self, instance: Any, owner: type) -> str:
        return generation_names(extractor_class(cast(Any, owner).extractor).full_name())[0]


class Generation(Workload):
    """Images from latent vectors, told apart from real ones by a digital discriminator.

    The training method trains the generator, whose loss is the discriminator's score. Before a
    batch goes to the method, the discriminator takes one step of its own, by the hinge loss and
    with an optimiser of its own: one for each batch, however often the method evaluates its loss.
    It compares real images with those of the digital model at the controls reached so far, also
    where the method measures on hardware. Latent vectors of the training are drawn anew for each
    batch, from the seed of the workload and the number of the step; in calibration and evaluation
    they are those of the data set.

    ``chance`` is the distance of one image for all, the mean of the training images.

    Attributes:
        judge: The discriminator; no part of the network that is deployed.
    """

    higher_is_better: ClassVar[bool] = False
    metric_name: ClassVar[str] = cast(Any, _FidName())
    chance: ClassVar[float | None] = cast(Any, _GreyImage())
    #: Name of the feature extractor; see `pnnbench.metrics.extractors.EXTRACTORS`.
    extractor: ClassVar[str]
    #: Step of the discriminator's Adam, with beta 0 and 0.9.
    judge_step: ClassVar[float] = 4e-4

    def __init__(self, init_seed: int = 0, *, data: Any = None) -> None:
        super().__init__(init_seed, data=data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("judge", init_seed))
            self.judge = self.build_judge()
        self.judge.eval().requires_grad_(False)
        normalise(self.judge)
        self._latent_seed = init_seed
        self._steps = 0
        self._optimizer = torch.optim.Adam(
            self.judge.parameters(), lr=self.judge_step, betas=(0.0, 0.9)
        )

    def check_data(self, data_set: DataSet) -> None:
        """Refuses everything but latent vectors with square images."""
        if not isinstance(data_set, Latents):
            raise UserError(
                f"{type(self).__name__} makes images from latent vectors, and {data_set.name!r} "
                "has none",
                next_step=f"name it as latents:{data_set.name},16",
            )
        image_shape(self, data_set)

    @property
    def least_images(self) -> int:  # type: ignore[override]
        """Twice what fills the covariance of the features, since half of the images must."""
        return 2 * (extractor_class(self.extractor).size + 1)

    def check_ready(self) -> None:
        """Builds the feature extractor; raises a UserError if its weights are missing."""
        extractor(self.extractor)

    def build_judge(self) -> Discriminator:
        """Builds the discriminator with fresh parameters from torch's global generator."""
        raise NotImplementedError

    def describe(self, tier: str) -> dict[str, Any]:
        """Adds what decides the discriminator's training, and the extractor.

        Raises:
            UserError: If the tier has less than `least_images` test or validation images.
        """
        amount, least = self.tier(tier), self.least_images
        for name in ("test_images", "validation_images"):
            count = getattr(amount, name)
            if count and count < least:
                raise UserError(
                    f"{name} of the tier {tier!r} is {count}: too few for FID with the extractor "
                    f"{self.extractor!r}",
                    allowed=f"at least {least}",
                    next_step="more images, or an extractor of fewer features",
                )
        judge = {
            "network": type(self.judge).__qualname__,
            "parameters": {name: list(p.shape) for name, p in self.judge.named_parameters()},
            "step": self.judge_step,
        }
        found = extractor_class(self.extractor).full_name()
        return {**super().describe(tier), "judge": judge, "extractor": found}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Negative mean score of generated images (B, C, H, W), in their precision."""
        # In evaluation, so that no pass moves what the judge remembers of its singular vectors.
        judge = self.judge.eval()
        if outputs.dtype is torch.float64:
            exact = {name: value.double() for name, value in judge.state_dict().items()}
            return realism_loss(functional_call(judge, exact, (outputs,)))
        return realism_loss(judge(outputs))

    def metric(self) -> Any:
        """FID for infinitely many images, KID, precision and recall against the real images."""
        return GenerationMetric(self.extractor)

    def outcomes(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """None: no image is right or wrong."""
        return None

    def distance_of_mean(self) -> float:
        """Fréchet distance of one image for all, the mean of the training images."""
        arrays = self.data_set.arrays()
        network = extractor(self.extractor)
        mean = (mean_item(arrays.train_targets) / 255.0).float()
        real = real_features(arrays.test_targets, network)
        return frechet_unbiased(network.features(mean[None]).expand(len(real), -1), real)

    def prepared(self, batch: Batch) -> Batch:
        """Fresh latent vectors for a step of the training, after a step of the discriminator.

        Args:
            batch: Latent vectors of the set (B, latent) and real images (B, C, H, W).

        Returns:
            Fresh latent vectors and the same images.
        """
        self._steps += 1
        seed = derive_seed("latents", self._latent_seed, self._steps)
        generator = torch.Generator().manual_seed(seed)
        fresh = [
            torch.randn(batch[0].shape, generator=generator, dtype=torch.float32) for _ in range(2)
        ]
        for_judge, for_method = (z.to(batch[0]) for z in fresh)
        self._judge(for_judge, batch[1])
        return for_method, batch[1]

    def _judge(self, latents: Tensor, real: Tensor) -> None:
        """One step of the discriminator."""
        if self.method is not None:
            self.method.deploy(self)  # some train weights, and the controls follow when asked
        with torch.no_grad(), self.extra_pass():
            made = self.network(latents)
        self.forward_evaluations += 1
        judge = self.judge.train().requires_grad_(True)
        with torch.enable_grad(), without_autocast(real.device):
            hinge_loss(judge(real), judge(made.to(real))).backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        judge.eval().requires_grad_(False)

    def tensors(self) -> dict[str, Tensor]:
        """What a record keeps: the generator, and the discriminator that its loss needs."""
        judge = {f"{_JUDGE}{name}": value for name, value in self.judge.state_dict().items()}
        return {**super().tensors(), **judge}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes `tensors` back; raises a RuntimeError if they do not fit.

        The discriminator's norms are computed anew; see `image_networks.normalise`.
        """
        mine = {n.removeprefix(_JUDGE): v for n, v in tensors.items() if n.startswith(_JUDGE)}
        super().load_tensors({n: v for n, v in tensors.items() if not n.startswith(_JUDGE)})
        self.judge.load_state_dict(mine)
        normalise(self.judge)

    def on_fit_start(self) -> None:
        """Puts the discriminator's optimiser where the Trainer has put the discriminator."""
        optimizer_to(self._optimizer, self.device)

    def on_fit_end(self) -> None:
        """Computes the discriminator's norms anew, as they are when a record is read."""
        normalise(self.judge)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the discriminator's optimiser, and where the latent vectors are."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["judge"] = {
            "optimizer": self._optimizer.state_dict(),
            "seed": self._latent_seed,
            "steps": self._steps,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the discriminator's optimiser and the latent vectors."""
        self._optimizer.load_state_dict(checkpoint["judge"]["optimizer"])
        self._latent_seed = int(checkpoint["judge"]["seed"])
        self._steps = int(checkpoint["judge"]["steps"])
