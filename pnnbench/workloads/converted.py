"""A user's network with physical layers in the place of linear layers and convolutions."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pnnbench.errors import UserError
from pnnbench.platforms.layer import PhysicalLayer, physical_layers
from pnnbench.workloads.choosing import LayerReport, Modules, choose
from pnnbench.workloads.layer_kinds import Kinds, kinds_of
from pnnbench.workloads.likeness import check_likeness
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.sharing import can_check, check_sharing

#: Scales of the weights.
SCALES = ("per-layer",)
#: With a scale, where the largest weight stands in the range of the platform: at its end a ring is
#: on resonance and answers to nothing.
FILL = 0.9
#: Share of the largest weight by which a weight may lie outside of the range.
_ROUNDING = 1e-6
#: Weights that no platform has: with them the ends of its range are found.
_BEYOND = 1e9


class Gained(nn.Module):
    """A physical layer, a digital gain and a digital bias: for weights beyond its range.

    Args:
        layer: Physical layer without a bias, whose weights are the user's over the gain.
        gain: The gain, a digital parameter.
        bias: Digital bias (outputs,), or None.
        channels: Which dimension of the outputs the bias is for.
    """

    def __init__(
        self, layer: PhysicalLayer, gain: float, bias: Tensor | None, channels: int
    ) -> None:
        super().__init__()
        self.layer = layer
        self.gain = nn.Parameter(layer.like.new_tensor(gain))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the layer times the gain, plus the bias."""
        y = self.gain * self.layer(x)
        if self.bias is None:
            return y
        shape = [1] * y.dim()
        shape[self.channels] = -1
        return y + self.bias.view(shape)


class ConvertedNetwork(PhysicalNetwork):
    """A user's network, some of whose layers are physical.

    What lies before the first physical layer is split off where that can be read from the network,
    in a plain `torch.nn.Sequential` that keeps one row an image there; else the whole network is
    the physical part. Inputs are taken in the precision of the physical layers. Both parts work on
    copies of what they are given, so that a network which changes its inputs in place neither
    changes a data set nor the inputs of a second pass.

    Args:
        model: The network, batch first, with one tensor as its output.
        report: What became of each module.
        original: A copy of the network before, with which it is compared once; None for none.

    Attributes:
        model: The network.
        report: What became of each module that has parameters.
    """

    _original: nn.Module | None

    def __init__(
        self,
        model: nn.Module,
        report: Sequence[LayerReport],
        original: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.report = tuple(report)
        vars(self)["_original"] = original  # past torch's look at modules: no part of the network
        self._before = _digital_start(model)
        self._checked = False
        self._shares = False

    def check_outputs(self, x: Tensor) -> None:
        """Refuses a network that looks at the kinds of its layers; see `check_likeness`."""
        if self._original is not None:
            names = [line.name for line in self.report if line.became]
            check_likeness(self.model, self, self._original, names, x)
            vars(self)["_original"] = None

    def prefix(self, x: Tensor) -> Tensor:
        """Digital layers before the first physical one, where they can be told apart."""
        if x.is_floating_point():
            x = x.to(next(iter(physical_layers(self.model).values())).like.dtype)
        given = x
        if self._before:
            x = x.clone()
        for module in self._steps()[: self._before]:
            x = module(x)
        if len(x) != len(given):  # images would no longer be told apart
            self._before = 0
            return given
        return x

    def physical(self, h: Tensor) -> Tensor:
        """The rest of the network.

        Raises:
            UserError: If the network gives anything but one tensor, reads the weight of a layer
                that is physical, does not keep the batch in the first dimension, or, operated in
                evaluation, gives outputs that depend on what else is in the batch.
        """
        layers = physical_layers(self.model)
        if not self._shares and any(_operations(layers)) and can_check(self.model):
            with knowing_physical(self.model):
                check_sharing(self.model, self._run, h)
            self._shares = True
        for layer in layers.values():
            layer.start_pass(len(h))
        hooks = []
        if not self._checked and any(o and o.count > 1 for o in _operations(layers)):
            hooks = [
                x.register_forward_pre_hook(_batch_first(n, len(h))) for n, x in layers.items()
            ]
        try:
            with knowing_physical(self.model):
                outputs = self._run(h)
        finally:
            for hook in hooks:
                hook.remove()
        self._checked = self._checked or bool(hooks)
        if not isinstance(outputs, Tensor):
            raise UserError(
                f"the network gives {type(outputs).__name__}",
                allowed="one tensor (B, ...)",
                next_step="wrap it in a module whose forward gives the outputs to be scored",
            )
        return outputs

    def _run(self, h: Tensor) -> Any:
        h = h.clone()
        if not self._before:
            return self.model(h)
        for module in self._steps()[self._before :]:
            h = module(h)
        return h

    def _steps(self) -> list[nn.Module]:
        return list(self.model.children()) if self._before else []


def _operations(layers: Mapping[str, PhysicalLayer]) -> list[Any]:
    return [layer.operation for layer in layers.values()]


def _digital_start(model: nn.Module) -> int:
    """How many children of a plain sequence lie before the first that holds a physical layer."""
    # A hook or a forward of the sequence itself would not be called for a part of it.
    hooked = model._forward_hooks or model._forward_pre_hooks or "forward" in vars(model)
    steps = list(model._modules.values())
    if type(model) is not nn.Sequential or hooked or len(set(steps)) < len(steps):
        return 0
    return next(i for i, step in enumerate(model.children()) if physical_layers(step))


def _batch_first(name: str, batch: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def check(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        if len(inputs[0]) % batch:
            raise UserError(
                f"layer {name!r} is given {tuple(inputs[0].shape)} for a batch of {batch}: several "
                "devices share a batch, which has to stay in the first dimension",
                allowed="inputs of physical layers (B, ...), or (B * n, ...)",
                next_step="put the batch first (batch_first=True), or leave the layer digital",
            )

    return check


@contextmanager
def knowing_physical(model: nn.Module) -> Iterator[None]:
    """Context in which a network that looks into a layer which is physical is told so.

    Args:
        model: The network.

    Raises:
        UserError: Where it reads what such a layer does not have, or takes more than one input.
    """
    try:
        yield
    except AttributeError as error:
        raise _unknown_attribute(error, model) or error from None
    except TypeError as error:
        if not str(error).startswith(f"{type(model).__qualname__}.forward() missing"):
            raise
        raise UserError(
            f"the network takes more than one input: {error}",
            allowed="one tensor (B, ...)",
            next_step="wrap it in a module whose forward takes the inputs as one tensor",
        ) from None


def _unknown_attribute(error: AttributeError, model: nn.Module) -> UserError | None:
    kinds = {type(m).__name__ for m in model.modules() if isinstance(m, (PhysicalLayer, Gained))}
    if not any(str(error).startswith(f"'{kind}' object has no attribute") for kind in kinds):
        return None
    return UserError(
        f"the network looks into a layer that is physical: {error}",
        allowed="layers that are called, and nothing else of them",
        next_step="leave that layer digital with modules=",
    )


@torch.no_grad()
def physical_network(
    model: nn.Module,
    platform: str = "mrr",
    modules: Modules = None,
    *,
    scale: str | None = None,
    **options: Any,
) -> ConvertedNetwork:
    """Puts the linear layers and convolutions of a network on a platform.

    Weights are programmed into the controls, exactly but for rounding; biases stay digital. Layers
    become physical that are `torch.nn.Linear`, `Conv1d` or `Conv2d` themselves (``freespace``:
    `Linear`) and no subclass of them; everything else stays digital. A module that is used in
    several places stays one module. Modes, precision and device are those of the network.

    Args:
        model: The network, batch first; it is copied and stays as it is.
        platform: ``"mrr"``, ``"mzi"`` or ``"freespace"``.
        modules: Which modules become physical: a name, a pattern of names such as ``"layer*"``,
            several of them, or a function of name and module; None for all that can.
        scale: ``"per-layer"`` gives each layer a digital gain, a digital parameter, which puts its
            largest weight at `FILL` of the platform's range; None for none. Layers on meshes have
            a gain of their own in any case.
        **options: Options of the layers: mrr ``calibration``; mzi ``ports``, ``headroom``,
            ``imbalance_per_rad``, ``readout_noise``; freespace ``layout`` (its tile is each
            layer's own), ``sampling``, ``answers_to``, ``readout_noise``.

    Returns:
        The network, with a `ConvertedNetwork.report` of what became of each module.

    Raises:
        UserError: If an argument is unknown, nothing becomes physical, a module that is named
            cannot, a weight is out of the platform's range, or parameters are kept in plain lists.
    """
    kinds = kinds_of(platform, options)
    if scale is not None and scale not in SCALES:
        raise UserError(f"scale is {scale!r}", allowed=f"None, {', '.join(SCALES)}")
    whole = copied(model)
    chosen, report = choose(whole, platform, kinds, modules)
    made = {name: _physical(name, m, kinds, scale, options) for name, m in chosen.items()}
    _check_range(made, platform)
    places = {id(chosen[name]): layer.module for name, layer in made.items()}
    if id(whole) in places:
        whole = places[id(whole)]
    own = vars(nn.Module()).keys()
    for parent in list(whole.modules()):
        for name, child in parent._modules.items():
            if child is not None and id(child) in places:
                parent._modules[name] = places[id(child)]
        for name, value in vars(parent).items():
            if name not in own:
                vars(parent)[name] = _exchanged(value, places, set())
    _refuse_kept_parameters(whole, {id(m.weight): name for name, m in chosen.items()})
    report.update((name, layer.report) for name, layer in made.items())
    return ConvertedNetwork(whole, list(report.values()), copied(model))


def _refuse_kept_parameters(model: nn.Module, weights: Mapping[int, str]) -> None:
    """Refuses parameters in plain lists: no pass at other parameters would find them there.

    Raises:
        UserError: If there are any, the weight of a layer that has become physical among them.
    """
    for name, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "torch":  # which look after their own
            continue
        own = vars(nn.Module()).keys()
        for attribute, value in vars(module).items():
            if attribute in own:
                continue
            for parameter in _kept(value, set()):
                where = f"{name}.{attribute}" if name else attribute
                layer = weights.get(id(parameter))
                what = "a parameter" if layer is None else f"the weight of the layer {layer!r}"
                raise UserError(
                    f"the network keeps {what} in {where}, a {type(value).__name__}, where it is "
                    "not replaced",
                    allowed="parameters that are attributes of a module, or in a "
                    "torch.nn.ParameterList",
                    next_step="keep the module in its place, or take nn.ParameterList",
                )


def _kept(value: Any, seen: set[int]) -> Iterator[nn.Parameter]:
    """Parameters in plain lists, tuples and mappings."""
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, (list, dict, tuple)) and id(value) not in seen:
        seen.add(id(value))
        for item in value.values() if isinstance(value, dict) else value:
            yield from _kept(item, seen)


def _exchanged(value: Any, places: Mapping[int, nn.Module], seen: set[int]) -> Any:
    """The same value with modules exchanged: in plain lists too a forward pass finds its layers."""
    if isinstance(value, nn.Module):
        return places.get(id(value), value)
    if isinstance(value, (list, dict, tuple)) and id(value) not in seen:
        seen.add(id(value))
        keys = value if isinstance(value, dict) else range(len(value))
        found = {key: _exchanged(value[key], places, seen) for key in keys}
        changed = {key: new for key, new in found.items() if new is not value[key]}
        if changed and isinstance(value, tuple):
            return (
                type(value)(*found.values()) if hasattr(value, "_fields") else tuple(found.values())
            )
        for key, new in changed.items():
            value[key] = new  # type: ignore[index]
    return value


def copied(model: nn.Module) -> nn.Module:
    """A copy of a user's network; raises UserError if it is none, or cannot be converted."""
    if not isinstance(model, nn.Module):
        raise UserError(f"the network is {model!r}", allowed="a torch.nn.Module")
    if hasattr(model, "_orig_mod") or isinstance(model, torch.jit.ScriptModule):
        raise UserError(
            "the network is compiled: its layers cannot be exchanged",
            next_step="give the module before torch.compile or torch.jit.script",
        )
    held = model.named_parameters()
    lazy = [name for name, parameter in held if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise UserError(
            f"the network has parameters without a size yet: {', '.join(lazy[:3])}",
            next_step="call it once on a batch before it is given",
        )
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever somebody's module holds
        raise UserError(
            f"the network cannot be copied: {type(error).__name__}: {error}",
            next_step="give it without tensors of a graph, such as those of the hooks of "
            "torch.nn.utils.weight_norm (torch.nn.utils.parametrizations.weight_norm has none)",
        ) from error


@dataclasses.dataclass(frozen=True)
class _Made:
    """A module's physical form, and by how much its weights are out of range."""

    module: nn.Module
    report: LayerReport
    largest: float
    missed: float


def _physical(
    name: str, module: Any, kinds: Kinds, scale: str | None, options: Mapping[str, Any]
) -> _Made:
    weight: Tensor = module.weight.detach()
    scaled = scale is not None and not kinds.has_gain
    make = kinds.makers[type(module)]
    layer = make(module, module.bias is not None and not scaled, options)
    layer.to(weight.device, weight.dtype)
    gain = _gain(layer, weight) if scaled else 1.0
    target = weight / gain
    missed = float((layer.project_weight(target) - target).abs().max())
    largest = float(target.abs().max())
    fits = missed <= _ROUNDING * largest
    if fits and not (kinds.has_gain and weight.dtype == torch.float32):
        layer.program(target)
    error = gain * float((layer.ideal_weight() - target).abs().max())
    for control in layer.control_names:
        getattr(layer, control).requires_grad_(module.weight.requires_grad)
    result: nn.Module = layer
    if scaled:
        channels = -1 if isinstance(module, nn.Linear) else 1
        result = Gained(layer, gain, module.bias, channels)
    elif module.bias is not None:
        layer.bias.copy_(module.bias)  # type: ignore[operator]
    if isinstance(result.bias, nn.Parameter):
        result.bias.requires_grad_(module.bias.requires_grad)
    if isinstance(getattr(result, "gain", None), nn.Parameter):
        result.gain.requires_grad_(module.weight.requires_grad)
    result.train(module.training)
    shape = " x ".join(str(n) for n in weight.shape)
    own = getattr(layer, "gain", None)
    shown = gain if own is None else float(own)
    line = LayerReport(
        name,
        type(module).__name__,
        f"{type(layer).__name__} {shape}",
        error,
        "" if own is None and not scaled else f"gain {shown:.3g}",
    )
    return _Made(result, line, largest, 0.0 if fits else missed)


def _gain(layer: PhysicalLayer, weight: Tensor) -> float:
    """The gain that puts the largest weight at `FILL` of what both signs reach."""
    ends = [layer.project_weight(torch.full_like(weight, end)) for end in (-_BEYOND, _BEYOND)]
    reach = min(float(-ends[0].max()), float(ends[1].min()))
    largest = float(weight.abs().max())
    if not reach > 0.0:
        raise UserError(
            f"{type(layer).__name__} has weights of one sign only: no gain helps",
            next_step="take a platform, or a calibration, with weights of both signs",
        )
    return largest / (FILL * reach) if largest > 0.0 else 1.0


def _check_range(made: Mapping[str, _Made], platform: str) -> None:
    beyond = {name: layer for name, layer in made.items() if layer.missed}
    if not beyond:
        return
    shown = [
        f"{name!r} has a weight of {layer.largest:.4g}, {layer.missed:.3g} beyond the range"
        for name, layer in list(beyond.items())[:3]
    ]
    more = f" and {len(beyond) - 3} more layers" if len(beyond) > 3 else ""
    raise UserError(
        f"weights cannot be programmed on {platform}: {'; '.join(shown)}{more}",
        next_step="give scale='per-layer', a digital gain for each layer, or leave them digital "
        "with modules=",
    )
