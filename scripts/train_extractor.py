"""Trains the feature extractor of the embedded digits and writes its weights.

    python scripts/train_extractor.py [FILE]

Ten seconds on one core. The bits depend on the machine, so that new weights make a new extractor:
the hash in `pnnbench.metrics.extractors.DigitsExtractor` is the one of the file that ships.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from pnnbench.data import load
from pnnbench.metrics.extractors import DigitsNetwork
from pnnbench.metrics.weights import packaged
from pnnbench.script import run_script

EPOCHS, BATCH, STEP = 30, 64, 2e-3


def train(seed: int = 0) -> tuple[DigitsNetwork, float]:
    """Trains the network on the training digits.

    Args:
        seed: Seed of the weights and of the order.

    Returns:
        The network in evaluation mode, and its accuracy on the test digits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        digits = load("digits")
        images = digits.train_inputs.float() / 255.0
        network = DigitsNetwork()
        optimizer = torch.optim.Adam(network.parameters(), lr=STEP, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(images)).split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(network(images[chosen]), digits.train_targets[chosen]).backward()
                optimizer.step()
            schedule.step()
    network.eval().requires_grad_(False)
    _to_unit_scale(network, images)
    found = network(digits.test_inputs.float() / 255.0).argmax(1)
    return network, float((found == digits.test_targets).double().mean())


def _to_unit_scale(network: DigitsNetwork, images: Tensor) -> None:
    """Scales the features to a mean square of 1 over some images; the logits stay as they are."""
    scale = float(network.features(images).square().mean().sqrt())
    network.fc1.weight.div_(scale)
    network.fc1.bias.div_(scale)
    network.fc2.weight.mul_(scale)


def main() -> None:
    """Trains, writes the file, prints its hash and what it reaches."""
    default = packaged("pnnbench.metrics", "digits_extractor.safetensors")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if target is None:
        raise SystemExit("pnnbench is not installed: name a file")
    network, accuracy = train()
    content = save({k: v.contiguous() for k, v in network.state_dict().items()})
    target.write_bytes(content)
    print(f"{target}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    print(f"accuracy on the test digits: {accuracy:.4f}")


if __name__ == "__main__":
    run_script(main)
