from __future__ import annotations

import errno
import importlib
import os
from pathlib import Path

import pytest
import torch

from pnnbench.errors import (
    DiskFullError,
    UserError,
    did_you_mean,
    disk_full,
    failure_text,
    first_sentence,
    fold,
    kind_word,
    own_frames,
    writing,
)


def raised(function, *args: object) -> BaseException:
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_last_own_lines_of_an_error_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import json\n\n\ndef outer():\n    return inner()\n\n\ndef inner():\n    json.loads('{')\n"
    )
    names: dict = {"__name__": "mine", "__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), names)  # noqa: S102
    lines = own_frames(raised(names["outer"]))
    assert [line.rpartition(": ")[2] for line in lines] == ["return inner()", "json.loads('{')"]
    assert "line 9, in inner" in lines[-1]
    assert failure_text(raised(names["outer"])).startswith("Expecting property name")


def test_a_syntax_error_names_its_place(tmp_path: Path) -> None:
    source = "x = 1\ny = (\n"
    error = raised(lambda: compile(source, str(tmp_path / "mine.py"), "exec"))
    assert "mine.py, line 2: y = (" in failure_text(error)


def test_a_mistake_of_the_user_reads_as_it_is() -> None:
    assert failure_text(UserError("x is 1", allowed="2")) == "x is 1\n  allowed: 2"


def test_spelling_does_not_count() -> None:
    assert fold("BP_Weights") == "bp-weights"
    assert did_you_mean("BP_weigts", ["bp", "bp-weights"]) == "; did you mean 'bp-weights'?"
    assert did_you_mean("zzz", ["bp"]) == ""


def test_kinds_have_words_not_types() -> None:
    words = [kind_word(v) for v in (True, 1, 1.5, "x", [], {}, None)]
    assert len(set(words)) == 7
    assert not {"bool", "int", "float", "str", "list", "dict", "NoneType"} & set(words)


def test_a_full_disk_is_seen_behind_other_errors(tmp_path: Path) -> None:
    def fill() -> None:
        with writing(tmp_path / "x"):
            raise OSError(errno.ENOSPC, "No space left on device")

    error = raised(fill)
    assert isinstance(error, DiskFullError)
    assert "make room and run the same command again" in str(error)

    def wrapped() -> None:
        try:
            fill()
        except UserError as inner:
            raise RuntimeError("while saving") from inner

    assert disk_full(raised(wrapped))
    assert not disk_full(OSError(errno.ENOENT, "no such file"))
    with pytest.raises(FileNotFoundError), writing("x"):
        (tmp_path / "none").read_text()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EFBIG, "larger than is allowed here"),
    ],
)
def test_what_leaves_no_room_is_named(tmp_path: Path, number: int, said: str) -> None:
    def fill() -> None:
        with writing(tmp_path / "x"):
            raise OSError(number, os.strerror(number))

    error = raised(fill)
    assert isinstance(error, DiskFullError)
    assert said in error.what
    assert error.what.endswith(f"{tmp_path / 'x'} could not be written")


def test_a_syntax_error_names_the_file_that_imported_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "errors_test_deep.py").write_text("def broken(:\n")
    (tmp_path / "errors_test_top.py").write_text("import errors_test_deep\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = own_frames(raised(importlib.import_module, "errors_test_top"))
    assert lines == [
        "errors_test_top.py, line 1, in <module>: import errors_test_deep",
        "errors_test_deep.py, line 1: def broken(:",
    ]


def test_frames_of_libraries_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "class Bad(nn.Module):\n    def forward(self, x):\n        return x + nothing\n"
    )
    names: dict = {"__name__": "mine", "__file__": str(file), "nn": torch.nn}
    exec(compile(file.read_text(), str(file), "exec"), names)  # noqa: S102
    # The call goes through torch before it comes back to the user's own forward.
    (line,) = own_frames(raised(torch.nn.Sequential(names["Bad"]()), torch.zeros(1)), 1)
    assert line.endswith("mine.py, line 3, in forward: return x + nothing")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("one. two", "one. two"),
        ("one line\nand its end. More.\n\nThe rest", "one line and its end."),
        ("\n  a title\n\n  * an item", "a title"),
        ("", ""),
    ],
)
def test_the_first_sentence_of_several_lines(text: str, first: str) -> None:
    assert first_sentence(text) == first
