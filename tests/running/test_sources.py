"""The digest of third-party code follows everything that decides a result, and nothing else."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pnnbench import __version__, lookup
from pnnbench.errors import UserError
from pnnbench.methods.sat import SAT
from pnnbench.running import sources
from pnnbench.running.sources import files_opened, source_of
from pnnbench.workloads.mzi import MZIDigits

NUMBERS = itertools.count()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    sources._owners.cache_clear()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sources._owners.cache_clear()


def load(name: str) -> type:
    """Imports the class ``Mine`` of a module as if for the first time, in a session of its own."""
    lookup._IMPORTED.clear()
    for known in [m for m in sys.modules if m.partition(".")[0] == name.partition(".")[0]]:
        del sys.modules[known]
    importlib.invalidate_caches()
    return importlib.import_module(name).Mine


def changes(digest: Callable[[], str], file: Path, text: str) -> bool:
    before = digest()
    file.write_text(text)
    return digest() != before


def test_own_code_has_no_digest_and_its_version() -> None:
    workload = MZIDigits(0)
    source = source_of([SAT, MZIDigits, *(type(m) for m in workload.network.modules())])
    assert (source.distribution, source.version, source.sha256) == ("pnnbench", __version__, "")


def test_a_loose_file_and_what_it_imports_beside_it(place: Path) -> None:
    name = f"loose{next(NUMBERS)}"
    (place / f"{name}.py").write_text(
        "from pathlib import Path\n"
        f"import numpy\nfrom pnnbench.methods.bp import BP\nfrom {name}_helper import SCALE\n"
        "class Mine(BP):\n    curve = Path(__file__).with_name('curve.csv')\n"
    )
    (place / f"{name}_helper.py").write_text(f"import {name}_deep\nSCALE = 1.0\n")
    (place / f"{name}_deep.py").write_text("DEEP = 1\n")
    (place / "curve.csv").write_text("0,1\n")
    (place / "unrelated.py").write_text("X = 1\n")
    (place / "notes.txt").write_text("none")

    def digest() -> str:
        return source_of([load(name)]).sha256

    source = source_of([load(name)])
    assert source.files == tuple(
        sorted([f"{name}.py", f"{name}_helper.py", f"{name}_deep.py", "curve.csv"])
    )
    assert (source.distribution, source.version) == ("", "")
    assert digest() == digest()
    assert changes(digest, place / f"{name}_helper.py", f"import {name}_deep\nSCALE = 2.0\n")
    assert changes(digest, place / f"{name}_deep.py", "DEEP = 2\n")
    assert changes(digest, place / "curve.csv", "0,2\n")
    assert not changes(digest, place / "unrelated.py", "X = 2\n")
    assert not changes(digest, place / "notes.txt", "some")


def test_data_files_that_are_opened_while_the_class_is_built(place: Path) -> None:
    name = f"reads{next(NUMBERS)}"
    (place / f"{name}.py").write_text(
        "from pathlib import Path\nfrom pnnbench.methods.bp import BP\n"
        "class Mine(BP):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        i = 3\n"
        "        self.text = (Path(__file__).parent / 'rings' / f'ring{i}.csv').read_text()\n"
    )
    (place / "rings").mkdir()
    (place / "rings" / "ring3.csv").write_text("1")
    (place / "runs").mkdir()
    (place / "runs" / "result.csv").write_text("1")

    def digest() -> str:
        cls = load(name)
        with files_opened() as opened:
            cls()
            (place / "runs" / "result.csv").read_text()
        return source_of([cls], opened).sha256

    assert changes(digest, place / "rings" / "ring3.csv", "2")
    assert not changes(digest, place / "runs" / "result.csv", "2")


def test_a_loose_package_counts_whole(place: Path) -> None:
    name = f"package{next(NUMBERS)}"
    folder = place / name
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "method.py").write_text(
        "from pnnbench.methods.bp import BP\nclass Mine(BP):\n    pass\n"
    )
    (folder / "deep" / "curve.npz").write_text("1")

    def digest() -> str:
        return source_of([load(f"{name}.method")]).sha256

    assert changes(digest, folder / "deep" / "curve.npz", "2")
    assert not changes(digest, place / "beside.csv", "2")


def test_an_installed_distribution_counts_whole_with_name_and_version(place: Path) -> None:
    name = f"installed{next(NUMBERS)}"
    folder, other = place / name, place / f"{name}_more"
    for package in (folder, other):
        package.mkdir()
        (package / "__init__.py").write_text("")
    (folder / "method.py").write_text(
        "from pnnbench.methods.bp import BP\nclass Mine(BP):\n    pass\n"
    )
    (other / "law.py").write_text("NOISE = 1\n")
    info = place / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "top_level.txt").write_text(f"{name}\n{name}_more\n")
    (info / "RECORD").write_text(
        f"{name}/__init__.py,,\n{name}/method.py,,\n{name}_more/__init__.py,,\n{name}_more/law.py,,\n"
    )
    source = source_of([load(f"{name}.method")])
    assert (source.distribution, source.version) == (name, "1.2")

    def digest() -> str:
        return source_of([load(f"{name}.method")]).sha256

    assert changes(digest, other / "law.py", "NOISE = 2\n")
    assert not changes(digest, place / "beside.py", "X = 2\n")


def test_a_base_class_from_elsewhere_counts(place: Path) -> None:
    base, mine = f"base{next(NUMBERS)}", f"mine{next(NUMBERS)}"
    (place / f"{base}.py").write_text(
        "from pnnbench.methods.bp import BP\nclass Base(BP):\n    A = 1\n"
    )
    (place / f"{mine}.py").write_text(
        f"import importlib\nclass Mine(importlib.import_module('{base}').Base):\n    pass\n"
    )

    def digest() -> str:
        for known in (base, mine):
            sys.modules.pop(known, None)
        return source_of([load(mine)]).sha256

    text = "from pnnbench.methods.bp import BP\nclass Base(BP):\n    A = 2\n"
    assert changes(digest, place / f"{base}.py", text)


def test_dependencies_of_this_package_are_no_third_party() -> None:
    known = sources._infrastructure()
    assert {"torch", "lightning", "numpy", "sklearn", "yaml", "os"} <= known
    assert "pnnbench" not in known


def test_a_package_without_files_at_its_top_counts(place: Path) -> None:
    number = next(NUMBERS)
    deep = place / f"helpers{number}" / "math"
    deep.mkdir(parents=True)
    (deep / "ops.py").write_text("def f(x):\n    return x\n")
    (place / f"method{number}.py").write_text(
        "from pnnbench.methods.bp import BP\n"
        f"from helpers{number}.math.ops import f\n\nclass Mine(BP):\n    pass\n"
    )

    def digest() -> str:
        return source_of([load(f"method{number}")]).sha256

    assert changes(digest, deep / "ops.py", "def f(x):\n    return 2 * x\n")


@pytest.mark.parametrize("edited", ["mine", "helper"])
def test_code_that_was_edited_after_its_import_does_not_run_under_the_new_digest(
    place: Path, edited: str
) -> None:
    number = next(NUMBERS)
    files = {name: place / f"{name}{number}.py" for name in ("mine", "helper")}
    files["helper"].write_text("SCALE = 1\n")
    text = f"from pnnbench.methods.bp import BP\nimport helper{number}\nclass Mine(BP):\n    pass\n"
    files["mine"].write_text(text)
    first = load(f"mine{number}")
    before = source_of([first]).sha256
    old = files[edited].read_text()
    files[edited].write_text(old + "MORE = 1\n")
    with pytest.raises(UserError, match=rf"{edited}{number}.py was edited after it had been imp"):
        source_of([first])
    files[edited].write_text(old)
    assert source_of([first]).sha256 == before
    files[edited].write_text(old + "MORE = 1\n")
    for name in files:
        sys.modules.pop(f"{name}{number}", None)
    assert source_of([importlib.import_module(f"mine{number}").Mine]).sha256 != before


def test_an_edit_between_the_name_and_the_run_is_seen(place: Path) -> None:
    number = next(NUMBERS)
    file = place / f"named{number}.py"
    file.write_text("from pnnbench.methods.bp import BP\nclass Mine(BP):\n    pass\n")
    found = lookup.resolve("methods", f"named{number}.Mine")
    file.write_text(file.read_text() + "MORE = 1\n")
    with pytest.raises(UserError, match="was edited after it had been imported"):
        source_of([found])


@pytest.mark.parametrize("imported", [True, False])
def test_a_helper_that_is_found_on_the_path_and_not_beside_counts(
    place: Path, monkeypatch: pytest.MonkeyPatch, imported: bool
) -> None:
    """One that is not yet imported, too."""
    number = next(NUMBERS)
    mine, away = place / "mine", place / "away"
    for folder in (mine, away):
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
    line = f"from helper{number} import SCALE\n"
    (mine / f"own{number}.py").write_text(
        "import numpy\ntry:\n    import nowhere_to_be_found\nexcept ImportError:\n    pass\n"
        + "from pnnbench.methods.bp import BP\n"
        + (line if imported else f"def late():\n    {line}")
        + "class Mine(BP):\n    pass\n"
    )
    (away / f"helper{number}.py").write_text(f"import deep{number}\nSCALE = 1\n")
    (away / f"deep{number}.py").write_text("DEEP = 1\n")
    (away / "unused.py").write_text("X = 1\n")

    def digest() -> str:
        for known in (f"helper{number}", f"deep{number}"):
            sys.modules.pop(known, None)
        return source_of([load(f"own{number}")]).sha256

    assert digest() == digest()
    assert changes(digest, away / f"helper{number}.py", f"import deep{number}\nSCALE = 2\n")
    assert changes(digest, away / f"deep{number}.py", "DEEP = 2\n")
    assert not changes(digest, away / "unused.py", "X = 2\n")
    # What lies beside goes before, as it always did.
    (mine / f"helper{number}.py").write_text("SCALE = 1\n")
    source = source_of([load(f"own{number}")])
    assert source.files == (f"helper{number}.py", f"own{number}.py")
    assert not changes(digest, away / f"helper{number}.py", "SCALE = 3\n")


def test_what_is_installed_and_only_imported_does_not_count(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = next(NUMBERS)
    installed = place / "site-packages"
    installed.mkdir()
    monkeypatch.syspath_prepend(str(installed))
    (installed / f"library{number}.py").write_text("X = 1\n")
    (place / f"user{number}.py").write_text(
        f"import library{number}\nfrom pnnbench.methods.bp import BP\nclass Mine(BP):\n    pass\n"
    )
    source = source_of([load(f"user{number}")])
    assert source.files == (f"user{number}.py",)
