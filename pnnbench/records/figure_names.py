"""Names of metrics: what a figure is, and the network, size, hash and number of images behind it.

A figure of generated images is named after the features it is taken from, such as
``precision-efficientnet-lite0-320-64px-57934424-n2000``: what is measured, the extractor, how many
features it gives, the side of its images, the hash of its weights and, where the figure depends on
it, the number of images. Figures of different names are different figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_FEATURES = re.compile(
    r"(?P<kind>fid|kid|precision|recall)-(?P<extractor>.+)-(?P<features>\d+)-(?P<side>\d+)px"
    r"-(?P<digest>[0-9a-f]+)(?:-n(?P<images>\d+))?"
)
_HEADS = {
    "mse": "MSE",
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "fid": "FID",
    "kid": "KID",
}
_WORDS = {
    "mse": "mean squared error",
    "psnr_db": "peak signal-to-noise ratio in dB, of the mean squared error over all images",
    "ssim": "structural similarity",
    "fid": "Fréchet distance, limit for infinitely many images",
    "kid": "kernel distance, unbiased",
    "precision": "share of generated images among the real ones",
    "recall": "share of real images among the generated ones",
}
_HIGHER = {
    **dict.fromkeys(("accuracy", "psnr_db", "ssim", "precision", "recall"), True),
    **dict.fromkeys(("mse", "fid", "kid"), False),
}


@dataclass(frozen=True)
class Bounds:
    """What a figure can be.

    Attributes:
        low: The least, None where there is none.
        high: The most, None where there is none.
        rounding: By how much single precision may carry a value beyond either.
    """

    low: float | None = None
    high: float | None = None
    rounding: float = 0.0

    def hold(self, value: float) -> bool:
        """Whether a value lies within them, but for rounding."""
        above = self.low is None or value >= self.low - self.rounding
        return above and (self.high is None or value <= self.high + self.rounding)

    def __str__(self) -> str:
        if self.high is None:
            return f"of at least {self.low:g}"
        return f"in [{self.low:g}, {self.high:g}]"


#: Bounds of the figures that have some. PSNR has none. Neither have FID and KID, although both are
#: of distances: they are estimates without bias, which come out below 0 where images are alike.
_BOUNDS = {
    **dict.fromkeys(("accuracy", "precision", "recall"), Bounds(0.0, 1.0)),
    "mse": Bounds(0.0),
    "ssim": Bounds(-1.0, 1.0, rounding=1e-3),
}


@dataclass(frozen=True)
class FigureName:
    """The name of a metric in its parts.

    Attributes:
        name: The name, as records have it.
        kind: What is measured, such as ``"fid"``; the name itself where no extractor is in it.
        extractor: Network of the features; empty for a figure without one.
        features: Number of features; None without an extractor.
        side: Side in pixels of the images it sees; None without an extractor.
        digest: First digits of the hash of its weights; empty without an extractor.
        images: Number of images that the figure depends on; None where it depends on none.
    """

    name: str
    kind: str
    extractor: str = ""
    features: int | None = None
    side: int | None = None
    digest: str = ""
    images: int | None = None

    @property
    def head(self) -> str:
        """What stands above a column: ``"FID"``, ``"PSNR dB"``."""
        return _HEADS.get(self.kind, self.kind)

    @property
    def higher_is_better(self) -> bool | None:
        """Its direction; None for a figure that is not known here."""
        return _HIGHER.get(self.kind)

    @property
    def bounds(self) -> Bounds | None:
        """What it can be; None where there are no bounds, or it is not known here."""
        return _BOUNDS.get(self.kind)

    @property
    def least(self) -> float | None:
        """The value below which it cannot be; None where there is none, or it is not known here."""
        return None if self.bounds is None else self.bounds.low

    @property
    def words(self) -> str:
        """What it is; empty for a figure that is not known here."""
        text = _WORDS.get(self.kind, "")
        return f"{text}, {self.images} images a side" if self.images else text

    @property
    def source(self) -> str:
        """What its features come from; empty for a figure without an extractor."""
        if not self.extractor:
            return ""
        return (
            f"{self.features} features of {self.extractor} at {self.side} pixels, weights "
            f"{self.digest}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the parts as plain JSON types; those that it has not are left out."""
        parts = {
            "kind": self.kind,
            "extractor": self.extractor or None,
            "features": self.features,
            "side_px": self.side,
            "weights": self.digest or None,
            "images": self.images,
            "higher_is_better": self.higher_is_better,
        }
        return {key: value for key, value in parts.items() if value is not None}


@lru_cache(maxsize=256)
def parsed(name: str) -> FigureName:
    """Takes a name apart.

    Args:
        name: A metric as records name it.

    Returns:
        Its parts.
    """
    found = _FEATURES.fullmatch(name)
    if found is None:
        return FigureName(name, name)
    images = found["images"]
    return FigureName(
        name,
        found["kind"],
        found["extractor"],
        int(found["features"]),
        int(found["side"]),
        found["digest"],
        None if images is None else int(images),
    )


def heads(names: Sequence[str]) -> dict[str, str]:
    """Short headings of some figures, no two of them alike.

    Args:
        names: Different names.

    Returns:
        Name to heading: the short one where it is the only one of its kind, else with the extractor
        and what else tells them apart, at last the whole name.
    """

    def tried(part: FigureName) -> tuple[str, ...]:
        network = f"{part.head} {part.extractor}"
        return part.head, network, f"{network} n{part.images}", f"{network} {part.digest}"

    options = {name: tried(parsed(name)) for name in names}
    made = {}
    for name, mine in options.items():
        others = [option for other, theirs in options.items() if other != name for option in theirs]
        made[name] = next((option for option in mine if option not in others), name)
    return made
