from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pnnbench.errors import UserError
from pnnbench.workloads.choosing import Modules
from pnnbench.workloads.converted import physical_network

from .networks_of_users import made


def converted(model: nn.Module, modules: Modules, platform: str = "mrr") -> list[str]:
    return [line.name for line in physical_network(model, platform, modules).report if line.became]


@pytest.mark.parametrize(
    ("modules", "names"),
    [
        (None, ["conv", "grouped", "twice", "head"]),
        ("head", ["head"]),
        ("*e*d", ["grouped", "head"]),
        (["conv", "h*"], ["conv", "head"]),
        (lambda name, module: isinstance(module, nn.Linear), ["twice", "head"]),
    ],
)
def test_modules_are_chosen_by_name_pattern_or_function(modules: Any, names: list[str]) -> None:
    assert converted(made(), modules) == names


def test_what_is_left_is_told() -> None:
    report = {line.name: line.why for line in physical_network(made(), "mrr", "head").report}
    assert report["conv"] == "not among modules="
    assert report["norm"] == "no layer of mrr is like it"
    space = physical_network(made(), "freespace").report
    assert {line.name for line in space if line.became} == {"twice", "head"}
    assert next(line.why for line in space if line.name == "conv").startswith("no layer of free")


class Own(nn.Linear):
    pass


def odd() -> nn.ModuleDict:
    """Layers that look as if they could become physical."""
    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *_: None)
    tied = nn.Linear(4, 4)
    embedding = nn.Embedding(4, 4)
    tied.weight = embedding.weight
    huge = nn.Linear(4, 4)
    nn.init.constant_(huge.weight, torch.inf)
    return nn.ModuleDict(
        {
            "plain": nn.Linear(4, 4),
            "own": Own(4, 4),
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
            "hooked": hooked,
            "tied": tied,
            "embedding": embedding,
            "coarse": nn.Linear(4, 4).half(),
            "huge": huge,
            "transposed": nn.ConvTranspose2d(4, 4, 3),
            "encoder": nn.TransformerEncoderLayer(4, 2, 4),
        }
    )


def test_layers_that_are_more_than_they_look_stay_digital() -> None:
    report = {line.name: line.why for line in physical_network(odd(), "mrr").report}
    assert [name for name, why in report.items() if not why] == ["plain"]
    for name, words in {
        "own": "a subclass of Linear",
        "normed": "a subclass of Linear",
        "hooked": "hooks",
        "tied": "shares its weight with 'embedding'",
        "coarse": "float16",
        "huge": "not finite",
        "transposed": "no layer of mrr is like it",
        "encoder.linear1": "reads its weight",
        "encoder.self_attn.out_proj": "a subclass of Linear",
    }.items():
        assert words.lower() in report[name].lower(), name


def test_layers_without_a_size_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(4))
    with pytest.raises(UserError, match=r"without a size yet: 1\.weight") as caught:
        physical_network(model, "mrr")
    assert "once on a batch" in caught.value.next_step
    model(torch.rand(2, 4))
    assert len(physical_network(model, "mrr").report) == 2


def test_a_network_with_tensors_of_a_graph_is_refused() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        normed = nn.utils.weight_norm(nn.Linear(4, 4))
    normed(torch.rand(2, 4))
    with pytest.raises(UserError, match="cannot be copied") as caught:
        physical_network(nn.Sequential(normed, nn.Linear(4, 4)), "mrr")
    assert "parametrizations" in caught.value.next_step


def test_a_module_that_is_named_and_cannot_is_refused() -> None:
    with pytest.raises(UserError, match=r"'norm' .BatchNorm2d. cannot become physical"):
        physical_network(made(), "mrr", ["head", "norm"])
    assert converted(made(), ["*"]) == ["conv", "grouped", "twice", "head"]


def test_a_pattern_without_a_module_reads() -> None:
    with pytest.raises(UserError, match="did you mean 'head'"):
        physical_network(made(), "mrr", "haed")
    with pytest.raises(UserError, match="modules holds 3"):
        physical_network(made(), "mrr", ["head", 3])  # type: ignore[list-item]


def test_what_is_physical_already_stays() -> None:
    network = physical_network(made(), "mrr", "head")
    again = physical_network(network.model, "mrr", "conv")
    why = {line.name: line.why for line in again.report}
    assert why["head"] == "it is physical already"
    assert not why["conv"]
