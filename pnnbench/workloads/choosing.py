"""Which modules of a user's network become physical, and why the others do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from pnnbench.errors import UserError, unknown_name
from pnnbench.platforms.layer import PhysicalLayer
from pnnbench.workloads.layer_kinds import Kinds

#: Which modules become physical: a name or a pattern such as ``"layer*"``, several of them, or a
#: function of name and module; None for all that can.
Modules = str | Sequence[str] | Callable[[str, nn.Module], bool] | None


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """What became of one module.

    Attributes:
        name: Its name in the user's network; empty for the network itself.
        kind: Its class.
        became: Class and shape of the physical layer; empty where it stays digital.
        error: Largest error of the programmed weight, in weights; 0 where it stays digital.
        why: Why it stays digital, or what was added.
    """

    name: str
    kind: str
    became: str = ""
    error: float = 0.0
    why: str = ""

    def __str__(self) -> str:
        name = self.name or "(the network)"
        if not self.became:
            return f"{name}: {self.kind} stays digital: {self.why}"
        more = f", {self.why}" if self.why else ""
        return f"{name}: {self.kind} -> {self.became}, largest error {self.error:.2g}{more}"


def choose(
    model: nn.Module, platform: str, kinds: Kinds, modules: Modules
) -> tuple[dict[str, nn.Module], dict[str, LayerReport]]:
    """Tells the modules that become physical from those that stay digital.

    Args:
        model: The network.
        platform: Name of the platform.
        kinds: What it makes of layers.
        modules: As for `physical_network`.

    Returns:
        Modules that become physical by name, and a line for every module that has parameters of
        its own, in order.

    Raises:
        UserError: As `physical_network`.
    """
    named = dict(model.named_modules())
    wanted = _selection(modules, named)
    owners: dict[int, list[str]] = {}
    for name, module in named.items():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(name)
    chosen: dict[str, nn.Module] = {}
    report: dict[str, LayerReport] = {}
    for name, module in named.items():
        if not module._parameters:
            continue
        why = _obstacle(name, module, named, platform, kinds, owners)
        if not why and not wanted(name, module):
            why = "not among modules="
        elif why and name in _names(modules):
            raise UserError(
                f"{name!r} ({type(module).__name__}) cannot become physical: {why}",
                next_step="leave it out of modules=",
            )
        report[name] = LayerReport(name, type(module).__name__, why=why)
        if not why:
            chosen[name] = module
    if not chosen:
        kept = "; ".join(str(line) for line in list(report.values())[:6])
        raise UserError(
            f"no layer becomes physical on {platform}" + (f": {kept}" if kept else ""),
            allowed=", ".join(kind.__name__ for kind in kinds.makers),
        )
    return chosen, report


def _names(modules: Modules) -> list[str]:
    if modules is None or callable(modules):
        return []
    return [modules] if isinstance(modules, str) else list(modules)


def _selection(
    modules: Modules, named: Mapping[str, nn.Module]
) -> Callable[[str, nn.Module], bool]:
    if modules is None:
        return lambda name, module: True
    if callable(modules):
        return modules
    patterns = _names(modules)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise UserError(f"modules holds {pattern!r}", allowed="names and patterns")
        if not any(fnmatchcase(name, pattern) for name in named):
            raise unknown_name("module", pattern, [n for n in named if n], where="modules")
    return lambda name, module: any(fnmatchcase(name, pattern) for pattern in patterns)


def _obstacle(
    name: str,
    module: nn.Module,
    named: Mapping[str, nn.Module],
    platform: str,
    kinds: Kinds,
    owners: Mapping[int, list[str]],
) -> str:
    """Why a module cannot become physical; empty if it can."""
    if isinstance(module, PhysicalLayer):
        return "it is physical already"
    if type(module) not in kinds.makers:
        near = [kind.__name__ for kind in kinds.makers if isinstance(module, kind)]
        if near:
            return f"a subclass of {near[0]} may compute something else"
        return f"no layer of {platform} is like it"
    if isinstance(named[name.rpartition(".")[0]], nn.TransformerEncoderLayer):
        return "nn.TransformerEncoderLayer reads its weight by itself"
    if module._forward_hooks or module._forward_pre_hooks:
        return "it has hooks, such as those of a weight norm"
    if "forward" in vars(module):
        return "it has a forward of its own"
    weight = module.weight
    if not isinstance(weight, nn.Parameter):
        return "its weight is no parameter"
    others = [n for n in owners[id(weight)] if n != name]
    if others:
        return f"it shares its weight with {others[0]!r}"
    others = [n for n in owners.get(id(module.bias), []) if n != name]
    if others:
        return f"it shares its bias with {others[0]!r}"
    if weight.dtype not in (torch.float32, torch.float64):
        return f"controls are not kept in {weight.dtype}"
    if not torch.isfinite(weight).all():
        return "its weights are not finite"
    return ""
