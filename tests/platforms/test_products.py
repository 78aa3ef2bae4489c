from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.base import Condition, Device, PhysicalLayer, operate
from pnnbench.platforms.freespace import FreeSpaceLayer
from pnnbench.platforms.mrr import MRRConv1d, MRRConv2d, MRRLinear
from pnnbench.platforms.mzi_layers import MZIConv1d, MZIConv2d, MZILinear
from pnnbench.platforms.products import Geometry, kernel_shape, sizes

CONVOLUTIONS = [
    (nn.Conv1d, MRRConv1d),
    (nn.Conv1d, MZIConv1d),
    (nn.Conv2d, MRRConv2d),
    (nn.Conv2d, MZIConv2d),
]


def programmed(layer: Any, like: Any) -> Any:
    """The layer in double precision, with weight and bias of another."""
    layer.double().program(like.weight.detach())
    if like.bias is not None:
        with torch.no_grad():
            layer.bias.copy_(like.bias)
    return layer


@settings(max_examples=25)
@given(
    which=st.sampled_from(CONVOLUTIONS),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.sampled_from([0, 1, 2, "valid", "same"]),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    bias=st.booleans(),
)
def test_convolutions_are_those_of_torch(
    which: tuple[type[Any], type[Any]],
    kernel: int,
    stride: int,
    padding: int | str,
    dilation: int,
    groups: int,
    mode: str,
    bias: bool,
) -> None:
    if padding == "same":
        stride = 1
    theirs, ours = which
    torch.manual_seed(0)
    options = {"dilation": dilation, "groups": groups, "padding_mode": mode, "bias": bias}
    plain = theirs(4, 6, kernel, stride=stride, padding=padding, **options).double()
    layer = programmed(ours(4, 6, kernel, stride=stride, padding=padding, **options), plain)
    x = torch.randn(3, 4, *[9] * (1 if theirs is nn.Conv1d else 2), dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cls", [MRRConv2d, MZIConv2d])
def test_kernels_need_not_be_square(cls: type[Any]) -> None:
    plain = nn.Conv2d(2, 3, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2)).double()
    layer = cls(2, 3, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    x = torch.randn(2, 2, 8, 7, dtype=torch.float64)
    torch.testing.assert_close(programmed(layer, plain)(x), plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 6), (5, 3, 6), (5, 2, 3, 6)])
@pytest.mark.parametrize("cls", [MRRLinear, MZILinear, FreeSpaceLayer])
def test_linear_layers_take_the_last_dimension_as_torch_does(
    cls: type[Any], shape: tuple[int, ...]
) -> None:
    plain = nn.Linear(6, 4).double()
    layer = cls(6, 4) if cls is not FreeSpaceLayer else _free_space()
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(programmed(layer, plain)(x), plain(x), rtol=0, atol=1e-12)


def _free_space() -> FreeSpaceLayer:
    from pnnbench.platforms.freespace import Layout

    return FreeSpaceLayer(6, 4, Layout((2, 3), cell=(4, 5)))


def _layers() -> list[tuple[PhysicalLayer, Tensor]]:
    torch.manual_seed(1)
    return [
        (MRRLinear(6, 4), torch.randn(3, 2, 6)),
        (MZILinear(6, 4), torch.randn(3, 2, 6)),
        (_free_space(), torch.randn(3, 2, 6)),
        (MRRConv2d(4, 6, 3, groups=2), torch.randn(3, 4, 5, 5)),
        (MZIConv2d(4, 6, 3, groups=2, ports=4), torch.randn(3, 4, 5, 5)),
        (MRRConv1d(4, 6, 3), torch.randn(3, 4, 5)),
    ]


@pytest.mark.parametrize("which", range(6))
@torch.no_grad()
def test_many_devices_at_once_are_each_by_itself(which: int) -> None:
    layer, x = _layers()[which]
    devices = [Device.draw(layer, 0.1, seed) for seed in (3, 4)]

    def noise(name: str, shape: tuple[int, ...]) -> Tensor:
        drawn = torch.randn(shape[1:], generator=torch.Generator().manual_seed(7))
        return drawn.expand(shape)

    with operate(layer, [Condition(d) for d in devices], noise):
        together = layer(x.repeat(2, *[1] * (x.dim() - 1))).unflatten(0, (2, 3))
    for block, device in zip(together, devices, strict=True):
        with operate(layer, [Condition(device)], noise):
            torch.testing.assert_close(layer(x), block)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


@torch.no_grad()
def test_a_ring_of_a_group_sees_the_light_of_its_group() -> None:
    layer = MRRConv2d(4, 2, 1, groups=2)
    x = torch.tensor([1.0, 2.0, 30.0, 40.0]).view(1, 4, 1, 1)
    assert layer._light(x).flatten().tolist() == [3.0, 70.0]


def test_a_description_names_what_is_not_plain() -> None:
    assert Geometry(2, 3, 4).describe() == {}
    assert Geometry(2, groups=2, dilation=2).describe() == {"groups": 2, "dilation": 2}
    assert MRRConv2d(2, 2, 3, padding_mode="circular").describe()["padding_mode"] == "circular"
    assert "groups" not in MRRConv2d(2, 2, 3, padding=1).describe()


def test_only_one_padding_on_all_sides_and_nothing_else_is_plain() -> None:
    assert Geometry(2, 1, 2).plain
    for other in ({"stride": 2}, {"groups": 2}, {"dilation": 2}, {"padding_mode": "reflect"}):
        assert not Geometry(2, **other).plain  # type: ignore[arg-type]
    assert not Geometry(2, padding="same").plain


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sizes("stride", (1, 2, 3), 2), "stride"),
        (lambda: Geometry(2, stride=0), "stride"),
        (lambda: Geometry(2, padding=-1), "padding"),
        (lambda: Geometry(2, padding="half"), "half"),
        (lambda: Geometry(2, stride=2, padding="same"), "same"),
        (lambda: Geometry(2, padding_mode="mirror"), "mirror"),
        (lambda: kernel_shape(3, 4, 3, Geometry(2, groups=2)), "multiple of the groups"),
    ],
)
def test_what_torch_would_not_take_reads(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize("count", [1, 3])
def test_channels_last_is_the_same_product_but_for_rounding(count: int) -> None:
    layer = MRRConv2d(16, 8, 3, padding=1, stride=2)
    x = torch.rand(count * 4, 16, 8, 8)
    conditions = [Condition(Device.draw(layer_in(layer), 1.0, seed)) for seed in range(count)]
    with operate(layer_in(layer), conditions), torch.no_grad():
        first = layer(x)
        layer.channels_last = True
        last = layer(x)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(first, last, rtol=1e-5, atol=1e-5)
    assert layer.current.is_contiguous()


def layer_in(layer: nn.Module) -> nn.Module:
    return nn.ModuleDict({"layer": layer})


@pytest.mark.parametrize(
    "layer",
    [
        MRRLinear(3, 2),
        MZILinear(3, 2),
        FreeSpaceLayer(4, 2),
        MRRConv1d(2, 3, 2),
        MZIConv2d(2, 3, 2),
    ],
    ids=lambda layer: type(layer).__name__,
)
@torch.no_grad()
def test_a_weight_in_place_of_the_transfer_is_that_of_all_conditions(layer: Any) -> None:
    shape = {"MRRConv1d": (2, 5), "MZIConv2d": (2, 5, 5), "FreeSpaceLayer": (4,)}
    x = torch.rand(6, *shape.get(type(layer).__name__, (3,)))
    weight = torch.randn_like(layer.ideal_weight())
    layer.override_weight(weight)
    alone = layer(x)
    with operate(layer, [Condition(Device.draw(layer, 0.1, seed)) for seed in (1, 2)]):
        torch.testing.assert_close(layer(x), alone)
        layer.override_weight(torch.stack([weight, -weight]))
        torch.testing.assert_close(layer(x)[:3], alone[:3])
        assert float((layer(x)[3:] - alone[3:]).abs().max()) > 0.1
