"""Networks for small images: shapes, sizes, what is physical, and torchvision as the oracle."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.mrr import MRRConv2d, MRRLinear, MRRWeightBank
from pnnbench.workloads.image_networks import (
    Autoencoder,
    Discriminator,
    Generator,
    ResNet,
    hinge_loss,
    realism_loss,
)


def conv(i: int, o: int, k: int, *, stride: int, padding: int) -> nn.Module:
    return MRRConv2d(i, o, k, stride=stride, padding=padding, bias=False)


def plain(i: int, o: int, k: int, *, stride: int, padding: int) -> nn.Module:
    return nn.Conv2d(i, o, k, stride, padding, bias=False)


def images(n: int = 3, channels: int = 3, side: int = 32) -> Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_resnet18_is_that_of_torchvision_with_the_small_stem() -> None:
    """The same weights in the same order give the same logits."""
    torch.manual_seed(0)
    ours = ResNet(plain, nn.Linear)
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    theirs.maxpool = nn.Identity()
    # torchvision puts the way past a block behind its two convolutions, as here.
    given, taken = list(ours.state_dict().values()), theirs.state_dict()
    assert [v.shape for v in given] == [v.shape for v in taken.values()]
    theirs.load_state_dict(dict(zip(taken, given, strict=True)))
    for network in (ours, theirs):
        network.eval()
    with torch.no_grad():
        assert torch.allclose(ours(images()), theirs(images()), atol=1e-5)


def test_every_weight_of_resnet18_is_physical() -> None:
    network = ResNet(conv, MRRLinear)
    rings = sum(m.current.numel() for m in network.modules() if isinstance(m, MRRWeightBank))
    assert rings == 11_159_232 + 5_120
    left = {type(m) for m in network.modules() if not list(m.children())}
    assert left == {MRRConv2d, MRRLinear, nn.BatchNorm2d}


@pytest.mark.parametrize(("side", "channels", "depth"), [(32, 3, 3), (8, 1, 2), (28, 1, 2)])
def test_images_come_back_in_their_shape(side: int, channels: int, depth: int) -> None:
    torch.manual_seed(0)
    options = {"side": side, "channels": channels, "width": 4, "depth": depth}
    coder = Autoencoder(conv, MRRLinear, latent=6, **options)
    x = images(5, channels, side)
    assert coder.encode(x).shape == (5, 6)
    y = coder(x)
    assert y.shape == x.shape
    assert bool(((y >= 0.0) & (y <= 1.0)).all())
    physical = {n for n, m in coder.named_modules() if isinstance(m, MRRWeightBank)}
    assert all(n.startswith(("encoder", "code")) for n in physical)
    assert len(physical) == depth + 1
    maker = Generator(conv, MRRLinear, latent=5, **options)
    made = maker(torch.randn(5, 5))
    assert made.shape == x.shape
    assert not [m for m in maker.modules() if type(m) in (nn.Linear, nn.Conv2d)]
    assert Discriminator(side, channels, width=4, depth=depth)(made).shape == (5,)


def test_width_and_depth_are_parameters() -> None:
    small = ResNet(conv, MRRLinear, width=4, blocks=(1, 1), channels=1, n_classes=7)
    assert small(images(2, 1, 8)).shape == (2, 7)
    for broken in ({"width": 0}, {"blocks": (0,)}):
        with pytest.raises(UserError):
            ResNet(conv, MRRLinear, **broken)
    with pytest.raises(UserError, match="cannot be halved 4 times"):
        Autoencoder(conv, MRRLinear, side=28, depth=4)
    with pytest.raises(UserError, match="cannot be halved 4 times"):
        Generator(conv, MRRLinear, side=28, depth=4)


def test_the_discriminator_cannot_be_steep() -> None:
    """Each weight has spectral norm 1 after some steps of its power iteration."""
    torch.manual_seed(0)
    judge = Discriminator(8, 1, width=4, depth=2)
    for _ in range(50):
        judge(images(2, 1, 8))
    judge.eval()
    for layer in judge.layers:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            norm = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
            assert float(norm) == pytest.approx(1.0, abs=0.02)


def test_losses_of_both_sides() -> None:
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert float(hinge_loss(real, made)) == pytest.approx(0.25 + 0.5)
    assert float(realism_loss(made)) == pytest.approx(1.5)
