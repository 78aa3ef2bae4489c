"""Figures of trained rows behind the rule for minima and the radii of the ball.

Trains rows as a job does and prints a line for each: what a safe step down the gradient gains in
shares of the loss of guessing, |g|^2 / 2 lambda_max, what the whole way down it promises,
|g|^4 / 2 g'Hg, with the length of that way in radii of the ball, and lambda_min / lambda_max; then,
for half the radius, the radius and twice of it, the curvature's part over the slope's,
0.5 lambda_max r / |g|, and loss + worst increase in nats. Rows in situ are measured at their
training device and again at the ideal one.

Usage: python benchmarks/sharpness_rows.py WORKLOAD [--tier quick] [--seeds 0 1] [--rows BP NAT]
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pnnbench.data.datamodule import DataModule
from pnnbench.evaluation.companions import ball_increase
from pnnbench.evaluation.hessian import ControlHessian, deployed
from pnnbench.evaluation.sharpness import SUBSAMPLE, Figures, measure_sharpness
from pnnbench.platforms.base import Device
from pnnbench.registry import method_class, workload_class
from pnnbench.running.measuring import sharpness_sample
from pnnbench.running.training import fit
from pnnbench.script import run_script
from pnnbench.workloads.base import Workload

#: Platform -> row -> method and its parameters, those of the suites.
ROWS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "mrr": {
        "BP": ("bp", {"lr": "0.1 mA"}),
        "NAT": ("nat", {"lr": "0.1 mA", "sigma": "0.5 HWHM"}),
        "SAT": ("sat", {"lr": "0.1 mA", "rho": "1 mA"}),
        "PAT": ("pat", {"lr": "0.1 mA", "placement": "output"}),
    },
    "mzi": {
        "BP": ("bp", {"lr": "0.03 rad", "lr_digital": 0.03}),
        "NAT": ("nat", {"lr": "0.03 rad", "lr_digital": 0.03, "sigma": "0.1 rad"}),
        "SAT": ("sat", {"lr": "0.03 rad", "lr_digital": 0.03, "rho": "1 rad"}),
        "PAT": ("pat", {"lr": "0.1 rad", "lr_digital": 0.03, "placement": "output"}),
    },
    "freespace": {
        "BP": ("bp", {"lr": "0.005 full modulation"}),
        "NAT": ("nat", {"lr": "0.005 full modulation", "sigma": "0.3 full modulation"}),
        "SAT": ("sat", {"lr": "0.005 full modulation", "rho": "1 full modulation"}),
        "PAT": ("pat", {"lr": "0.005 full modulation"}),
    },
    "diffractive": {
        "BP": ("bp", {"lr": "0.2 rad"}),
        "NAT": ("nat", {"lr": "0.2 rad", "sigma": "0.3 rad"}),
        "SAT": ("sat", {"lr": "0.2 rad", "rho": "3 rad"}),
        "PAT": ("pat", {"lr": "0.2 rad"}),
    },
}
#: Learning rates of MNIST where they are others: workload -> parameters.
RATES = {"mrr-mnist": {"lr": "0.043 mA"}}


def trained(
    name: str, row: str, seed: int, tier_name: str
) -> tuple[Workload, DataModule, Device | None]:
    """A trained, calibrated workload with its data; the training device of a row in situ."""
    workload, tier = workload_class(name)(seed), workload_class(name).tier(tier_name)
    data = DataModule(
        workload.data,
        batch_size=tier.batch_size,
        seed=seed,
        holdout=tier.validation_images,
        limit_train=tier.train_images,
        limit_test=tier.test_images,
    )
    method_name, parameters = ROWS[workload.platform][row]
    method = method_class(method_name)(**{**parameters, **RATES.get(name, {})})
    method.seed, method.train_device = seed, 0
    fit(workload, method, data, epochs=tier.epochs)
    done = workload_class(name)(seed)
    done.network.load_state_dict(workload.network.state_dict())
    done.project_controls()
    device = None if method.access == "in_silico" else done.training_device(0)
    done.calibrate(data.train_tensors()[0][: tier.calibration_images], device=device)
    return done, data, device


def line(workload: Workload, data: DataModule, device: Device | None, images: int) -> str:
    """The figures of one point."""
    x, y = sharpness_sample(data, images)
    found: Figures = measure_sharpness(
        workload, x, y, seed=0, device=device, held_out=data.validation_tensors(), devices=[],
        check=False,
    )  # fmt: skip
    slope, top, radius = (found[n] for n in ("gradient_norm", "lambda_max", "ball_radius"))
    parts = []
    with deployed(workload, device, digital=device is None):
        hessian = ControlHessian(workload, x, y)
        _, gradient = hessian.value_and_gradient()
        along = float(gradient @ hessian.product(gradient)) / slope**2
        for r in (0.5 * radius, radius, 2.0 * radius):
            ball = ControlHessian(workload, x[:SUBSAMPLE], y[:SUBSAMPLE])
            worst = ball.value() + ball_increase(ball, r, steps=5)
            parts.append(f"r {r:.2g}: {0.5 * top * r / slope:.2g}, {worst:.2g}")
    guess = found["guessing_loss"]
    whole = f"{slope**2 / (2 * along * guess):.2g}" if along > 0.0 else "without end"
    return (
        f"gain {slope**2 / (2 * top * guess):.2g} (minimum {found['is_minimum']}), whole way "
        f"{whole} in {slope / abs(along) / radius:.2g} radii, min/max "
        f"{found['lambda_min'] / top:.2g} | {' | '.join(parts)}"
    )


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload")
    parser.add_argument("--tier", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=["BP", "NAT", "SAT", "PAT"])
    options = parser.parse_args()
    images = workload_class(options.workload).tier(options.tier).sharpness_images
    for row in options.rows:
        for seed in options.seeds:
            workload, data, device = trained(options.workload, row, seed, options.tier)
            for point, where in ((device, ""), *(() if device is None else ((None, ", ideal"),))):
                print(
                    f"{options.workload} {row}{where} {seed}:",
                    line(workload, data, point, images),
                    flush=True,
                )


if __name__ == "__main__":
    run_script(main)
