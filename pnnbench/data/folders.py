"""Images in folders, one folder for each class."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pnnbench.data.arrays import Arrays
from pnnbench.data.base import DataSet
from pnnbench.data.items import picture
from pnnbench.errors import UserError

#: Where the parts of a set may be; the first folder that there is is the test set, and a validation
#: set beside a test set is held out.
TEST_FOLDERS = ("test", "val")


class ImageFolder(DataSet):
    """Images of one size under PATH/train/CLASS and PATH/test/CLASS (or val), as in torchvision.

    Classes are numbered in the order of their names, and images are read in the order of theirs.
    Grey images give one channel, and three where any image has colours. The fingerprint is that of
    the decoded pixels: a copy elsewhere is the same set. All of it is kept in memory.

    Args:
        path: The folder.
    """

    takes = "PATH"

    def __init__(self, path: str | Path = "") -> None:
        self.argument = str(path)
        self.path = Path(path).expanduser()
        self.name = self.path.resolve().name if self.argument else "image-folder"

    def load(self, root: str | Path | None = None, download: bool = False) -> Arrays:
        """Reads the images.

        Args:
            root: Not used: the path stands by itself.
            download: Not used.

        Returns:
            The set, uint8 images (N, C, H, W).

        Raises:
            UserError: If a folder is missing, the folders of the parts have other classes, or
                images cannot be read or differ in size.
        """
        if not self.argument:
            raise UserError(
                "image-folder names no folder",
                allowed="image-folder:PATH, with PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE",
                next_step="write the folder behind the colon, such as image-folder:flowers",
            )
        parts = [name for name in TEST_FOLDERS if (self.path / name).is_dir()]
        if not (self.path / "train").is_dir() or not parts:
            raise UserError(
                f"{self.path} is no folder of images",
                allowed="PATH/train/CLASS/IMAGE and PATH/test/CLASS/IMAGE (or val for test)",
            )
        read = {name: self._part(name) for name in ("train", *parts)}
        classes = read["train"][0]
        for name, (found, *_) in read.items():
            if found != classes:
                raise UserError(
                    f"{self.path / name} has the classes {', '.join(found)}",
                    allowed=f"those of train: {', '.join(classes)}",
                )
        channels = max(images.shape[1] for _, images, _ in read.values())
        shown = {k: (_coloured(x, channels), y) for k, (_, x, y) in read.items()}
        validation = shown["val"] if len(parts) == 2 else (None, None)
        both = (*shown["train"], *shown[parts[0]])
        return Arrays(self.name, *both, len(classes), *validation, own=True)

    def _part(self, name: str) -> tuple[list[str], Tensor, Tensor]:
        """Classes, images and class numbers of one part."""
        from torchvision.datasets import ImageFolder as Folder

        folder = self.path / name
        try:
            found = Folder(str(folder))
        except FileNotFoundError as error:
            raise UserError(
                f"{folder}: {str(error).strip()}", allowed="a folder of images for each class"
            ) from None
        images = _read([Path(file) for file, _ in found.samples])
        labels = torch.tensor([label for _, label in found.samples])
        return found.classes, images, labels


def _opened(file: Path) -> Tensor:
    """The pixels of a file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return picture(image)
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(
            f"{file} cannot be read as an image: {error}", next_step="remove or replace it"
        ) from None


def _read(files: list[Path]) -> Tensor:
    """The images of all files, (N, C, H, W): three channels where any of them has colours."""
    first = _opened(files[0])
    images = torch.empty((len(files), *first.shape), dtype=first.dtype)
    for i, file in enumerate(files):
        image = _opened(file)
        if image.shape[0] > images.shape[1]:
            images = _coloured(images, image.shape[0])
        if image.shape[1:] != images.shape[2:] or image.dtype != images.dtype:
            raise UserError(
                f"{file} is {image.dtype} of {_size(image)}, and {files[0]} is {first.dtype} of "
                f"{_size(first)}",
                allowed="images of one size and one data type",
                next_step="bring all images to one size before",
            )
        images[i] = image
    return images


def _size(image: Tensor) -> str:
    return f"{image.shape[1]} x {image.shape[2]}"


def _coloured(images: Tensor, channels: int) -> Tensor:
    """Images (N, C, H, W) with so many channels: grey ones have the same in each."""
    return images if images.shape[1] == channels else torch.cat([images] * channels, dim=1)
