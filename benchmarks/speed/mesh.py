"""Meshes of 64 ports and more: phases to powers and back, against a column-by-column mesh.

Every number is the best of several rounds in which the variants take turns; read the ratios.
Run: python benchmarks/speed/mesh.py [--threads 1] [--device cpu|cuda] [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pnnbench.platforms import mesh_op
from pnnbench.platforms.base import Condition, Device, operate
from pnnbench.platforms.mesh import decompose, plain_build
from pnnbench.platforms.mzi import MZIMesh, entries
from pnnbench.registry import workload_class
from pnnbench.script import run_script

#: Rows of a table: name of the variant -> best seconds.
Times = dict[str, float]
#: The two ways to multiply the columns out.
PATHS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "plain": plain_build,
    "compiled": nullcontext,
}


class Timer:
    """Times variants in turn.

    Args:
        device: Where they run.
        threads: Threads of torch.
        rounds: Counted rounds; one more comes first, uncounted.
    """

    def __init__(self, device: str, threads: int, rounds: int) -> None:
        torch.set_num_threads(threads)
        self.device = device
        self.rounds = rounds
        # On one thread CPU time is blind to other work on the machine.
        alone = device == "cpu" and threads == 1
        self.clock = time.process_time if alone else time.perf_counter

    def _once(self, run: Callable[[], object]) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        begin = self.clock()
        run()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return self.clock() - begin

    def best(self, variants: Mapping[str, Callable[[], object]]) -> Times:
        """Best seconds of each variant; short ones are run more often."""
        first = {name: self._once(run) for name, run in variants.items()}
        turns = {name: max(1, min(10, int(0.05 / seconds))) for name, seconds in first.items()}
        times = dict.fromkeys(variants, float("inf"))
        for _ in range(self.rounds):
            for name, run in variants.items():
                for _ in range(turns[name]):
                    times[name] = min(times[name], self._once(run))
        return times


def column_loop(mesh: MZIMesh, x: Tensor) -> Tensor:
    """The same layer as one would write it: the batch goes through one column after the other.

    Fields are kept waveguide by waveguide, so that every slice is contiguous in the batch.
    """
    n = mesh.n
    blocks = entries(mesh.theta[None], mesh.all_phi()[None])[0, :, :, None]
    columns = blocks.split([(n - column % 2) // 2 for column in range(n)], dim=1)
    state = torch.polar(torch.ones_like(mesh.gamma), mesh.gamma)[:, None] * x.T
    for column, (m11, m12, m21, m22) in enumerate(columns):
        first, last = column % 2, n - (n - column) % 2
        top, bottom = state[first:last:2], state[first + 1 : last : 2]
        pairs = torch.stack((m11 * top + m12 * bottom, m21 * top + m22 * bottom), 1).flatten(0, 1)
        if len(pairs) < n:
            pairs = torch.cat((-1j * state[:first], pairs, -1j * state[last:]))
        state = pairs
    return (state.real.square() + state.imag.square()).T


@contextmanager
def given(mesh: MZIMesh, unitary: Tensor) -> Iterator[None]:
    """Context in which the layer multiplies with a given matrix."""
    mesh.override_weight(unitary)
    try:
        yield
    finally:
        mesh.override_weight(None)


def forward_backward(run: Callable[[], Tensor], weight: Tensor, leaves: list[Tensor]) -> None:
    """Output to a scalar, gradients of all leaves."""
    for leaf in leaves:
        leaf.grad = None
    run().backward(weight)


def agree(a: Callable[[], Tensor], b: Callable[[], Tensor], weight: Tensor, leaf: Tensor) -> None:
    """Stops if two variants differ in output or gradient."""
    found = []
    for run in (a, b):
        leaf.grad = None
        out = run()
        out.backward(weight)
        assert leaf.grad is not None  # noqa: S101 - it is a leaf of both
        found.append((out.detach(), leaf.grad.clone()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-4 * float(other.abs().max()))


def path_variants(
    run: Callable[[], object], prefix: str = "", paths: tuple[str, ...] = tuple(PATHS)
) -> dict[str, Callable[[], object]]:
    """A function by each way to multiply the columns out."""

    def within(path: str) -> None:
        with PATHS[path]():
            run()

    return {f"{prefix}{path}": partial(within, path) for path in paths}


def one_mesh(timer: Timer, n: int, batch: int, paths: tuple[str, ...], everything: bool) -> Times:
    """Forward and backward of one layer for a real batch, gradients of phases and input."""
    torch.manual_seed(0)
    mesh = MZIMesh(n).to(timer.device)
    x = torch.randn(batch, n, device=timer.device, requires_grad=True)
    weight = torch.randn(batch, n, device=timer.device)
    leaves = [x, mesh.theta, mesh.phi, mesh.gamma]
    layer, loop = partial(mesh, x), partial(column_loop, mesh, x)
    agree(loop, layer, weight, mesh.theta)
    step = partial(forward_backward, weight=weight, leaves=leaves)
    variants: dict[str, Callable[[], object]] = {}
    if everything:
        unitary = mesh.ideal_weight().detach().requires_grad_()

        def bare() -> None:
            with given(mesh, unitary):
                forward_backward(layer, weight, [x, unitary])

        variants["bare product"] = bare
    variants["column loop"] = partial(step, loop)
    return timer.best(variants | path_variants(partial(step, layer), paths=paths))


def many_devices(timer: Timer, n: int, count: int, batch: int, paths: tuple[str, ...]) -> Times:
    """Forward and backward on many fabricated devices, at once and one by one."""
    torch.manual_seed(0)
    mesh = MZIMesh(n).to(timer.device)
    network = torch.nn.Sequential(mesh)
    conditions = [Condition(Device.draw(network, 0.1, seed)) for seed in range(count)]
    x = torch.randn(count * batch, n, device=timer.device, requires_grad=True)
    weight = torch.randn(count * batch, n, device=timer.device)
    g = torch.randn(count, n, n, dtype=torch.complex64, device=timer.device)
    leaves = [x, *mesh.parameters()]

    def unitaries(per: int) -> None:
        for i in range(0, count, per):
            with operate(network, conditions[i : i + per]):
                grad = g[i : i + per] if per > 1 else g[i]
                forward_backward(mesh.transfer, grad, leaves)

    def layers(per: int) -> None:
        for i in range(0, count, per):
            part = slice(i * batch, (i + per) * batch)
            with operate(network, conditions[i : i + per]):
                forward_backward(lambda part=part: mesh(x[part]), weight[part], leaves)

    variants: dict[str, Callable[[], object]] = {}
    for title, run in (("unitaries", unitaries), ("layer", layers)):
        for manner, per in (("at once", count), ("one by one", 1)):
            variants |= path_variants(partial(run, per), f"{title}, {manner}, ", paths)
    return timer.best(variants)


def training_step(timer: Timer, name: str, batch: int, paths: tuple[str, ...]) -> Times:
    """One step of Adam on a whole network: forward, loss, backward, update."""
    workload = workload_class(name)(0).to(timer.device).train()
    x = torch.randn(batch, 1, 28, 28, device=timer.device)
    y = torch.randint(10, (batch,), device=timer.device)
    optimizer = torch.optim.Adam(workload.network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        workload.loss(workload(x), (x, y)).backward()
        optimizer.step()

    return timer.best(path_variants(step, paths=paths))


def programming(timer: Timer, tiles: int, n: int) -> Times:
    """Phases of random unitary matrices, the tiles of a layer at once and one by one."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((2, tiles, n, n))
    unitary = np.linalg.qr(normal[0] + 1j * normal[1])[0]
    variants: dict[str, Callable[[], object]] = {
        "at once": lambda: decompose(unitary),
        "one by one": lambda: [decompose(tile) for tile in unitary],
    }
    return timer.best(variants)


def faster(times: Times, name: str, than: str) -> float | None:
    """How many times faster a variant is than another; None if it was not run."""
    return times[than] / times[name] if name in times and than in times else None


def measure(
    timer: Timer, paths: tuple[str, ...]
) -> tuple[dict[str, Times], list[tuple[str, float | None, str]]]:
    """Runs everything.

    Returns:
        Tables by title, and the ratios of interest as (what, value, aim).
    """
    tables: dict[str, Times] = {}
    ratios: list[tuple[str, float | None, str]] = []
    aims = {"plain": ("3", "6", "17"), "compiled": ("6", "", "")}
    for i, batch in enumerate((64, 500, 6000)):
        times = tables[f"n = 64, batch {batch}"] = one_mesh(timer, 64, batch, paths, True)
        for path in paths:
            aim = f">= {aims[path][i]}" if aims[path][i] else ""
            what = f"{path} against the column loop, batch {batch}"
            ratios.append((what, faster(times, path, "column loop"), aim))
        what = f"compiled against plain, batch {batch}"
        ratios.append((what, faster(times, "compiled", "plain"), ""))
    for path in paths:
        aim = "<= 3" if path == "plain" else ""
        what = f"{path} as a multiple of the bare product, batch 6000"
        ratios.append((what, faster(times, "bare product", path), aim))
    sizes = (32, 64, 128, 256)
    for n in sizes:
        tables[f"n = {n}, batch 64"] = one_mesh(timer, n, 64, paths, False)
    for name in ("column loop", *paths):
        for small, large in itertools.pairwise(sizes):
            times = {str(n): tables[f"n = {n}, batch 64"][name] for n in (small, large)}
            what = f"{name}: growth from n = {small} to {large}"
            ratios.append((what, faster(times, str(small), str(large)), ""))
    times = tables["n = 64, 50 devices, batch 64 each"] = many_devices(timer, 64, 50, 64, paths)
    for title in ("unitaries", "layer"):
        for path in paths:
            what = f"50 devices at once against one by one, {title}, {path}"
            names = [f"{title}, {manner}, {path}" for manner in ("at once", "one by one")]
            ratios.append((what, faster(times, *names), ""))
        names = [f"{title}, at once, {path}" for path in ("compiled", "plain")]
        what = f"50 devices at once, {title}: compiled against plain"
        ratios.append((what, faster(times, *names), ">= 10" if title == "unitaries" else ""))
    for tiles, n in ((72, 8), (40, 16)):
        times = tables[f"phases of {tiles} tiles, n = {n}"] = programming(timer, tiles, n)
        what = f"phases of {tiles} tiles, n = {n}: at once against one by one"
        ratios.append((what, faster(times, "at once", "one by one"), ""))
    for name, batch in (("mzi3-mnist", 500), ("mzi-mnist", 240)):
        times = tables[f"training step of {name}, batch {batch}"] = training_step(
            timer, name, batch, paths
        )
        what = f"training step of {name}: compiled against plain"
        ratios.append((what, faster(times, "compiled", "plain"), ""))
    return tables, [r for r in ratios if r[1] is not None]


def show(
    tables: Mapping[str, Times], ratios: list[tuple[str, float | None, str]], clock: str
) -> None:
    """Prints tables and ratios."""
    for title, times in tables.items():
        print(f"{title} (best, ms of {clock})")
        for name, seconds in times.items():
            print(f"  {name:<40}{seconds * 1e3:10.3f}")
    print("ratios")
    for what, value, aim in ratios:
        print(f"  {what:<64}{value:8.2f}" + (f"   aim: {aim}" if aim else ""))


def main() -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    args = parser.parse_args()
    timer = Timer(args.device, args.threads, args.rounds)
    compiled = args.device == "cpu" and mesh_op.available()
    paths = tuple(PATHS) if compiled else ("plain",)
    tables, ratios = measure(timer, paths)
    clock = "CPU time" if timer.clock is time.process_time else "wall time"
    if args.json:
        named = [{"what": what, "value": value, "aim": aim} for what, value, aim in ratios]
        print(json.dumps({**vars(args), "clock": clock, "seconds": tables, "ratios": named}))
    else:
        show(tables, ratios, clock)


if __name__ == "__main__":
    run_script(main)
