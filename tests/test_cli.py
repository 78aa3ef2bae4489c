"""The command line through its real entry point, and the mistakes that never get past it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pnnbench import workload
from pnnbench.data import DataModule

from .command import command

COMMAND = str(Path(sys.executable).with_name("pnnbench"))
ROOT = Path(__file__).resolve().parents[1]
#: This copy of the package, wherever the command was installed from.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def pnnbench(*args: object, cwd: Path, check: int = 0, **env: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [COMMAND, *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **env},
    )
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_run_prints_the_leaderboard_draws_and_mirrors(tmp_path: Path) -> None:
    """One tiny suite, pictures and the offline mirror included; again it writes nothing new."""
    (tmp_path / "tiny.yaml").write_text(
        yaml.safe_dump(
            {
                "suite": "tiny",
                "protocol": "pnnbench-2",
                "tier": "smoke",
                "workloads": ["mrr-digits"],
                "seeds": [0],
                "methods": ["bp"],
            }
        )
    )
    done = pnnbench("run", "tiny.yaml", cwd=tmp_path)
    assert re.search(r"^ +1 +bp ", done.stdout, re.MULTILINE)
    page = Path(tmp_path / re.search(r"^page: (.+)$", done.stdout, re.MULTILINE)[1])
    assert page.read_text().startswith("<!")
    run = next(p for p in (tmp_path / "runs" / "tiny").iterdir() if (p / "record.json").exists())
    names = {p.name for p in (run / "pictures").iterdir()}
    assert {"controls.png", "landscape.svg", "confusion.png", "curve.svg"} <= names
    mirrored = sorted(tmp_path.rglob("*.wandb"))
    assert len(mirrored) == 2  # the job and the board
    again = command("run", "tiny.yaml", cwd=tmp_path)
    assert "1 of 1 jobs are finished already" in again.err
    assert again.out == done.stdout
    assert sorted(tmp_path.rglob("*.wandb")) == mirrored


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["no command given", "run, train"]),
        (["rum"], ["unknown command 'rum'; did you mean 'run'"]),
        (["run"], ["SUITE is missing"]),
        (["run", "nothing.yaml"], ["there is no such file", "pnnbench list suites"]),
        (["train", "mrr-digits", "sat", "--rho", "0.1"], ["unknown flag", "--params.rho VALUE"]),
        (["run", "quickstart", "--sede", "0"], ["unknown flag '--sede'; did you mean '--seeds'"]),
        (["run", "quickstart", "--seeds", "0-x"], ["--seeds is '0-x'", "such as 0,1,2 or 0-4"]),
        (["run", "quickstart", "--seeds", "1000000"], ["integers from 0 to 89999"]),
        (["run", "quickstart", "--only", "SATT"], ["unknown row 'SATT'; did you mean 'SAT'"]),
        (["run", "quickstart", "--add", "satt"], ["--add: unknown method 'satt'"]),
        (["run", "quickstart", "--runs", "/proc/nowhere"], ["--runs is /proc/nowhere"]),
        (["run", "quickstart", "--threads", "0"], ["--threads is 0", "from 1 to"]),
        (["train", "mrr-digit", "bp"], ["did you mean 'mrr-digits'"]),
        (["train", "mrr-digits", "satt"], ["did you mean 'sat'"]),
        (["train", "mrr-digits", "nonsense"], ["unknown method 'nonsense'"]),
        (["train", "mrr-digits", "sat", "--params", '{"rho": -1}'], ["rho is -1", "allowed"]),
        (["train", "mrr-digits", "sat", "--params", "rho: ["], ["--params is 'rho: ['"]),
        (["train", "mrr-digits", "sat", "--params", "0.3"], ["names and values"]),
        (["train", "mrr-digits", "sat", "--params.roh", "1"], ["did you mean 'rho'"]),
        (["train", "mrr-digits", "sat", "--params.rho", "0.3 rad"], ["another unit", "mA"]),
        (["train", "mrr-digits", "bp", "--tier", "paperr"], ["'paperr'; did you mean 'paper'"]),
        (["train", "mrr-digits", "bp", "--seed", "-1"], ["--seed is -1", "from 0 to 89999"]),
        (["train", "mrr-digits", "bp", "--seed", "20261125"], ["--seed is 20261125"]),
        (["train", "mrr-digits", "bp", "--epochs_factor", "-1"], ["--epochs-factor is '-1'"]),
        (["train", "mrr-digits", "bp", "--epochs-factor", "nan"], ["a number above 0"]),
        (["train", "mrr-digits", "bp", "more"], ["nothing takes the argument 'more'"]),
        (["train", "mrr-digits", "bp", "--seed"], ["--seed needs a value"]),
        (["evaluate", "nowhere"], ["there is no run 'nowhere'", "SUITE/ROW/SEED"]),
        (["leaderboard", "nowhere"], ["no such file or folder", "pnnbench run"]),
        (["leaderboard", "--format", "xml"], ["--format is 'xml'", "table, json, csv"]),
        (["reproduce", "mrrr", "--checkpoints", "x"], ["did you mean 'mrr'"]),
        (["list", "method"], ["did you mean 'methods'"]),
        (["run", 300 * "a"], ["aaa...: this is too long for a name", "at most 255"]),
        (["doctor", 300 * "a"], ["this is too long for a name"]),
        (["evaluate", 300 * "a"], ["this is too long for a name"]),
        (["data", "mnist", "--root", "nowhere"], ["pnnbench data mnist --download"]),
    ],
    ids=lambda value: "-".join(value[:4])[:80] if isinstance(value, list) else None,
)
def test_mistakes_give_one_readable_error(
    tmp_path: Path, args: list[str], words: list[str]
) -> None:
    done = command(*args, cwd=tmp_path, status=2)
    for word in words:
        assert word in done.err
    assert done.out == ""
    assert not re.search(r"\b(str|int|float|bool|dict|NoneType)\b", done.err)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_readme_method_of_ones_own(tmp_path: Path) -> None:
    """The example of the README: a few lines, checked, trained and put into a suite as it says."""
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(# my_method\.py\n.*?)```", readme, re.DOTALL)[1]
    lines = re.sub(r'""".*?"""', "", code, flags=re.DOTALL).splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 18
    (tmp_path / "my_method.py").write_text(code)
    name = re.search(r"pnnbench check (my_method\.\w+)", readme)[1]
    assert " 0 failed" in command("check", name, cwd=tmp_path).out
    quiet = ("--wandb", "disabled", "--pictures", "false")
    out = command("train", "mrr-digits", name, "--tier", "smoke", *quiet, cwd=tmp_path).out
    assert "lambda_max" in out
    suite = re.search(r"```yaml\n(# mine\.yaml\n.*?)```", readme, re.DOTALL)[1]
    (tmp_path / "mine.yaml").write_text(suite)
    told = command("tune", "mine.yaml", "--dry-run", cwd=tmp_path).out
    assert "reach 0.001 to 0.3 (log), lr 0.003 to 3 (log)" in told
    assert "3 of 3 jobs would run" in command("run", "mine.yaml", "--dry-run", cwd=tmp_path).out


def test_the_method_of_the_readme_is_the_one_that_new_method_writes(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(# my_method\.py\n.*?)```", readme, re.DOTALL)[1]
    assert "pnnbench new-method tilted " in readme
    command("new-method", "tilted", cwd=tmp_path)
    found: list[dict[str, Any]] = [{"__name__": "shown"}, {"__name__": "made"}]
    for names, text in zip(
        found, (code, (tmp_path / "tilted/tilted/method.py").read_text()), strict=True
    ):
        exec(compile(text, "method.py", "exec", dont_inherit=True), names)  # noqa: S102
    shown, made = (names["Tilted"] for names in found)
    assert (shown.amounts, dict(shown.laws)) == (made.amounts, dict(made.laws))
    inputs, targets = DataModule("digits").test_tensors()
    chip = workload("mrr-digits").eval()
    losses = [cls().loss(chip, (inputs[:8], targets[:8])) for cls in (shown, made)]
    assert torch.equal(*losses)
    assert (vars(shown()), shown.access) == (vars(made()), made.access)


LAZY = """
import sys
from pnnbench.cli import main
for line in {lines!r}:
    try:
        main(line)
    except SystemExit:
        pass
    heavy = {{'torch', 'lightning', 'wandb', 'matplotlib', 'scipy.stats', 'sklearn'}}
    if line[0] != 'leaderboard':  # its quantiles are those of scipy.special
        heavy.add('scipy')
    assert not heavy & set(sys.modules), (line, heavy & set(sys.modules))
"""


def test_what_must_answer_fast_imports_nothing_heavy(tmp_path: Path) -> None:
    lines = [
        ["--help"],
        ["run", "--help"],
        ["list", "suites"],
        ["run", "quickstart", "--sede", "0"],
        ["train", "mrr-digits", "bp", "--seed", "-1"],
        ["train", "mrr-digit", "bp"],
        ["leaderboard", str(ROOT / "leaderboards" / "quickstart")],
        ["leaderboard", str(ROOT / "leaderboards" / "cifar10_reconstruct")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", LAZY.format(lines=lines)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pnnbench", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0
    assert re.search(r"\d+\.\d+", done.stdout)


def test_a_reader_who_has_seen_enough_and_a_terminal_without_signs(tmp_path: Path) -> None:
    board = ROOT / "leaderboards" / "pnnbench-1" / "mrr_mnist"
    line = f"'{COMMAND}' leaderboard '{board}' | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert "Traceback" not in done.stderr
    assert "mrr_mnist" in done.stdout
    plain = pnnbench(
        "leaderboard", board, cwd=tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    assert "+-" in plain.stdout
    assert plain.stdout.isascii()
