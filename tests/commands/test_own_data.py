"""Own data through the command line: what docs/data.md shows, and sets of other kinds."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pnnbench.records.folders import read_records

from ..command import Done, command
from ..submitting.packed import write_submission
from .conftest import QUIET

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "data.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
FILES = {
    match[1]: body
    for kind, body in BLOCKS
    if kind in ("python", "yaml") and (match := re.match(r"# (\S+)\n", body))
}
COMMANDS = [
    line.removeprefix("$ ")
    for kind, body in BLOCKS
    if kind == "console"
    for line in body.splitlines()
    if line.startswith("$ ")
]


def write_files(folder: Path) -> None:
    for name, body in FILES.items():
        (folder / name).write_text(body, encoding="utf-8")


def run_in(folder: Path, line: str) -> Done:
    """Runs a line of the guide; pictures are left out."""
    program, *words = line.split()
    if program == "python":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return Done(done.stdout, done.stderr)
    assert program == "pnnbench"
    if words[0] in ("run", "train"):
        words = [*(w for w in words if w not in ("--wandb", "disabled")), *QUIET]
    return command(*words, cwd=folder)


def test_every_block_of_the_guide_names_its_file() -> None:
    assert len(FILES) == sum(kind in ("python", "yaml") for kind, _ in BLOCKS)
    named = {word for line in COMMANDS for word in line.split() if word in FILES}
    assert {"make_folder.py", "wine.yaml", "progress.yaml", "in_python.py"} == named


@pytest.mark.slow
def test_the_guide_runs_as_it_stands(tmp_path: Path) -> None:
    write_files(tmp_path)
    said = {line: run_in(tmp_path, line).out for line in COMMANDS}
    assert BLOCKS[0][1].splitlines()[1] in said["pnnbench data digits"]
    assert (
        "numbers: 575 training and 145 test inputs of 1 x 8 x 8, 4 classes"
        in said["pnnbench data image-folder:numbers"]
    )
    records = {r["job"]["workload"]: r for r in read_records(tmp_path / "runs")}
    assert {name: r["status"] for name, r in records.items()} == {
        "mrr-digits": "ok",
        "shifted.Shifted": "ok",
        "vectors.Vectors": "ok",
        "progress.Progress": "ok",
    }
    assert records["mrr-digits"]["job"]["data"]["set"] == "image-folder:numbers"
    wine = records["vectors.Vectors"]
    assert wine["clean"] > 0.8 > wine["metric"]["chance"] > 1 / 3
    assert records["progress.Progress"]["metric"]["name"] == "mse"
    assert float(said["python in_python.py"].split()[-1]) > 0.9
    sys.path.insert(0, str(tmp_path))
    try:
        import reconstruction  # type: ignore[import-not-found]
        import torch

        metric = reconstruction.ReconstructionError()
        metric.update(torch.ones(3, 2), torch.zeros(3, 1, 2))
        assert float(metric.compute()) == 1.0
    finally:
        sys.path.remove(str(tmp_path))


REAL = """
import numpy as np
from torch import nn

from pnnbench.data import Arrays, DataSet
from pnnbench.platforms.mrr import MRRLinear
from pnnbench.workloads.base import Regression
from pnnbench.workloads.mrr import MRRWorkload
from pnnbench.workloads.networks import PhysicalNetwork
from pnnbench.workloads.tiers import Tier


class Lines(DataSet):
    "A real value of four numbers."
    input_shape, n_classes = (4,), None

    def load(self, root=None, download=False):
        x = np.random.default_rng(0).normal(size=(160, 4))
        y = x @ [1.0, -0.5, 0.3, 0.0]
        return Arrays("lines", x[:120], y[:120], x[120:], y[120:], None)


class Net(PhysicalNetwork):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.fc = MRRLinear(4, 1)

    def physical(self, h):
        return self.fc(self.norm(h))


class Real(Regression, MRRWorkload):
    "A real value from a vector on microrings."
    name, data = "real", Lines
    tiers = {"smoke": Tier(epochs=5, batch_size=12, n_devices=2, validation_images=20)}

    def build_network(self):
        return Net()
"""


def test_a_regression_reads_sensibly_from_run_to_leaderboard(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text(REAL)
    suite = {
        "suite": "lines",
        "protocol": "pnnbench-2",
        "tier": "smoke",
        "workloads": ["real.Real"],
        "seeds": [0],
        "methods": ["bp", {"method": "bp", "label": "short", "epochs_factor": 0.2}],
    }
    (tmp_path / "lines.yaml").write_text(yaml.safe_dump(suite))
    out = command("run", "lines.yaml", *QUIET, cwd=tmp_path).out
    records = read_records(tmp_path / "runs")
    assert [r["status"] for r in records] == ["ok"] * 2
    for record in records:
        metric = record["metric"]
        assert (metric["name"], metric["higher_is_better"]) == ("mse", False)
        assert 1.0 < metric["chance"] < 2.0  # the variance of the targets is 1.34
        assert "outcomes" not in record
        assert {g["type"] for g in record.get("gaps", [])} <= {"left-out"}
    assert "%" not in out.splitlines()[2]  # an error is no share
    board = json.loads(command("leaderboard", "runs/lines", "--format", "json", cwd=tmp_path).out)
    for deployment in ("offset-calibrated", "frozen"):
        rows = [row for row in board["rows"] if row["deployment"] == deployment]
        robust = [row["robust"]["mean"] for row in rows]
        assert len(robust) == 2
        assert robust == sorted(robust)  # less is better, the least first
        for row in rows:
            assert row["worst_decile"]["mean"] >= row["robust"]["mean"]
    folder = next((tmp_path / "runs" / "lines").glob("*/record.json")).parent
    refused = command("evaluate", folder, cwd=tmp_path, status=2).err
    assert "is code of its author" in refused
    assert "--trust" in refused
    assert "agrees" in command("evaluate", folder, "--trust", cwd=tmp_path).out


def test_a_test_set_that_was_trained_on_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(120):
        image = Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8))
        for part in ("train", "test"):
            folder = tmp_path / "same" / part / f"c{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{number:02}.png")
    told = "120 of 120 test inputs are training inputs too"
    given = ("data", "image-folder:same")
    assert told in command(*given, cwd=tmp_path).out
    found = json.loads(command(*given, "--format", "json", cwd=tmp_path).out)
    assert found["n_test_seen"] == 120
    brought = ("--data-set", "image-folder:same", "--tier", "smoke")
    trained = command("train", "mrr-digits", "bp", *brought, *QUIET, cwd=tmp_path)
    assert told in trained.err + trained.out


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in values.shape)
    return (0x0800 + values.ndim).to_bytes(4, "big") + sizes + values.astype(np.uint8).tobytes()


def test_packed_idx_files_train_a_network_of_mnist(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    known, raw = {}, tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 800), ("t10k", 200)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 28, 28))
        for i, label in enumerate(labels):
            images[i, 2 * label : 2 * label + 8] += 180
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            packed = raw / f"{part}-{name}-ubyte.gz"
            packed.write_bytes(gzip.compress(idx(values), mtime=0))
            md5 = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
            known[packed.name] = {"md5": f"md5:{md5}"}
    (tmp_path / "clothes.py").write_text(
        "from pnnbench.data.mnist import IDXSet\n"
        "class Clothes(IDXSet):\n"
        '    name, title = "clothes", "FashionMNIST"\n'
        f"    entry = {{'files': {known!r}}}\n"
    )
    given = ("--data-set", "clothes.Clothes", "--data", tmp_path / "data", "--tier", "smoke")
    done = command("train", "mzi-mnist", "bp", *given, *QUIET, cwd=tmp_path)
    (record,) = read_records(tmp_path / "runs")
    assert record["status"] == "ok", record.get("error")
    assert record["data"]["name"] == "clothes"
    assert record["metric"]["chance"] == 0.1
    assert record["clean"] > 0.5, done.out
    missing = command(
        "train", "mzi-mnist", "bp", *given[:2], "--data", "nowhere", *QUIET, cwd=tmp_path, status=2
    )
    assert "FashionMNIST is not there" in missing.err


def test_train_names_the_board_by_the_data_and_keeps_the_other(tmp_path: Path) -> None:
    """A row on another data set stands on a board of its own, and both are complete."""
    (tmp_path / "halves.py").write_text(
        "from pnnbench.data import Arrays, DataSet, load\n"
        "class Halves(DataSet):\n"
        '    name, input_shape, n_classes = "halves", (1, 8, 8), 2\n'
        "    def load(self, root=None, download=False):\n"
        '        d = load("digits")\n'
        "        return Arrays(self.name, d.train_inputs, d.train_targets // 5,\n"
        "                      d.test_inputs, d.test_targets // 5, 2)\n"
    )
    given = ("train", "mzi-digits", "bp", "--tier", "smoke", *QUIET)
    command(*given, cwd=tmp_path)
    command(*given, "--data-set", "halves.Halves", cwd=tmp_path)
    out = command("leaderboard", "runs/train", cwd=tmp_path).out
    assert "train · mzi-digits · smoke" in out
    assert "train · mzi-digits on halves · smoke" in out
    assert "missing" not in out
    found = command("list", "runs", "--format", "json", cwd=tmp_path).out
    workloads = {run["workload"] for run in json.loads(found)["runs"]}
    assert workloads == {"mzi-digits", "mzi-digits on halves"}
    wrong = command(*given, "--data-set", "halfes.Halves", cwd=tmp_path, status=2)
    assert "halfes" in wrong.err


def test_a_submission_brings_no_code_with_its_data(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pnnbench.data import DataSet\n"
        "from pnnbench.data.digits import Digits\n"
        "class Mine(Digits):\n"
        "    pass\n"
    )
    given = ("--data-set", "mine.Mine", "--tier", "smoke", *QUIET)
    command("train", "mzi-digits", "bp", *given, cwd=tmp_path)
    folder = next((tmp_path / "runs").glob("*/*/record.json")).parent
    made = tmp_path / "made"
    write_submission(made, [folder])
    (tmp_path / "mine.py").write_text("raise SystemExit('this code must not run')\n")
    refused = command("verify", made, cwd=tmp_path, status=2).err
    assert "ran on the data set 'mine.Mine', which is not registered" in refused
    for asked in ("evaluate", "sharpness", "plot"):
        refused = command(asked, folder, cwd=tmp_path, status=2).err
        assert "'mine.Mine' is code of its author" in refused
