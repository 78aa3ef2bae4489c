"""Shot noise: threads draw what one thread draws."""

from __future__ import annotations

import torch

from pnnbench.evaluation.noise import NOISE_BLOCK, DeviceNoise, drawing
from tests.defaults import double_by_default
from tests.pretended import DEVICE


def test_threads_draw_the_same_noise() -> None:
    devices = [3, None, 3, 4]
    one = DeviceNoise(devices)
    one.start = NOISE_BLOCK // 2
    shape = (4, 3 * NOISE_BLOCK, 5)
    with drawing(DEVICE) as pool:
        assert pool is not None
        many = DeviceNoise(devices, pool)
        many.start = one.start
        assert torch.equal(many("conv", shape), one("conv", shape))
        assert torch.equal(many("fc", shape), one("fc", shape))


def test_the_cpu_draws_by_itself() -> None:
    with drawing(torch.device("cpu")) as pool:
        assert pool is None


def test_some_images_keep_the_noise_that_they_have_among_the_others() -> None:
    for devices in ([3, 3], [3, None, 4, 3]):
        noise = DeviceNoise(devices)
        noise.start = NOISE_BLOCK - 7
        whole = noise("conv", (len(devices), 30, 2, 3))
        chosen = torch.tensor([0, 6, 7, 29])
        with noise.only(chosen, 30):
            some = noise("conv", (len(devices), 4, 2, 3))
        assert torch.equal(some, whole[:, chosen])
        assert torch.equal(noise("conv", (len(devices), 30, 2, 3)), whole)


def test_the_noise_is_the_same_whatever_precision_torch_has_by_default() -> None:
    noise = DeviceNoise([3])
    shape = (1, NOISE_BLOCK + 7, 4)
    expected = noise("conv", shape)
    with double_by_default():
        found = noise("conv", shape)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
