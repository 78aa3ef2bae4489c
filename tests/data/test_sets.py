from __future__ import annotations

import subprocess
import sys

import pytest

import pnnbench.data
from pnnbench.data import NAMES, fetch, load
from pnnbench.errors import UserError


def test_import_loads_nothing_heavy():
    code = (
        "import sys, pnnbench.data; "
        "heavy = {'torch', 'torchvision', 'sklearn', 'lightning', 'numpy'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_classes_are_reachable():
    from pnnbench.data.datamodule import ImageDataModule

    assert pnnbench.data.ImageDataModule is ImageDataModule
    assert isinstance(load("digits"), pnnbench.data.ImageArrays)
    with pytest.raises(AttributeError, match="nothing"):
        _ = pnnbench.data.nothing


@pytest.mark.parametrize("function", [load, fetch])
def test_unknown_name_gets_a_suggestion(function):
    with pytest.raises(UserError, match=r"unknown data set 'mnits'; did you mean 'mnist'\?"):
        function("mnits")


def test_digits_need_no_fetching():
    assert set(NAMES) == {"digits", "mnist"}
    assert fetch("digits") is None


def test_download_switch_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("PNNBENCH_DOWNLOAD", "yes")
    with pytest.raises(UserError, match=r"PNNBENCH_DOWNLOAD is 'yes'"):
        load("mnist", root=tmp_path)
