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
    own loop over tensors, but for the tensors of a group at once; all others by torch.
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
        if all(_plain(group) for group in self.param_groups):
            for group in self.param_groups:
                self._step(group)
        else:
            super().step()
        return loss

    @torch.no_grad()
    def _step(self, group: dict[str, Any]) -> None:
        """Steps the parameters of a group, those of one age together."""
        ages: dict[float, list[tuple[Tensor, Tensor, dict[str, Tensor]]]] = {}
        for p in group["params"]:
            if p.grad is not None:
                state = self.state[p]
                if not state:
                    state["step"] = torch.tensor(0.0, dtype=torch.float32)
                    state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                    state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                state["step"] += 1
                ages.setdefault(state["step"].item(), []).append((p, p.grad, state))
        beta1, beta2 = group["betas"]
        for steps, chosen in ages.items():
            parameters, gradients, states = (list(column) for column in zip(*chosen, strict=True))
            first = [state["exp_avg"] for state in states]
            second = [state["exp_avg_sq"] for state in states]
            torch._foreach_lerp_(first, gradients, 1 - beta1)
            torch._foreach_mul_(second, beta2)
            torch._foreach_addcmul_(second, gradients, gradients, value=1 - beta2)
            divisor = torch._foreach_sqrt(second)
            torch._foreach_div_(divisor, (1 - beta2**steps) ** 0.5)
            torch._foreach_add_(divisor, group["eps"])
            step_size = group["lr"] / (1 - beta1**steps)
            torch._foreach_addcdiv_(parameters, first, divisor, value=-step_size)


def _plain(group: dict[str, Any]) -> bool:
    """Whether the parameters of a group are to be stepped in the usual way."""
    if any(group.get(name) for name in _OTHER) or not isinstance(group["lr"], float):
        return False
    return all(
        p.device.type == "cpu"
        and p.dtype in (torch.float32, torch.float64)
        and (p.grad is None or p.grad.layout is torch.strided)
        for p in group["params"]
    )
