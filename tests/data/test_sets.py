from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import pnnbench.data
from pnnbench.data import Arrays, DataSet, fetch, load, names, reference_of, resolve_data
from pnnbench.data.digits import Digits
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
    from pnnbench.data.datamodule import DataModule

    assert pnnbench.data.DataModule is DataModule
    assert isinstance(load("digits"), pnnbench.data.Arrays)
    with pytest.raises(AttributeError, match="nothing"):
        _ = pnnbench.data.nothing


@pytest.mark.parametrize("function", [load, fetch])
def test_unknown_name_gets_a_suggestion(function):
    with pytest.raises(UserError, match=r"unknown data set 'mnits'; did you mean 'mnist'\?"):
        function("mnits")


@pytest.mark.parametrize("given", [3, None, dict, object()])
def test_what_is_no_data_set_is_told(given):
    with pytest.raises(UserError, match="data set"):
        resolve_data(given)


def test_a_class_is_one_object_and_known_by_name():
    assert resolve_data("Digits") is resolve_data("digits") is resolve_data(Digits)
    assert reference_of(resolve_data("digits")) == "digits"
    assert resolve_data("pnnbench.data.digits.Digits") is resolve_data("digits")
    with pytest.raises(UserError, match=r"'digits' takes no argument, and has 'here'"):
        resolve_data("digits:here")


def test_a_set_that_states_its_shape_is_not_read_for_it():
    class Stated(DataSet):
        input_shape = (3,)
        n_classes = 4

        def load(self, root=None, download=False):
            raise AssertionError("read")

    assert (Stated().name, Stated().input_shape, Stated().n_classes) == ("Stated", (3,), 4)


def test_a_set_is_read_once_for_each_folder_and_gives_its_shape():
    read = []

    class Counted(DataSet):
        def load(self, root=None, download=False):
            read.append(root)
            x = np.arange(12.0).reshape(6, 2)
            return Arrays(self.name, x, np.array([0, 1, 1, 1, 2, 0]), x[:4], [1, 1, 0, 2], 3)

    data = Counted()
    assert data.arrays("a") is data.arrays("a") is data.arrays()
    assert (data.input_shape, data.n_classes, read) == ((2,), 3, ["a"])
    assert data.constant_score() == 0.5  # the most frequent class of the training, 1


def test_what_load_raises_or_gives_wrongly_is_told():
    class Broken(DataSet):
        def load(self, root=None, download=False):
            return {}["key"]

    class Wrong(DataSet):
        def load(self, root=None, download=False):
            return [1, 2]

    with pytest.raises(UserError, match=r"data 'Broken' cannot be read: KeyError"):
        load(Broken)
    with pytest.raises(UserError, match=r"gives a list\n  allowed: pnnbench.data.Arrays"):
        load(Wrong)


def test_the_constant_score_of_real_targets_is_the_mean_square_around_the_training_mean():
    class Real(DataSet):
        def load(self, root=None, download=False):
            x = np.zeros((4, 1))
            y = np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0], [2.0, 3.0]])
            return Arrays(self.name, x, y, x, y + 1.0, None)

    # Means 1 and 2; the test targets are off by 0 or 2 from them.
    assert Real().constant_score() == 2.0


def test_sets_are_mixed_unless_they_say_that_they_are():
    class Sorted(DataSet):
        def load(self, root=None, download=False):
            x = np.arange(40.0)[:, None]
            return Arrays(self.name, x, np.arange(40) // 20, x, np.arange(40) // 20, 2)

    class Kept(Sorted):
        mixed = True

    assert set(Sorted().arrays().train_targets[:12].tolist()) == {0, 1}
    assert set(Kept().arrays().train_targets[:12].tolist()) == {0}


def test_digits_need_no_fetching():
    assert set(names()) == {
        "cifar10",
        "digits",
        "fashion-mnist",
        "image-folder",
        "kmnist",
        "latents",
        "mnist",
    }
    assert fetch("digits") is None


def test_download_switch_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("PNNBENCH_DOWNLOAD", "yes")
    with pytest.raises(UserError, match=r"PNNBENCH_DOWNLOAD is 'yes'"):
        load("mnist", root=tmp_path)
