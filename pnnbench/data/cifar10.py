"""CIFAR-10, from its original batches or from its images in folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from pnnbench.data.arrays import Arrays
from pnnbench.data.downloaded import DownloadedSet, data_root
from pnnbench.data.folders import ImageFolder
from pnnbench.errors import UserError

#: The classes in the order of their numbers, which is that of their names.
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


class CIFAR10(DownloadedSet):
    """Photographs of ten kinds of things, 50,000 for training and 10,000 for the test, in colour.

    Read from the original batches, ``cifar-10-batches-py`` under the data folder, where that folder
    is there; else from images in ``cifar10/train/CLASS/`` and ``cifar10/test/CLASS/``. Images that
    were coded with loss are other data than the originals, and their fingerprint, that of the
    decoded pixels, is another one. The original batches keep their order; the folders are mixed.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """

    name = "cifar10"
    title = "CIFAR10"
    input_shape = (3, 32, 32)
    n_classes = 10
    balanced = True
    mixed = True
    copies = True
    instead = "; or <root>/cifar10/train/CLASS/IMAGE and <root>/cifar10/test/CLASS/IMAGE"
    files_called = "its batches"
    #: Images of each class in the parts.
    per_class: ClassVar[Mapping[str, int]] = MappingProxyType({"train": 5000, "test": 1000})

    @property
    def folder(self) -> str:
        """Where the original batches are under the data folder."""
        return "cifar-10-batches-py"

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Reads the set.

        Args:
            root: Data folder; see `pnnbench.data.downloaded.data_root`.
            download: Whether the original batches may be downloaded if neither they nor the folders
                are there; PNNBENCH_DOWNLOAD=1 says so too.

        Returns:
            The set with uint8 images (N, 3, 32, 32).

        Raises:
            UserError: If files are missing, damaged or cannot be downloaded.
        """
        place, _ = data_root(root)
        images = place / self.name
        if images.is_dir() and not (place / self.folder).is_dir():
            return self._of_images(images)
        return super().load(root, download)

    def parsed(self, root: Path) -> Arrays:
        """Parses the original batches.

        Args:
            root: Data folder that holds the set's.
        """
        from torchvision import datasets

        def part(train: bool) -> tuple[Any, Any]:
            found = getattr(datasets, self.title)(str(root), train=train)
            return torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous(), found.targets

        return Arrays(self.name, *part(True), *part(False), self.n_classes, own=True)

    def _of_images(self, images: Path) -> Arrays:
        """Reads the folders; raises UserError if they do not hold all of the set."""
        command = self._download_command(images.parent)
        again = f"lay the folder out again, or remove it and run {command}"
        for part in self.per_class:
            folder = images / part
            found = (
                sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
            )
            if tuple(found) != CLASSES:
                raise UserError(
                    f"{folder} has the classes {', '.join(found) or '(none)'}",
                    allowed=", ".join(CLASSES),
                    next_step=again,
                )
        folders = ImageFolder(images)
        folders.name = self.name  # wherever a link leads
        arrays = folders.load()
        if arrays.input_shape != self.input_shape:
            raise UserError(
                f"{images} has images of shape {arrays.input_shape}",
                allowed=f"{self.input_shape}",
                next_step=again,
            )
        for part, count in self.per_class.items():
            counts = getattr(arrays, f"{part}_targets").bincount().tolist()
            if wrong := [f"{n} of {c}" for c, n in zip(CLASSES, counts, strict=True) if n != count]:
                raise UserError(
                    f"{images / part} has {', '.join(wrong)}",
                    allowed=f"{count} images of each class",
                    next_step=again,
                )
        return arrays.mixed()
