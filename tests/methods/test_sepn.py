from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pnnbench.methods.sepn import ComplexBatchNorm, ComplexConv, SEPNs

PUBLISHED = (
    Path(__file__).parents[3] / "shared" / "reference" / "checkpoints" / "mzi" / "dat_sepn.npz"
)


def fields(batch: int = 3, ports: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.complex(*(torch.randn(batch, ports, generator=generator) for _ in range(2)))


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_one_network_has_the_published_size() -> None:
    network = SEPNs(64, 1)
    assert parameters(network) == 20_054
    assert parameters(SEPNs(64, 1, batch_norm=False)) == 19_514
    assert parameters(SEPNs(64, 6)) == 120_324


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("block1.0", 80), ("block1.1", 296), ("block1.2", 296), ("down1", 80)),
        *(("block2.0", 592), ("block2.1", 1168), ("block2.2", 1168), ("down2", 592)),
        *(("block3.0", 2336), ("block3.1", 4640), ("block3.2", 4640)),
        *(("up1", 2320), ("up2", 1160), ("out", 146)),
    ],
)
def test_every_layer_has_the_size_of_the_table(name: str, count: int) -> None:
    assert parameters(SEPNs(64, 1, batch_norm=False).get_submodule(name)) == count


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("block1", (4, 8)),
        ("down1", (4, 4)),
        ("block2", (8, 4)),
        ("down2", (8, 2)),
        ("block3", (16, 2)),
        ("up1", (8, 4)),
        ("up2", (4, 8)),
        ("out", (1, 8)),
    ],
)
def test_every_plane_has_the_shape_of_the_table(name: str, shape: tuple[int, int]) -> None:
    network = SEPNs(64, 2)
    seen: list[Tensor] = []
    network.get_submodule(name).register_forward_hook(lambda m, args, out: seen.append(out))
    assert network(fields()).shape == (3, 64)
    channels, side = shape
    assert seen[0].shape == (3, 2, 2, channels, side, side)


def complex_conv(layer: ComplexConv, x: Tensor, transposed: bool) -> Tensor:
    """Oracle: two real layers on real and imaginary parts."""

    def real(x: Tensor, part: str) -> Tensor:
        weight, bias = getattr(layer, f"{part}_weight")[0], getattr(layer, f"{part}_bias")[0]
        if transposed:
            return F.conv_transpose2d(x, weight, bias, 2, 1, output_padding=1)
        return F.conv2d(x, weight, bias, layer.stride, 1)

    re, im = x.real, x.imag
    return torch.complex(real(re, "a") - real(im, "b"), real(re, "b") + real(im, "a"))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_complex_layer_is_two_real_ones(stride: int, transposed: bool) -> None:
    if transposed and stride == 1:
        stride = 2
    layer = ComplexConv(
        1, 3, 5, stride=stride, transposed=transposed, batch_norm=False, activation=False
    )
    x = fields(2, 3 * 16).view(2, 3, 4, 4)
    got = layer(torch.stack((x.real, x.imag), 1)[:, None])[:, 0]
    expected = complex_conv(layer, x, transposed)
    torch.testing.assert_close(torch.complex(got[:, 0], got[:, 1]), expected)


def test_networks_side_by_side_add_up() -> None:
    together = SEPNs(64, 3).eval()
    total = torch.zeros(3, 64, dtype=torch.complex64)
    for i in range(3):
        alone = SEPNs(64, 1).eval()
        state = {k: v[i : i + 1] for k, v in together.state_dict().items()}
        alone.load_state_dict(state)
        total = total + alone(fields())
    torch.testing.assert_close(together(fields()), total, rtol=1e-4, atol=1e-5)


def test_batch_norm_whitens_a_batch() -> None:
    norm = ComplexBatchNorm(1, 2)
    with torch.no_grad():
        norm.weight[..., :2] = 1.0
    skewed = torch.randn(500, 1, 2, 2, 4, 4)
    skewed[:, :, 1] += 0.7 * skewed[:, :, 0] + 3.0
    out = norm(skewed).movedim(2, 0).movedim(3, 1).flatten(2)  # (2 parts, channels, samples)
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 2), rtol=0, atol=1e-4)
    for channel in range(2):
        covariance = torch.cov(out[:, channel])
        torch.testing.assert_close(covariance, torch.eye(2), rtol=0, atol=1e-3)


def test_evaluation_uses_the_running_statistics() -> None:
    # Folded into the weights, it is the layer and then the map at the running statistics.
    layer = ComplexConv(2, 2, 3, activation=False)
    x = torch.randn(50, 2, 2, 2, 4, 4)
    for _ in range(3):
        layer(x)
    assert layer.norm is not None
    plain = ComplexConv(2, 2, 3, activation=False, batch_norm=False)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if "norm" not in k})
    matrix, shift = layer.norm.frozen()
    expected = torch.einsum("gcij,bgjchw->bgichw", matrix, plain(x))
    expected = expected + shift.movedim(2, 1)[None, ..., None, None]
    torch.testing.assert_close(layer.eval()(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ports", [1, 10, 16, 64, 70])
def test_any_number_of_ports(ports: int) -> None:
    assert SEPNs(ports, 1)(fields(4, ports)).shape == (4, ports)


#: Published name of each layer.
LAYERS = {
    **{f"block{b}.{i}": f"ConvB{b}.ComplexConv-{i}" for b in (1, 2, 3) for i in range(3)},
    **{f"{d.lower()}{i}": f"{d}Conv{i}" for d in ("Down", "Up") for i in (1, 2)},
    "out": "OutConv",
}


@torch.no_grad()
def load_published(network: SEPNs, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Fills networks with the published ones, ``cn1`` to ``cn<count>``; no array is left over."""
    left = {k for k in arrays if not k.endswith("num_batches_tracked")}
    for name, published in LAYERS.items():
        layer = network.get_submodule(name)
        assert isinstance(layer, ComplexConv)
        kind, tran = ("ConvT2d", "conv_tran") if layer.transposed else ("Conv2d", "conv")
        targets: dict[str, Tensor] = {
            f"Complex{kind}.{tran}_r.weight": layer.a_weight,
            f"Complex{kind}.{tran}_i.weight": layer.b_weight,
            f"Complex{kind}.{tran}_r.bias": layer.a_bias,
            f"Complex{kind}.{tran}_i.bias": layer.b_bias,
        }
        if layer.norm is not None:
            targets |= {
                "ComplexBN.weight": layer.norm.weight,
                "ComplexBN.bias": layer.norm.bias,
                "ComplexBN.running_mean": layer.norm.running_mean,
                "ComplexBN.running_covar": layer.norm.running_covariance,
            }
        for key, target in targets.items():
            for i in range(network.count):
                full = f"cn{i + 1}.{published}.{key}"
                value = torch.from_numpy(arrays[full])
                value = torch.view_as_real(value) if value.is_complex() else value
                assert value.shape == target[i].shape, full
                target[i].copy_(value)
                left.remove(full)
    assert not left


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs shared/reference")
def test_the_published_networks_load_and_predict() -> None:
    with np.load(PUBLISHED) as arrays:
        published = dict(arrays)
    network = SEPNs(64, 6)
    load_published(network, published)
    network.eval()
    prefix = "cn2.ConvB1.ComplexConv-0.ComplexConv2d.conv_r.weight"
    torch.testing.assert_close(
        network.get_submodule("block1.0").a_weight[1],  # type: ignore[index]
        torch.from_numpy(published[prefix]),
    )
    assert torch.isfinite(torch.view_as_real(network(fields()))).all()
