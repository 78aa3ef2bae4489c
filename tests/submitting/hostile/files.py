"""Files that are not there, not named, no files, or too large."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from safetensors.torch import load_file, save

from ..packed import exchange, reseal
from .cases import PARAMETERS, RECORD, Spoil, case
from .tensors import framed


@case("files", "a file is missing")
def _missing(folder: Path) -> None:
    (folder / PARAMETERS).unlink()


@case("files", "a folder is missing")
def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder / "seed-2")


@case("files", "a file changed after it was packed")
def _changed(folder: Path) -> None:
    content = bytearray((folder / PARAMETERS).read_bytes())
    content[-1] ^= 1
    (folder / PARAMETERS).write_bytes(bytes(content))


for _extra in ("evil.py", "seed-1/sitecustomize.py", "seed-1/outcomes.safetensors", ".hidden",
               "seed-1/checkpoint.ckpt", "seed-00/record.json", "Seed-0/record.json",
               "seed-1/deeper/record.json", "seed-1/RECORD.JSON", "seed-7/record.json",
               "search.JSON", "submission.json~", "seed-1/record.json\u202e"):  # fmt: skip

    def _added(folder: Path, extra: str = _extra) -> None:
        path = folder / extra
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("print('owned')")

    case("files", f"one more: {_extra!a}")(_added)


@case("files", "one more, named")
def _named(folder: Path) -> None:
    (folder / "seed-1" / "devices.csv").write_text("device,role,detuning_hwhm\na,test,0\n")
    reseal(folder)


@case("files", "two seeds with the same tensors")
def _copies(folder: Path) -> None:
    exchange(folder, (folder / PARAMETERS).read_bytes(), seed=2)


@case("files", "two seeds with the same tensors, in other bytes")
def _spaced(folder: Path) -> None:
    content = (folder / PARAMETERS).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    exchange(folder, framed(content[8 : 8 + length] + b" " * 8, content[8 + length :]), seed=2)


@case("files", "two seeds with almost the same tensors")
def _almost(folder: Path) -> None:
    tensors = load_file(folder / PARAMETERS)
    near = {k: t * (1 - 1e-4) if t.is_floating_point() else t for k, t in tensors.items()}
    exchange(folder, save(near), seed=2)


@case("files", "not there")
def _nowhere(folder: Path) -> Path:
    return folder / "nowhere"


@case("files", "an empty folder")
def _empty(folder: Path) -> Path:
    (folder.parent / "empty").mkdir()
    return folder.parent / "empty"


@case("files", "5,000 files")
def _many(folder: Path) -> None:
    (folder / "seed-3").mkdir()
    for i in range(5_000):
        (folder / "seed-3" / str(i)).touch()


for _target in (RECORD, PARAMETERS, "submission.json"):

    def _link(folder: Path, target: str = _target) -> None:
        kept = folder.parent / "kept"
        shutil.move(folder / target, kept)
        (folder / target).symlink_to(kept)

    case("links and devices", f"{_target} is a link")(_link)

    def _pipe(folder: Path, target: str = _target) -> None:
        (folder / target).unlink()
        os.mkfifo(folder / target)

    case("links and devices", f"{_target} is a pipe")(_pipe)


@case("links and devices", "a folder is a link")
def _folder_link(folder: Path) -> None:
    shutil.move(folder / "seed-1", folder.parent / "moved")
    (folder / "seed-1").symlink_to(folder.parent / "moved")


@case("links and devices", "a link to a file that never ends")
def _endless(folder: Path) -> None:
    (folder / PARAMETERS).unlink()
    (folder / PARAMETERS).symlink_to("/dev/zero")


@case("links and devices", "a link to itself")
def _circle(folder: Path) -> None:
    (folder / RECORD).unlink()
    (folder / RECORD).symlink_to(folder / RECORD)


@case("links and devices", "a file where a folder was")
def _file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder / "seed-1")
    (folder / "seed-1").write_text("{}")


@case("links and devices", "a folder where a file was")
def _folder_for_file(folder: Path) -> None:
    (folder / RECORD).unlink()
    (folder / RECORD).mkdir()


@case("links and devices", "a pipe is the submission")
def _whole_pipe(folder: Path) -> Path:
    os.mkfifo(folder.parent / "pipe")
    return folder.parent / "pipe"


def _sparse(name: str, size: int) -> Spoil:
    def spoil(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(size)

    return spoil


for _name, _size in {
    "submission.json": 2_000_000, RECORD: 5_000_000, PARAMETERS: 300_000_000,
    "seed-2/parameters.safetensors": 10**13,
}.items():  # fmt: skip
    case("size", f"{_name} of {_size} bytes")(_sparse(_name, _size))


@case("size", "tensors with a tail")
def _tail(folder: Path) -> None:
    exchange(folder, (folder / PARAMETERS).read_bytes() + b"\0" * 5_000_000)
