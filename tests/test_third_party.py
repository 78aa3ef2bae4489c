"""A package of somebody else, installed from a folder outside this one, and used by its names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(__file__).parent / "third_party" / "photonlab"
ROOT = Path(__file__).resolve().parents[1]


class Lab:
    """An empty folder in which the package is installed."""

    def __init__(self, home: Path, site: Path) -> None:
        self.home = home
        self.site = site

    def python(self, *arguments: str, status: int = 0) -> str:
        path = os.pathsep.join([str(self.site), str(ROOT)])
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.home,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def pnnbench(self, *arguments: str, status: int = 0) -> str:
        return self.python("-m", "pnnbench", *arguments, status=status)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    home, site, source = (tmp_path_factory.mktemp(name) for name in ("home", "site", "source"))
    shutil.copytree(LAB, source / "photonlab")  # building leaves files in the sources
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--no-build-isolation", "--disable-pip-version-check", "--target", str(site),
            str(source / "photonlab"),
        ],
        check=True,
    )  # fmt: skip
    return Lab(home, site)


def test_its_names_are_listed_beside_ours(lab: Lab) -> None:
    shown = lab.pnnbench("list")
    for name, text in {
        "sign-step": "The task loss at controls that have all moved",
        "spectra": "Twelve wavelengths of three mixtures",
        "lab-spectra": "Twelve wavelengths through two weight banks",
        "sat": "",
    }.items():
        assert name in shown
        assert text in shown


@pytest.mark.parametrize("name", [pytest.param("sign-step", marks=pytest.mark.slow), "lab-spectra"])
def test_what_it_brings_passes_the_checks(lab: Lab, name: str) -> None:
    shown = lab.pnnbench("check", name)
    assert shown.splitlines()[-1].endswith(" passed, 0 failed")


@pytest.mark.slow
def test_its_suite_runs_on_its_rings(lab: Lab) -> None:
    suite = str(lab.site / "photonlab" / "lab.yaml")
    shown = lab.pnnbench("run", suite, "--threads", "1", "--wandb", "disabled")
    assert "lab-spectra" in shown
    paths = sorted((lab.home / "runs" / "lab").glob("*/record.json"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    assert {r["job"]["method"]["name"] for r in records} == {"bp", "pat", "sign-step"}
    for record, path in zip(records, paths, strict=True):
        assert record["status"] == "ok"
        assert record["data"]["name"] == "spectra"
        # Half of the spectra are of one mixture: an answer that is always this one is right there.
        assert 0.4 < record["metric"]["chance"] < 0.6
        assert record["clean"] > 0.9
        on_devices = [group for group in record["groups"] if group["devices"] != [None]]
        assert len(on_devices) > 3
        assert all(group["source"] == "measured" for group in on_devices)
        kept = path.parent / record["devices"]["file"]
        assert kept.read_bytes() == (LAB / "photonlab" / "rings.csv").read_bytes()
        sources = record["provenance"]["sources"]
        assert sources["workload"]["distribution"] == "photonlab"
        assert sources["data"]["version"] == "0.3.0"
    mine = next(r for r in records if r["job"]["method"]["name"] == "sign-step")
    assert mine["provenance"]["sources"]["method"]["distribution"] == "photonlab"
    (lab.home / "look.py").write_text(LOOK, encoding="utf-8")
    told = json.loads(lab.python("look.py"))
    assert told == {
        "rows": ["bp", "pat", "sign-step"],
        "shape": [600, 12],
        "clean": [mine["clean"]],
    }


#: What a reader types: the public names alone.
LOOK = """
import json
import pnnbench

results = pnnbench.load("runs/lab")
again = pnnbench.evaluate(pnnbench.load_network("lab/sign-step/0"), tier="smoke")
print(json.dumps({
    "rows": sorted(set(results.to_dict()["row"])),
    "shape": list(pnnbench.load_data("spectra").train_inputs.shape),
    "clean": again.to_dict("runs")["clean"],
}))
"""
