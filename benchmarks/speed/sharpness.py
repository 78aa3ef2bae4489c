"""Times the sharpness of trained digits networks here and in another checkout, as a ratio.

Each checkout trains its own reference row (BP, quick tier, seed 0) and measures it as a job does,
in a process of its own, one thread, CPU seconds, in turns:

    python benchmarks/speed/sharpness.py --base PATH_OF_THE_OTHER_CHECKOUT

A job with PyHessian is one seed in three (``checked``); the others go without (``plain``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from pnnbench.script import run_script

#: Runs in either checkout: only names that both have; `seed` where the checkout knows it.
PROGRAM = """
import inspect, json, sys, time
import torch
from pnnbench.data.datamodule import DataModule
from pnnbench import registry
from pnnbench.running import measuring
from pnnbench.running.training import fit
torch.set_num_threads(1)
name, rounds, lr = sys.argv[1], int(sys.argv[2]), sys.argv[3]
cls = registry.workload_class(name)
workload, tier = cls(0), cls.tier("quick")
data = DataModule(cls.data, batch_size=tier.batch_size, seed=0, holdout=256)
method = registry.method_class("bp")(lr=lr)
method.seed = 0
fit(workload, method, data, epochs=tier.epochs)
trained = cls(0)
trained.network.load_state_dict(workload.network.state_dict())
trained.calibrate(data.train_tensors()[0])
config = {
    "tier": {"sharpness_images": tier.sharpness_images},
    "test_devices": list(range(1_000_000, 1_000_010)),
}
seeded = "seed" in inspect.signature(measuring.measure_job_sharpness).parameters
found = {}
for turn in range(rounds + 1):
    for variant, seed in (("checked", 0), ("plain", 1)):
        begin = time.process_time()
        figures = measuring.measure_job_sharpness(
            trained, data, config, **({"seed": seed} if seeded else {})
        )
        if turn:
            found.setdefault(variant, []).append(time.process_time() - begin)
print(json.dumps({"seconds": found, "lambda_max": figures["lambda_max"]}))
"""
RATES = {
    "mrr-digits": "0.1 mA",
    "freespace-digits": "0.005 full modulation",
    "mzi-digits": "0.03 rad",
}


def timed(checkout: Path, workload: str, rounds: int) -> dict[str, float]:
    """Median CPU seconds of one measurement in a checkout, with PyHessian and without."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, workload, str(rounds), RATES[workload]]
    run = subprocess.run(  # noqa: S603 - fixed arguments
        command, cwd=checkout, env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(run.stdout.splitlines()[-1])
    return {variant: statistics.median(times) for variant, times in found["seconds"].items()}


def main() -> None:
    """Prints seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    for workload in RATES:
        base = timed(options.base.resolve(), workload, options.rounds)["checked"]
        now = timed(here, workload, options.rounds)
        row = (now["checked"] + 2.0 * now["plain"]) / 3.0
        print(
            f"{workload}: base {base:.3f} s CPU, here checked {now['checked']:.3f} s "
            f"(x{now['checked'] / base:.2f}), plain {now['plain']:.3f} s "
            f"(x{now['plain'] / base:.2f}), mean of a row x{row / base:.2f}   aim: 0.5"
        )


if __name__ == "__main__":
    run_script(main)
