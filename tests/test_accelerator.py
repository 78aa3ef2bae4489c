"""Where it is computed: names, refusals, what a record says, what an optimiser takes along."""

from __future__ import annotations

import pytest
import torch

from pnnbench import accelerator
from pnnbench.accelerator import (
    PRECISIONS,
    check_accelerator,
    check_precision,
    choose,
    count_gpu_memory,
    describe,
    optimizer_to,
    peak_gpu_memory,
    without_autocast,
)
from pnnbench.errors import UserError
from tests.pretended import DEVICE, pretended
from tests.programs import said

HERE = torch.device("cpu")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


def test_the_cpu_is_the_default() -> None:
    assert choose("auto") == choose("cpu") == choose("cpu", gains=True) == HERE


@no_gpu
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert choose("auto", gains=True) == HERE


@no_gpu
def test_a_gpu_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(UserError, match=r"--accelerator is 'cuda', and torch .* finds no GPU"):
        check_accelerator("cuda", "--accelerator")
    with pytest.raises(UserError, match="finds no GPU"):
        choose("cuda")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="gpu"):
        choose("gpu")
    with pytest.raises(UserError, match="64"):
        check_precision("64")
    with pytest.raises(UserError, match="True"):
        check_precision(True)
    assert [check_precision(p) for p in (*PRECISIONS, 32)] == [*PRECISIONS, "32"]


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(UserError, match=r"16-mixed.*on the CPU"):
        choose("cpu", precision="16-mixed")
    assert choose("cpu", precision="bf16-mixed") == HERE


def test_a_record_of_single_precision_on_the_cpu_says_nothing() -> None:
    assert describe(HERE) == {}
    assert describe(HERE, "bf16-mixed") == {"training_precision": "bf16-mixed"}


def test_nothing_is_cast_inside() -> None:
    a = torch.ones(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with without_autocast(HERE):
            assert (a @ a).dtype == torch.float32
    with without_autocast(DEVICE):  # a device without mixed precision
        assert (a @ a).dtype == torch.float32


def test_an_optimiser_goes_where_its_parameters_have_gone() -> None:
    with pretended() as place:
        layer = torch.nn.Linear(2, 2)
        optimizer = torch.optim.Adam(layer.parameters())
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        layer.to(place)
        layer(torch.ones(1, 2).to(place)).sum().backward()
        with pytest.raises(RuntimeError, match="one device"):
            optimizer.step()
        optimizer_to(optimizer, place)
        optimizer.step()
        assert {s["step"].device for s in optimizer.state.values()} == {HERE}


def test_importing_it_imports_no_torch() -> None:
    assert "torch" not in vars(accelerator)


@pytest.mark.gpu
def test_a_gpu_computes_what_it_says() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    place = choose("cuda")
    assert place == torch.device("cuda", 0)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    found = (a.to(place) @ b.to(place)).cpu()
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5  # tf32: 5e-4
    x, w = torch.randn(2, 16, 8, 8, generator=generator), torch.randn(16, 16, 3, 3)
    exact = torch.nn.functional.conv2d(x.double(), w.double())
    found = torch.nn.functional.conv2d(x.to(place), w.to(place)).cpu()
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5
    described = describe(place, "bf16-mixed")
    assert described["device"] == "cuda"
    assert described["gpu"] == torch.cuda.get_device_name(0)


@pytest.mark.gpu
def test_what_was_there_before_is_no_memory_of_a_job() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    place = choose("cuda")
    count_gpu_memory(place)
    torch.zeros(2**26, device=place)
    assert peak_gpu_memory(place)["peak_gpu_memory_bytes"] >= 2**28
    count_gpu_memory(place)
    assert peak_gpu_memory(place)["peak_gpu_memory_bytes"] < 2**28


@pytest.mark.gpu
def test_the_first_job_of_a_process_is_counted_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    program = """
import torch
from pnnbench.accelerator import choose, count_gpu_memory, peak_gpu_memory
place = choose("cuda")
count_gpu_memory(place)
torch.zeros(2**26, device=place)
print(peak_gpu_memory(place)["peak_gpu_memory_bytes"] >= 2**28)
"""
    assert said(program) == "True"


def test_the_cpu_has_no_gpu_memory() -> None:
    count_gpu_memory(HERE)
    assert peak_gpu_memory(HERE) == {}
