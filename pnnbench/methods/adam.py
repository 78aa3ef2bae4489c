"""Adam with torch's own arithmetic and less around it: for networks whose steps take a millisecond.

What torch does around the arithmetic of a step takes longer than that for small networks: it looks
for an accelerator that might be capturing a graph, and sorts parameters into lists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Options of torch's Adam that are none of ours.
_OTHER = ("amsgrad", "maximize", "weight_decay", "capturable", "differentiable", "foreach", "fused")


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`: the same options, state, checkpoints and bits.

    Plain steps on the CPU are taken here, by the same operations in the same order as in torch's
    own loop over tensors; all others by torch.
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step.

        Args:
            closure: Computes loss and gradients anew; None takes the gradients there are.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        chosen = [(group, p) for group in self.param_groups for p in group["params"]]
        if all(self._plain(group, p) for group, p in chosen):
            self._step(chosen)
        else:
            super().step()
        return loss

    def _plain(self, group: dict[str, Any], p: Tensor) -> bool:
        """Whether a parameter is to be stepped in the usual way, and has been before."""
        if any(group.get(name) for name in _OTHER) or not isinstance(group["lr"], float):
            return False
        gradient = p.grad
        return gradient is None or (
            p.device.type == "cpu"
            and p.is_floating_point()
            and gradient.layout is torch.strided
            and "exp_avg" in self.state[p]
        )

    @torch.no_grad()
    def _step(self, chosen: list[tuple[dict[str, Any], Tensor]]) -> None:
        for group, p in chosen:
            gradient = p.grad
            if gradient is None:
                continue
            state, (beta1, beta2) = self.state[p], group["betas"]
            first, second = state["exp_avg"], state["exp_avg_sq"]
            state["step"] += 1
            steps = state["step"].item()
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            root = (1 - beta2**steps) ** 0.5
            divisor = second.sqrt().div_(root).add_(group["eps"])
            p.addcdiv_(first, divisor, value=-(group["lr"] / (1 - beta1**steps)))
