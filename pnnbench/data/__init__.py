"""Image sets by name. Importing this module loads neither torchvision nor scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pnnbench.data.sets import NAMES, fetch, load

if TYPE_CHECKING:
    from pnnbench.data.arrays import ImageArrays
    from pnnbench.data.datamodule import ImageDataModule

__all__ = ["NAMES", "ImageArrays", "ImageDataModule", "fetch", "load"]


def __getattr__(name: str) -> Any:
    """Imports the classes at first use, so that the command line starts fast."""
    if name == "ImageArrays":
        from pnnbench.data.arrays import ImageArrays

        return ImageArrays
    if name == "ImageDataModule":
        from pnnbench.data.datamodule import ImageDataModule

        return ImageDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
