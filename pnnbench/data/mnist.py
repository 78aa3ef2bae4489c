"""MNIST and the sets of its format, from their four original IDX files, parsed by torchvision.

MNIST is known by the SHA-256 of its files and by the fingerprint of what they hold. FashionMNIST
and KMNIST are known by the MD5 that their publishers give for the packed files, so that the packed
files are the ones that are kept and read.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from pnnbench.data.arrays import Arrays
from pnnbench.data.downloaded import DownloadedSet

#: The files of every set, in the order of `Arrays`; packed ones end in ``.gz``.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class IDXSet(DownloadedSet):
    """A set in the format of MNIST: 10 balanced classes of 28 x 28 grey images in four IDX files.

    60,000 training and 10,000 test images, in the order of their publishers, which is no random
    one: a linear read-out of random features that errs on 7.5 % of the tests of MNIST errs on 9.9 %
    of the first 2,000, on 5.1 % of the last 5,000, and on 6.4 % of the last 5,000 training images,
    which are held out.
    """

    input_shape = (1, 28, 28)
    n_classes = 10
    balanced = True
    ordered = True
    files_called: ClassVar[str] = "the four IDX files"

    @property
    def folder(self) -> str:
        """Where the files are under the data folder."""
        return f"{self.title}/raw"

    def parsed(self, root: Path) -> Arrays:
        """Parses the four files, unpacked into a temporary folder where they are packed.

        Args:
            root: Data folder that holds the set's.

        Returns:
            The set with images of shape (N, 1, 28, 28).
        """
        from torchvision.datasets import mnist as idx

        raw = root / self.folder
        with tempfile.TemporaryDirectory(prefix="pnnbench-idx-") as name:
            paths = []
            for file in FILES:
                path, packed = raw / file, raw / f"{file}.gz"
                if packed.name in self.entry["files"]:
                    path = Path(name) / file
                    with gzip.open(packed, "rb") as source, path.open("wb") as target:
                        shutil.copyfileobj(source, target)
                paths.append(str(path))
            return Arrays(
                self.name,
                idx.read_image_file(paths[0]).unsqueeze(1),
                idx.read_label_file(paths[1]),
                idx.read_image_file(paths[2]).unsqueeze(1),
                idx.read_label_file(paths[3]),
                n_classes=self.n_classes,
                own=True,
                ordered=True,
            )


class MNIST(IDXSet):
    """Handwritten digits.

    Source: LeCun, Cortes and Burges, The MNIST database.
    """

    name = "mnist"
    title = "MNIST"


class FashionMNIST(IDXSet):
    """Pictures of clothes.

    Source: Xiao, Rasul and Vollgraf, arXiv 1708.07747 (2017).
    """

    name = "fashion-mnist"
    title = "FashionMNIST"


class KMNIST(IDXSet):
    """Handwritten Japanese characters.

    Source: Clanuwat et al., arXiv 1812.01718 (2018).
    """

    name = "kmnist"
    title = "KMNIST"
