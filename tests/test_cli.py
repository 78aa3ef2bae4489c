"""The command line through its real entry point."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COMMAND = str(Path(sys.executable).with_name("pnnbench"))
ROOT = Path(__file__).resolve().parents[1]


def pnnbench(*args, cwd, check=0):
    done = subprocess.run([COMMAND, *map(str, args)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == check, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One tiny suite through `pnnbench run`, pictures and the offline mirror included."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(
        yaml.safe_dump(
            {
                "suite": "tiny",
                "protocol": "pnnbench-1",
                "tier": "smoke",
                "workloads": ["mrr-digits"],
                "seeds": [0, 1],
                "methods": ["bp", "nat"],
            }
        )
    )
    return folder, pnnbench("run", "tiny.yaml", cwd=folder)


def test_run_prints_the_leaderboard_and_the_page(ran):
    folder, done = ran
    assert re.search(r"^ +1=? +(bp|nat) ", done.stdout, re.MULTILINE)
    page = Path(folder / re.search(r"^page: (.+)$", done.stdout, re.MULTILINE)[1])
    assert page.read_text().startswith("<!")
    run = next(p for p in (folder / "runs" / "tiny").iterdir() if (p / "record.json").exists())
    names = {p.name for p in (run / "pictures").iterdir()}
    assert {"controls.png", "landscape.svg", "confusion.png", "curve.svg"} <= names
    assert list(folder.rglob("*.wandb")), "no offline Weights & Biases files"


def test_run_again_only_says_it_is_done(ran):
    folder, first = ran
    again = pnnbench("run", "tiny.yaml", "--wandb", "disabled", cwd=folder)
    assert "4 of 4 jobs are finished already" in again.stderr
    assert again.stdout == first.stdout


def test_leaderboard_json_has_the_promised_form(ran):
    folder, _ = ran
    out = json.loads(pnnbench("leaderboard", "--format", "json", cwd=folder).stdout)
    assert {r["method"] for r in out["rows"]} == {"bp", "nat"}
    for row in out["rows"]:
        assert row["suite"] == "tiny"
        assert row["protocol"] == "pnnbench-1"
        assert row["workload"] == "mrr-digits"
        assert row["metric"] == "accuracy"
        assert (row["n_seeds"], row["n_devices"]) == (2, 2)
        for key in ("clean", "robust", "worst_decile", "lambda_max"):
            assert row[key]["low"] <= row[key]["mean"] <= row[key]["high"]
        assert row["cost"]["gradient_evaluations"] == 8
        assert row["cost"]["hardware_queries"] == 0
        assert row["cost"]["train_seconds"] > 0


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_leaderboard_other_formats(ran, form):
    assert "bp" in pnnbench("leaderboard", "--format", form, cwd=ran[0]).stdout


def test_publish_writes_records_page_and_text(ran, tmp_path):
    pnnbench("leaderboard", "runs/tiny", "--publish", tmp_path / "out", cwd=ran[0])
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 4
    assert (tmp_path / "out" / "index.html").exists()
    assert "bp" in (tmp_path / "out" / "README.md").read_text()
    again = pnnbench("leaderboard", tmp_path / "out", "--format", "json", cwd=tmp_path)
    first = pnnbench("leaderboard", "runs/tiny", "--format", "json", cwd=ran[0])
    assert json.loads(again.stdout)["rows"] == json.loads(first.stdout)["rows"]


def test_published_records_count_as_finished(ran, tmp_path):
    """On a bare machine the committed records of a suite are not made again."""
    folder, first = ran
    published = tmp_path / "leaderboards" / "tiny"
    pnnbench("leaderboard", "runs/tiny", "--publish", published, cwd=folder)
    (tmp_path / "tiny.yaml").write_text((folder / "tiny.yaml").read_text())
    again = pnnbench("run", "tiny.yaml", cwd=tmp_path)
    assert "4 jobs are among the published records already" in again.stderr
    assert ": start" not in again.stderr
    assert again.stdout == first.stdout


def test_evaluate_submit_verify_doctor(ran, tmp_path):
    folder, _ = ran
    run = next(p.parent for p in sorted((folder / "runs" / "tiny").rglob("record.json")))
    out = pnnbench("evaluate", run, cwd=folder).stdout
    assert "largest difference from the record: 0" in out
    submission = pnnbench("submit", run, "--out", tmp_path, cwd=folder).stdout.split()[-1]
    assert "confirmed" in pnnbench("verify", submission, cwd=folder).stdout
    assert "0 findings" in pnnbench("doctor", "runs", cwd=folder).stdout


def test_list(tmp_path):
    assert "sat" in pnnbench("list", "methods", cwd=tmp_path).stdout
    assert "tiers: smoke, quick" in pnnbench("list", "workloads", cwd=tmp_path).stdout
    assert "mrr_mnist" in pnnbench("list", "suites", cwd=tmp_path).stdout
    assert "mrr" in pnnbench("list", "platforms", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "nothing.yaml"], ["unknown suite file 'nothing.yaml'", "pnnbench list suites"]),
        (["train", "mrr-digit", "bp"], ["did you mean 'mrr-digits'"]),
        (["train", "mrr-digits", "satt"], ["did you mean 'sat'"]),
        (["train", "mrr-digits", "sat", "--params", '{"rho": -1}'], ["rho is -1", "allowed"]),
        (["train", "mrr-digits", "bp", "--tier", "paperr"], ["tier 'paperr'"]),
        (["evaluate", "nowhere"], ["there is no such record"]),
        (["leaderboard", "nowhere"], ["no such file or folder", "pnnbench run"]),
        (["reproduce", "mrr", "--checkpoints", "nowhere"], ["nowhere"]),
        (["data", "mnist", "--root", "nowhere"], ["pnnbench data mnist --download"]),
    ],
)
def test_mistakes_give_one_readable_error(tmp_path, args, words):
    done = pnnbench(*args, cwd=tmp_path, check=2)
    for word in words:
        assert word in done.stderr


def test_readme_method_of_ones_own(tmp_path):
    """The example of the README: fifteen lines, checked and trained by the commands given there."""
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(# my_method\.py\n.*?)```", readme, re.DOTALL)[1]
    lines = re.sub(r'""".*?"""', "", code, flags=re.DOTALL).splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 15
    (tmp_path / "my_method.py").write_text(code)
    name = re.search(r"pnnbench check (my_method\.\w+)", readme)[1]
    assert " 0 failed" in pnnbench("check", name, cwd=tmp_path).stdout
    out = pnnbench(
        "train",
        "mrr-digits",
        name,
        "--tier",
        "smoke",
        "--wandb",
        "disabled",
        "--pictures",
        "false",
        cwd=tmp_path,
    ).stdout
    assert "lambda_max" in out


@pytest.mark.parametrize("args", [["--help"], ["leaderboard", str(ROOT / "leaderboards")]])
def test_answers_without_torch(args, tmp_path):
    """What must answer fast imports none of the heavy packages."""
    code = (
        "import sys\nfrom pnnbench.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'lightning', 'wandb', 'matplotlib', 'scipy', 'sklearn'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
