"""A network of the laboratory's own, on microring weight banks."""

from types import MappingProxyType

from torch import nn

from pnnbench.workloads.convert import physical_network
from pnnbench.workloads.mrr import MRRWorkload
from pnnbench.workloads.tiers import Tier


class LabSpectra(MRRWorkload):
    """Twelve wavelengths through two weight banks to three mixtures."""

    name = "lab-spectra"
    data = "spectra"
    tiers = MappingProxyType(
        {"smoke": Tier(epochs=8, batch_size=32, n_devices=2, validation_images=100)}
    )
    offset_calibration_images = 64

    def build_network(self):
        """The network, converted."""
        layers = nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)
        return physical_network(nn.Sequential(*layers), "mrr")
