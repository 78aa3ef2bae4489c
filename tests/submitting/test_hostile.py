"""Submissions of somebody who means harm: each is refused in a sentence, with nothing written."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save

from pnnbench.errors import UserError
from pnnbench.lookup import only
from pnnbench.submitting.received import Received

from .hostile import files, tensors, texts, zips  # noqa: F401 - they fill the list
from .hostile.cases import CASES, PARAMETERS, RECORD, Spoil
from .hostile.searches import row_of, searched
from .packed import forge, rewrite, write_manifest, zipped

EVERY = [
    pytest.param(spoil, id=f"{kind}: {name}")
    for kind, cases in CASES.items()
    for name, spoil in cases
]


def test_settings_of_earlier_searches_were_tried_too(spoiled: Path) -> None:
    searched(lambda c: row_of(c, 1, tried_before=1000))(spoiled)
    found = refusal(spoiled)
    assert found.what == "settings_tried is 1"
    assert found.allowed.startswith("at least 1001, the points of search.json and the 1000 of")


def test_a_search_at_a_shorter_tier_is_one_of_the_row(spoiled: Path) -> None:
    searched(lambda c: (row_of(c, 5), c.update(tier="search")))(spoiled)
    assert refusal(spoiled).allowed.startswith("at least 5, the points of search.json")


def _called(folder: Path, label: str) -> None:
    for seed in (1, 2):
        forge(folder, lambda r: r["job"]["method"].update(label=label), seed)
    rewrite(folder, lambda content: content["row"].update(label=label))


def test_the_name_of_another_method_is_no_label(spoiled: Path) -> None:
    _called(spoiled, "SAT")
    assert "the name of the method sat" in refusal(spoiled).what


def test_what_changes_while_it_is_read_is_refused(spoiled: Path) -> None:
    """Good tensors are there to be measured, others while the digests were taken."""
    with only("own"):
        received = Received(spoiled)
        tensors = load_file(spoiled / PARAMETERS)
        other = {k: t * 0.5 if t.is_floating_point() else t for k, t in tensors.items()}
        (spoiled / PARAMETERS).write_bytes(save(other))
        with pytest.raises(UserError, match="has changed since it was first read"):
            received.trained(received.seeds[0])
        (spoiled / PARAMETERS).unlink()
        os.mkfifo(spoiled / PARAMETERS)
        with pytest.raises(UserError, match="no plain file"):
            received.trained(received.seeds[0])
    manifest = spoiled / "submission.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"A. Author", b"B. Author"))
    with pytest.raises(UserError, match="has changed since"):
        received.bundle.sha256("submission.json")


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and when it was changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.fixture
def spoiled(submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy to be spoiled; the present folder is beside it."""
    folder = tmp_path / "received" / "submission"
    shutil.copytree(submission, folder)
    monkeypatch.chdir(folder.parent)
    modules = set(sys.modules)
    yield folder
    assert not {name for name in set(sys.modules) - modules if name.startswith(("mine", "evil"))}


def refusal(path: Path) -> UserError:
    with only("own"), pytest.raises(UserError) as caught:
        Received(path)
    return caught.value


@pytest.mark.parametrize("spoil", EVERY)
def test_what_is_hostile_is_refused_in_a_sentence(spoil: Spoil, spoiled: Path) -> None:
    path = spoil(spoiled) or spoiled
    before = everything(spoiled.parent)
    said = refusal(path)
    assert everything(spoiled.parent) == before
    assert 10 < len(said.what) < 400
    assert "\n" not in said.what
    assert said.what.isprintable()


def said_of(kind: str, name: str, folder: Path) -> str:
    """What is said of a case of the list."""
    dict(CASES[kind])[name](folder)
    return refusal(folder).what


@pytest.mark.parametrize("name", [name for name, _ in CASES["another seed"]])
def test_one_network_is_no_two_seeds(name: str, spoiled: Path) -> None:
    said = said_of("another seed", name, spoiled)
    answers = "give the same answers to images" if "order" in name else "have the same tensors"
    assert said == f"seeds 1 and 2 {answers}, or almost"


@pytest.mark.parametrize("name", [name for name, _ in CASES["one seed"]])
def test_a_seed_of_another_thing_does_not_leave_its_row(name: str, spoiled: Path) -> None:
    said = said_of("one seed", name, spoiled)
    first = "2 and 1" if "failure" in name else "1 and 2"
    assert said.startswith(f"seeds {first} are not runs of one thing: ")


@pytest.mark.parametrize("name", [n for n, _ in CASES["records"] if "data set" in n])
def test_a_data_set_that_nobody_else_has_is_refused(name: str, spoiled: Path) -> None:
    said = said_of("records", name, spoiled)
    own = "names the data set digits as one that was brought"
    assert (own if "workload's own" in name else "which is not registered") in said


def test_the_list_is_long_and_of_many_kinds() -> None:
    assert sum(map(len, CASES.values())) >= 200
    assert {kind: len(cases) for kind, cases in CASES.items() if len(cases) < 5} == {}


def test_a_good_one_is_taken_as_a_folder_and_as_a_zip(spoiled: Path) -> None:
    with only("own"):
        for path in (spoiled, zipped(spoiled, spoiled.parent / "good.zip")):
            assert [seed.number for seed in Received(path).seeds] == [1, 2]
    os.link(spoiled / RECORD, spoiled.parent / "hard")
    write_manifest(spoiled, json.loads((spoiled / "submission.json").read_text()))
    with only("own"):
        assert len(Received(spoiled).seeds) == 2
