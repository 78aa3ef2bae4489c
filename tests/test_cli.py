"""The command line as a whole: statuses, streams, laziness, and the example of the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pnnbench import __version__
from pnnbench.commands import find
from pnnbench.commands.declared import DECLARED

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def process(code, *args, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_every_command_has_its_function_and_its_help(pnnbench):
    helped = pnnbench("--help").out
    for command in DECLARED:
        assert callable(find(command.name))
        assert re.search(rf"^ +{command.name} ", helped, re.MULTILINE)
        text = pnnbench(command.name, "--help").out
        assert text.startswith(f"usage: pnnbench {command.name}")
        for argument in command.arguments:
            assert argument.shown in text


def test_help_names_no_type_of_python(pnnbench):
    for command in DECLARED:
        text = pnnbench(command.name, "--help").out
        assert not re.search(r"\b(int|str|float|bool|NoneType|Namespace|null|None)\b|<class", text)


def test_help_names_defaults_that_are_zero_too(pnnbench):
    text = " ".join(pnnbench("train", "--help").out.split())
    assert "--seed N Repetition. Default: 0." in text
    assert "--epochs-factor X Multiple of the epochs. Default: 1." in text


def test_version(pnnbench):
    assert pnnbench("--version").out == f"pnnbench {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ["no command given", "allowed: run, train"]),
        (["trian"], ["unknown command 'trian'; did you mean 'train'?"]),
        (["--verison"], ["unknown flag '--verison'; did you mean '--version'?"]),
        (["--format", "json", "list"], ["--format stands before the command"]),
        (["run", "nothing.yaml"], ["unknown suite file 'nothing.yaml'", "pnnbench list suites"]),
        (["run", "quikstart"], ["did you mean 'quickstart'?"]),
        (["train", "mrr-digit", "bp"], ["did you mean 'mrr-digits'?"]),
        (["train", "mrr-digits", "satt"], ["did you mean 'sat'?"]),
        (["train", "bp", "mrr-digits"], ["'bp' is a method, no workload", "list workloads"]),
        (["train", "mrr-digits", "bp", "--seed", "-1"], ["--seed is -1", "0 to 999999"]),
        (["train", "mrr-digits", "bp", "--seed=1000000"], ["--seed is 1000000", "0 to 999999"]),
        (["train", "mrr-digits", "bp", "--epochs_factor", "-1"], ["--epochs-factor is '-1'"]),
        (["train", "mrr-digits", "bp", "--epoch_factor", "2"], ["did you mean '--epochs-factor'?"]),
        (["train", "mrr-digits", "bp", "--threads", "0"], ["--threads is 0", "from 1 to"]),
        (["train", "mrr-digits", "bp", "--tier", "smoek"], ["did you mean 'smoke'?"]),
        (["train", "mrr-digits", "sat", "--params", "{rho: -1}"], ["rho is -1", "allowed"]),
        (["train", "mrr-digits", "sat", "--params", "{rho"], ["--params is '{rho'", "allowed"]),
        (["train", "mrr-digits", "sat", "--params.roh", "1"], ["'roh'; did you mean 'rho'?"]),
        (["evaluate", "nowhere"], ["there is no run 'nowhere'", "pnnbench run quickstart"]),
        (["leaderboard", "nowhere"], ["no such file or folder", "pnnbench run"]),
        (["leaderboard"], ["no records", "pnnbench run quickstart"]),
        (["reproduce", "mrr"], ["--checkpoints is missing"]),
        (["reproduce", "mr", "--checkpoints", "x"], ["did you mean 'mrr'?"]),
        (["doctor", "nowhere"], ["nowhere: there is no such folder"]),
        (["data", "mnist", "--root", "nowhere"], ["pnnbench data mnist --download"]),
        (["verify", "nowhere"], ["nowhere is no submission"]),
    ],
)
def test_a_mistake_is_told_before_work_starts(words, said, pnnbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = pnnbench(*words, status=2)
    assert found.out == ""
    assert found.err.startswith("pnnbench")
    for part in said:
        assert part in found.err
    assert not re.search(r"<class|\b(int|float|str|NoneType|ValueError)\b", found.err)
    assert [*tmp_path.iterdir()] == []


def test_a_folder_where_nothing_can_be_written_is_told(pnnbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    words = ["train", "mrr-digits", "bp", "--tier", "smoke", "--runs"]
    assert "--runs is file: " in pnnbench(*words, "file", status=2).err
    assert "--runs is file/below: " in pnnbench(*words, "file/below", status=2).err


@pytest.mark.parametrize("args", [["--help"], ["leaderboard", str(ROOT / "leaderboards")]])
def test_answers_without_torch(args, tmp_path):
    """What must answer fast imports none of the heavy packages."""
    code = (
        "import sys\nfrom pnnbench.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'wandb', 'matplotlib', 'scipy', 'sklearn'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    done = process(code, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_mistake_is_told_without_torch(tmp_path):
    code = (
        "import sys\nfrom pnnbench.cli import main\n"
        "lines = [\n"
        "    ['train', 'mrr-digits', 'bp', '--seed', '-1'], ['train', 'mrr-digit', 'bp'],\n"
        "    ['run', 'quickstart', '--add', 'satt'], ['check', 'nope'], ['evaluate', 'nowhere'],\n"
        "    ['list', 'methodss'], ['train', 'bp', 'mrr-digits'],\n"
        "]\n"
        "for line in lines:\n    assert main(line) == 2, line\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = process(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_python_m_pnnbench(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pnnbench", "trian"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'train'?" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(tiny):
    code = "import sys; from pnnbench.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["leaderboard", *["runs/tiny"] * 1, "--format", "html"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=tiny.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (1, b"")


def test_an_encoding_without_the_signs_gets_words(tiny):
    code = "import sys; from pnnbench.cli import main; sys.exit(main(sys.argv[1:]))"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = process(code, "leaderboard", cwd=tiny.folder, PYTHONIOENCODING="ascii", **plain)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "lambda_max" in done.stdout
    assert " +-" in done.stdout
    assert "?" not in done.stdout


def test_ctrl_c_says_how_to_go_on(pnnbench, tmp_path, monkeypatch):
    (tmp_path / "stopping.py").write_text(
        "from pnnbench.methods.bp import BP\n\n\n"
        "class Stops(BP):\n"
        '    """Is interrupted."""\n\n'
        "    def loss(self, workload, batch):\n"
        "        raise KeyboardInterrupt\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["train", "mrr-digits", "stopping.Stops", "--tier", "smoke", "--wandb", "disabled"]
    said = pnnbench(*words, status=130).err
    assert said.endswith("pnnbench train: interrupted; run the same command again to go on\n")
    assert "killed" in pnnbench("list", "runs").out
    assert "killed: Program interrupted by user." in pnnbench("doctor", status=1).out


def test_readme_method_of_ones_own(pnnbench, tmp_path, monkeypatch):
    """The example of the README: fifteen lines, checked and trained by the commands given there."""
    code = re.search(r"```python\n(# my_method\.py\n.*?)```", README, re.DOTALL)[1]
    lines = re.sub(r'""".*?"""', "", code, flags=re.DOTALL).splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 15
    (tmp_path / "my_method.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = re.search(r"pnnbench check (my_method\.\w+)", README)[1]
    assert " 0 failed" in pnnbench("check", name).out
    options = ["--tier", "smoke", "--wandb", "disabled", "--pictures", "false"]
    said = pnnbench("train", "mrr-digits", name, *options).out
    assert "lambda_max" in said
    assert re.search(rf"^next: pnnbench (run \w+ --add {name}|leaderboard runs/train)$", said, re.M)


def test_readme_names_commands_and_flags_that_exist(pnnbench):
    """Every command line of the README is accepted by the parser."""
    from pnnbench.arguments import build, parse

    parser = build("pnnbench", "", __version__, DECLARED)
    section = README[README.index("## Commands") : README.index("## Speed")]
    lines = re.findall(r"^pnnbench ((?:run|train|evaluate|plot|list) .*?) +#", section, re.M)
    assert len(lines) >= 6
    for line in lines:
        words = line.split()
        assert parse(parser, DECLARED, words).command == words[0]
    for command in DECLARED:
        assert f"pnnbench {command.name}" in section
