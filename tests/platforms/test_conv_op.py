from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as hs
from torch import Tensor

from pnnbench.platforms import conv_op

from ..defaults import double_by_default

built = pytest.mark.skipif(bool(conv_op.missing()), reason="no C compiler")

PROGRAM = "from pnnbench.platforms import conv_op; print(conv_op.missing() or 'there')"


def plain(x: Tensor, w: Tensor, a: Tensor, s: Tensor, p: int, z: Tensor | None, g: float) -> Tensor:
    found = []
    for c in range(len(w)):
        y = F.conv2d(x[c % len(x)].double(), w[c].double(), padding=p)
        if z is not None:
            y = y + g * z[c % len(z)].double()
        y = a[c].double().view(-1, 1, 1) * y + s[c].double().view(-1, 1, 1)
        found.append(F.max_pool2d(F.relu(y), 2))
    return torch.stack(found)


@built
@settings(max_examples=60, deadline=None)
@given(
    count=hs.integers(1, 4),
    images=hs.integers(1, 3),
    channels=hs.integers(1, 3),
    outputs=hs.integers(1, 19),
    kernel=hs.integers(1, 5),
    padding=hs.integers(0, 2),
    height=hs.integers(6, 13),
    width=hs.integers(6, 13),
    shared=hs.booleans(),
    noise=hs.sampled_from(["none", "one", "each"]),
)
def test_it_is_the_plain_block_but_for_rounding(
    count: int,
    images: int,
    channels: int,
    outputs: int,
    kernel: int,
    padding: int,
    height: int,
    width: int,
    shared: bool,
    noise: str,
) -> None:
    torch.manual_seed(0)
    x = torch.randn(1 if shared else count, images, channels, height, width)
    w = torch.randn(count, outputs, channels, kernel, kernel)
    a, s = torch.randn(2, count, outputs).unbind()
    reach = 2 * padding - kernel + 1
    z = torch.randn(count, images, outputs, height + reach, width + reach)
    drawn = {"none": None, "one": z[:1], "each": z}[noise]
    found = conv_op.conv_block(x, w, a, s, padding=padding, noise=drawn, gain=0.3)
    expected = plain(x, w, a, s, padding, drawn, 0.3)
    assert found.shape == expected.shape
    scale = float(expected.abs().max()) + 1.0
    assert float((found - expected).abs().max()) <= 5e-6 * scale


@built
def test_an_output_does_not_depend_on_what_is_computed_beside_it() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(1, 5, 2, 9, 9), torch.randn(4, 7, 2, 3, 3)
    a, s = torch.rand(2, 4, 7).unbind()
    z = torch.randn(1, 5, 7, 7, 7)
    every = conv_op.conv_block(x, w, a, s, noise=z, gain=0.1)
    alone = conv_op.conv_block(
        x[:, 2:4], w[3:], a[3:], s[3:], noise=z[:, 2:4].contiguous(), gain=0.1
    )
    assert torch.equal(alone[0], every[3, 2:4])
    repeated = conv_op.conv_block(x.repeat(4, 1, 1, 1, 1), w, a, s, noise=z, gain=0.1)
    assert torch.equal(repeated, every)


@built
def test_what_is_not_a_number_stays_so() -> None:
    x = torch.ones(1, 1, 1, 6, 6)
    x[..., 0, 0] = float("nan")
    x[..., 5, 5] = float("inf")
    w, one = torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1)
    found = conv_op.conv_block(x, w, one, 0 * one)[0, 0, 0]
    assert bool(found[0, 0].isnan())
    assert float(found[2, 2]) == float("inf")
    assert found.isfinite().sum() == 7


def test_it_says_why_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def why(**environment: str) -> str:
        with monkeypatch.context() as changed:
            for name, value in environment.items():
                changed.setenv(name, value)
            conv_op._library.cache_clear()
            try:
                return conv_op.missing()
            finally:
                conv_op._library.cache_clear()

    assert why(PNNBENCH_COMPILE="0") == "PNNBENCH_COMPILE=0 switches it off"
    assert "no C compiler" in why(PATH=str(tmp_path), CC="", XDG_CACHE_HOME=str(tmp_path))
    assert "failed" in why(CC="false", XDG_CACHE_HOME=str(tmp_path))
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert why(XDG_CACHE_HOME=str(blocked)) not in ("", "there")


@built
def test_two_processes_may_build_it_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [p.communicate()[0].strip() for p in both] == ["there", "there"]
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] == [".so"]


@built
def test_it_is_in_single_precision_whatever_torch_has_by_default() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 2, 1, 6, 6, generator=generator)
    weight = torch.rand(2, 3, 1, 3, 3, generator=generator)
    scale, shift = torch.ones(2, 3), torch.zeros(2, 3)
    expected = conv_op.conv_block(x, weight, scale, shift)
    with double_by_default():
        found = conv_op.conv_block(x, weight, scale, shift)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
