"""``new-method``: a package that works, is installed offline and passes its own tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.errors import UserError
from pnnbench.submitting.scaffold import NOBODY, check_new_name, new_method

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new package; read it, never change it."""
    return new_method("Tilted_step", tmp_path_factory.mktemp("made"), ["Ada Lovelace", "Émilie"])


@pytest.mark.slow
def test_it_passes_its_own_tests_where_it_is_installed(package: Path, tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(package, source)  # building leaves files in the sources
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--no-build-isolation", "--disable-pip-version-check", "--target", str(site),
            str(source),
        ],
        check=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package / "tests")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_its_card_names_the_authors(package: Path) -> None:
    card = json.loads((package / "card.json").read_text(encoding="utf-8"))
    assert card["authors"] == ["Ada Lovelace", "Émilie"]
    assert card["name"] == "TiltedStep"
    assert card["licence"] == "MIT"


def test_its_suite_has_the_settings_of_the_baselines(package: Path) -> None:
    suite = yaml.safe_load((package / "suite.yaml").read_text(encoding="utf-8"))
    shipped = yaml.safe_load((ROOT / "benchmarks" / "quickstart.yaml").read_text(encoding="utf-8"))
    *baselines, own = suite["methods"]
    assert baselines == [row for row in shipped["methods"] if row["label"] in ("BP", "NAT")]
    assert own == {"method": "tilted-step", "label": "TiltedStep", "tune": True}
    for key in ("protocol", "tier", "workloads"):
        assert suite[key] == shipped[key]


def test_without_authors_there_is_a_place_for_them(tmp_path: Path) -> None:
    made = new_method("tilted", tmp_path)
    assert json.loads((made / "card.json").read_text())["authors"] == [NOBODY]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "tilted").mkdir()
    (tmp_path / "tilted" / "mine").write_text("mine")
    (tmp_path / "linked").symlink_to(tmp_path / "nowhere")
    for name in ("tilted", "linked"):
        with pytest.raises(UserError, match="is there already"):
            new_method(name, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["linked", "tilted"]
    assert [p.name for p in (tmp_path / "tilted").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bp", "a method 'bp'"),
        ("BP_Weights", "a method 'bp-weights'"),
        ("mrr-digits", "a workload"),
        ("mzi", "a platform"),
        ("digits", "a data set"),
        ("quickstart", "a suite that ships"),
        ("class", "a reserved word"),
        ("match", "a reserved word"),
        ("tests", "a reserved word"),
        ("con", "a reserved word"),
        ("json", "a module 'json'"),
        ("torch", "a module 'torch'"),
        ("pnnbench", "a module 'pnnbench'"),
        ("pnnbench-more", "a module 'pnnbench_more'"),
        ("", "cannot be that of a package"),
        ("..", "cannot be that of a package"),
        ("../up", "cannot be that of a package"),
        ("/etc/cron", "cannot be that of a package"),
        ("a b", "cannot be that of a package"),
        ("a--b", "cannot be that of a package"),
        ("a_", "cannot be that of a package"),
        ("-a", "cannot be that of a package"),
        ("1a", "cannot be that of a package"),
        ("a.b", "cannot be that of a package"),
        ("a\n", "cannot be that of a package"),
        ("größe", "cannot be that of a package"),
        ("tіlted", "cannot be that of a package"),  # a Cyrillic letter
        ("a" * 41, "cannot be that of a package"),
        ("${HOME}", "cannot be that of a package"),
        ("{{ name }}", "cannot be that of a package"),
    ],
)
def test_names_that_cannot_be_taken(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_new_name(name)


@given(st.text(max_size=30))
def test_a_name_that_is_taken_is_that_of_a_module_and_a_file(name: str) -> None:
    try:
        proper = check_new_name(name)
    except UserError:
        return
    assert proper.replace("-", "_").isidentifier()
    assert proper.isascii()
    assert Path(proper).name == proper


@pytest.mark.parametrize("author", ["", " ", "two\nlines", "\u202eolleh", "a" * 101])
def test_authors_are_lines_of_text(author: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--author is"):
        new_method("tilted", tmp_path, [author])
    assert not any(tmp_path.iterdir())
