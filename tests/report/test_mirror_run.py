from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnbench.report.mirror_run import NAME, TAG, flat, numbers, plain_name, shortened

from ..record_factory import make_record, write_job

_TEXTS = st.text("aB.-_/é光", max_size=40).map(lambda text: text * 4) | st.text(max_size=20)


@given(_TEXTS, _TEXTS, st.sampled_from([TAG, NAME]))
def test_shortened_names_fit_and_stay_different(a: str, b: str, limit: int) -> None:
    assert len(shortened(a, limit)) <= limit
    assert (shortened(a, limit) == shortened(b, limit)) == (a == b)
    assert shortened(a[:limit], limit) == a[:limit]


@given(_TEXTS, _TEXTS)
def test_plain_names_have_plain_letters_and_stay_different(a: str, b: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", plain_name(a))
    assert (plain_name(a) == plain_name(b)) == (a == b)


@given(st.text("abc_.-9", min_size=1, max_size=128))
def test_a_plain_name_stands_for_itself(name: str) -> None:
    assert plain_name(name) == name


def test_flat_keeps_every_leaf_and_numbers_the_numbers() -> None:
    value = {"a": {"b": 1, "c": {"d": None, "e": {}}}, "f": [1, 2], "g": True, "h": 0.5}
    assert flat(value, "x/") == {
        "x/a/b": 1,
        "x/a/c/d": None,
        "x/a/c/e": {},
        "x/f": [1, 2],
        "x/g": True,
        "x/h": 0.5,
    }
    assert numbers(value) == {"a/b": 1, "h": 0.5}


@pytest.mark.slow
def test_nothing_is_written_outside_the_folder_of_the_run(tmp_path: Path) -> None:
    """In a process of its own: wandb's helper process keeps the places of its first run."""
    path = write_job(tmp_path / "runs", make_record())
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    code = (
        "import sys; from pathlib import Path\n"
        "from pnnbench.records.store import read_record\n"
        "from pnnbench.report.mirror import log_job\n"
        "path = Path(sys.argv[1])\n"
        "assert log_job(read_record(path), path.parent) is None\n"
    )
    places = {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | places
    root = str(Path(__file__).resolve().parents[2])
    subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=work,
        env={**environment, "PYTHONPATH": root},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    assert list(path.parent.glob("wandb/offline-run-*"))
    assert [*home.rglob("*"), *work.rglob("*")] == []
