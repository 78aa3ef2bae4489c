"""A data set: absorption spectra of three mixtures, unequally frequent."""

import numpy as np

from pnnbench import DataSet
from pnnbench.data import Arrays


class Spectra(DataSet):
    """Twelve wavelengths of three mixtures, of which the first is half of all."""

    name = "spectra"
    input_shape = (12,)
    n_classes = 3

    def load(self, root=None, download=False):
        """Makes the spectra; they are always the same."""
        draw = np.random.default_rng(7)
        wavelengths = np.linspace(0.0, 1.0, 12)
        lines = np.exp(-((wavelengths - np.array([[0.2], [0.5], [0.7]])) ** 2) / 0.02)

        def part(count):
            labels = draw.choice(3, count, p=[0.5, 0.3, 0.2])
            spectra = lines[labels] + 0.15 * draw.standard_normal((count, 12))
            return spectra.astype(np.float32), labels

        return Arrays(self.name, *part(600), *part(300), self.n_classes)
