"""What a record names is code of somebody else: it is not imported unless that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnnbench.errors import UserError
from pnnbench.lookup import check_name, only, received, registered, resolve

from .test_registry import install

ENTRY = "own-bp = received_code:Method"
CODE = "raise SystemExit('this code must not run')\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder: one that was received, with code and an entry point in it."""
    (tmp_path / "received_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["methods", "workloads", "data", "platforms"])
@pytest.mark.parametrize("name", ["received_code.Method", "received_code:Method", "os.path"])
def test_class_paths_are_refused_where_names_are_received(kind: str, name: str) -> None:
    with received(), pytest.raises(UserError, match="is code of its author") as caught:
        resolve(kind, name)
    assert "--trust" in caught.value.next_step
    with only("own"), pytest.raises(UserError, match="is code of its author") as caught:
        check_name(kind, name)
    assert "--trust" not in caught.value.next_step
    with only("any"), received(), pytest.raises(SystemExit):
        resolve(kind, "received_code.Method")


def test_doors_close_behind_one_another() -> None:
    with only("own"), received(), pytest.raises(UserError):
        check_name("methods", "received_code.Method")
    with only("any"), only("own"), pytest.raises(UserError):
        check_name("methods", "received_code.Method")
    assert check_name("methods", "received_code.Method") == "received_code.Method"


def test_an_entry_point_in_a_received_folder_is_none(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(folder, "received", "pnnbench.methods", ENTRY)
    monkeypatch.syspath_prepend(str(folder))
    assert "own-bp" in registered("methods")
    with received():
        assert "own-bp" not in registered("methods")
        assert "bp" in registered("methods")
    # Of a package that somebody has installed it is one; this package verifies with its own alone.
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with received():
        assert "own-bp" in registered("methods")
    with only("own"):
        assert "own-bp" not in registered("methods")
        assert "bp" in registered("methods")
