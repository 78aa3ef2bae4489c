from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pnnbench import registry
from pnnbench.data import resolve_data
from pnnbench.errors import UserError
from pnnbench.methods.base import TrainingMethod
from pnnbench.methods.bp import BP
from pnnbench.methods.environment import SATEnvironment
from pnnbench.methods.sat import SAT
from pnnbench.platforms.mrr import MRRWeightBank
from pnnbench.workloads.amounts import Amount
from pnnbench.workloads.base import Workload
from pnnbench.workloads.mrr import MRRDigits


def install(folder: Path, name: str, group: str, entry: str) -> None:
    """Makes a distribution with one entry point, as an installed package has it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("methods", {"bp", "bp-weights", "nat", "pruning", "sat"}),
        ("methods", {"dat", "dat-internal", "nat-in-situ", "pat", "sat-in-situ"}),
        ("platforms", {"mrr", "mzi"}),
        (
            "workloads",
            {
                "mrr-digits",
                "mrr-mnist",
                "mzi-digits",
                "mzi-mnist",
                "mzi-mnist-large-batch",
                "mzi3-mnist",
            },
        ),
        ("data", {"digits", "mnist", "fashion-mnist", "kmnist", "image-folder"}),
    ],
)
def test_built_ins_come_through_entry_points(kind: str, names: set[str]) -> None:
    found = registry.registered(kind)
    assert names <= set(found)
    assert list(found) == sorted(found)


def test_every_registered_class_loads_and_knows_its_name() -> None:
    for name in registry.registered("methods"):
        assert issubclass(registry.method_class(name), TrainingMethod)
    for name in registry.registered("workloads"):
        assert registry.workload_class(name).name == name
    for name in registry.registered("data"):
        assert resolve_data(name).name == name
    assert registry.resolve("platforms", "mrr") is MRRWeightBank


@pytest.mark.parametrize("name", ["sat", "pnnbench.methods.sat.SAT", "pnnbench.methods.sat:SAT"])
def test_a_class_is_found_by_name_and_by_path(name: str) -> None:
    assert registry.method_class(name) is SAT


def test_a_class_of_the_working_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry_test_mine.py").write_text(
        "from pnnbench.methods.bp import BP\nclass Mine(BP): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.method_class("registry_test_mine.Mine").__name__ == "Mine"
    del sys.modules["registry_test_mine"]


def test_other_packages_register_at_the_same_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "otherlab", "pnnbench.methods", "otherlab = pnnbench.methods.bp:BP")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.method_class("otherlab") is BP


def test_two_packages_with_one_name_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "otherlab", "pnnbench.methods", "sat = otherlab.sat:SAT")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="two packages register the method 'sat'") as error:
        registry.registered("methods")
    assert "otherlab.sat:SAT" in str(error.value)
    assert "pnnbench.methods.sat:SAT" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("st", "did you mean 'sat'"),
        ("xyzzy", "allowed: " + ", ".join(registry.registered("methods"))),
        ("pnnbench.methods.sat.SAAT", "did you mean 'SAT'"),
        ("pnnbench.methods.sta.SAT", "cannot import 'pnnbench.methods.sta'"),
        ("pnnbench.methods.sat.check_range", "unknown class 'check_range'"),
        ("pnnbench.workloads.mrr.MRRDigits", "is not a training method"),
    ],
)
def test_unknown_methods_read(name: str, text: str) -> None:
    with pytest.raises(UserError) as error:
        registry.method_class(name, where="suite.yaml: methods[2]")
    assert text in str(error.value)


def test_the_place_of_a_mistake_is_named() -> None:
    with pytest.raises(UserError, match=r"^suite.yaml: methods\[2\]: unknown method 'st'"):
        registry.method_class("st", where="suite.yaml: methods[2]")
    with pytest.raises(UserError, match=r"^suite.yaml: methods\[2\]: cannot import"):
        registry.method_class("no_such_module.X", where="suite.yaml: methods[2]")
    with pytest.raises(UserError, match=r"^here: rho is -1"):
        registry.method_parameters(SAT, {"rho": -1.0}, where="here")


def test_a_method_is_not_a_workload() -> None:
    with pytest.raises(UserError, match="is not a workload"):
        registry.workload_class("pnnbench.methods.sat.SAT")
    assert registry.workload_class("mrr-digits") is MRRDigits
    assert issubclass(registry.workload_class("pnnbench.workloads.base.Workload"), Workload)


def test_parameters_are_resolved_to_the_full_set() -> None:
    full = registry.method_parameters(SAT, {"rho": 0.125, "lr": 0.25})
    names = ["rho", "adaptive", "perturb", "lr", "lr_digital", "optimizer", "origin"]
    assert list(full) == names
    assert (full["rho"], full["lr"]) == (0.125, 0.25)
    default = SAT()
    assert {k: v for k, v in full.items() if k not in ("rho", "lr")} == {
        "adaptive": default.adaptive,
        "perturb": default.perturb,
        "lr_digital": default.lr_digital,
        "optimizer": default.optimizer,
        "origin": default.origin,
    }
    assert registry.method_parameters(BP, {"lr": 1})["lr"] == 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"roh": 0.5}, "did you mean 'rho'"),
        ({"rho": "0.5"}, "rho is '0.5', a text"),
        ({"rho": "0.5"}, "or a text with a unit such as '0.3 rad'"),
        ({"rho": "1e-3"}, "write it with a point, 0.001: YAML reads 1e-3 as text"),
        ({"rho": "big"}, "rho is 'big', a text"),
        ({"rho": "-1 mA"}, "rho is '-1.0 mA', out of range"),
        ({"lr": "0 mA"}, "lr is '0.0 mA', out of range"),
        ({"lr_digital": "1e-3 mA"}, "lr_digital is '1e-3 mA', a text"),
        ({"rho": True}, "rho is True, a truth value"),
        ({"adaptive": 1}, "adaptive is 1, an integer"),
        ({"adaptive": "yes"}, "allowed: a truth value (true, false)"),
        ({"perturb": "al"}, "controls, all"),
        ({"optimizer": "adamw"}, "adam, sgd"),
        ({"lr": 0.0}, "lr is 0.0, out of range"),
        ({"lr": float("nan")}, "lr is nan, out of range"),
        ({"lr_digital": -1.0}, "lr_digital"),
    ],
)
def test_wrong_parameters_read(given: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        registry.method_parameters(SAT, given, where="suite.yaml: methods[0]")
    assert text in str(error.value)
    assert str(error.value).startswith("suite.yaml: methods[0]: ")


def test_a_number_for_each_parameter_is_one_setting_however_it_is_spelt() -> None:
    one = registry.method_parameters(SATEnvironment, {"step": {"rotation_deg": 12, "scale": 0.1}})
    assert one["step"] == {"rotation_deg": 12.0, "scale": 0.1}
    assert type(one["step"]["rotation_deg"]) is float
    assert registry.method_parameters(SATEnvironment, {"step": 2})["step"] == 2.0
    with pytest.raises(UserError, match="a number for each parameter"):
        registry.method_parameters(SATEnvironment, {"step": {"scale": "far"}})
    with pytest.raises(UserError, match="a number, or one for each parameter"):
        registry.method_parameters(SATEnvironment, {"step": "far"})
    with pytest.raises(UserError, match="rho is"):
        registry.method_parameters(SATEnvironment, {"rho": {"scale": 0.1}})


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(UserError, match="TrainingMethod needs a value for lr"):
        registry.method_parameters(TrainingMethod, {})


@pytest.mark.parametrize("name", ["bp_weights", "BP-Weights", "BP_weights"])
def test_a_name_has_any_spelling(name: str) -> None:
    assert registry.registered_name("methods", name) == "bp-weights"
    assert registry.method_class(name) is registry.method_class("bp-weights")


def test_what_is_not_registered_stays_as_it_is() -> None:
    for name in ("pnnbench.methods.sat.SAT", "My_Module.Class", "nonsense"):
        assert registry.registered_name("methods", name) == name


def test_two_names_that_differ_in_spelling_are_both_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "otherlab", "pnnbench.methods", "BP_Weights = pnnbench.methods.bp:BP")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.method_class("BP_Weights") is BP
    assert registry.method_class("bp-weights") is not BP
    with pytest.raises(UserError, match="unknown method 'bp_weights'"):
        registry.method_class("bp_weights")


BROKEN = {
    "syntax": ("x = 1\nclass A(:\n", "SyntaxError", "line 2: class A(:"),
    "name": ("y = undefined\n", "NameError", "line 1, in <module>: y = undefined"),
    "inside": ("\nimport not_there_at_all\n", "ModuleNotFoundError", "line 2, in <module>: import"),
    "from": ("from json import nonsense\n", "ImportError", "line 1, in <module>: from json"),
}


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_mistake_in_the_users_own_file_is_shown_with_its_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, error_type, place = BROKEN[kind]
    (tmp_path / f"registry_broken_{kind}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as error:
        registry.method_class(f"registry_broken_{kind}.A", where="suite.yaml: methods[0]")
    said = str(error.value)
    assert said.startswith(f"suite.yaml: methods[0]: cannot import 'registry_broken_{kind}'")
    assert error_type in said
    assert place in said


def test_a_broken_package_that_registers_a_name_reads_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry_broken_plugin.py").write_text("1 / 0\n")
    install(tmp_path, "otherlab", "pnnbench.methods", "broken = registry_broken_plugin:X")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="cannot import 'registry_broken_plugin': ZeroDivision"):
        registry.method_class("broken")


def test_a_constructor_that_breaks_is_shown_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry_bad_init.py").write_text(
        "from pnnbench.methods.bp import BP\nclass A(BP):\n"
        "    def __init__(self):\n        self.x = 1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cls = registry.method_class("registry_bad_init.A")
    with pytest.raises(UserError, match="A cannot be built: ZeroDivisionError") as error:
        registry.method_parameters(cls, {})
    assert "registry_bad_init.py, line 4, in __init__: self.x = 1 / 0" in str(error.value)


@pytest.mark.parametrize("name", ["my_method.py", "./my_method.py", "folder/my_method"])
def test_a_file_is_not_a_class(name: str) -> None:
    with pytest.raises(UserError, match=r"my_method\.NAME_OF_THE_CLASS"):
        registry.method_class(name)


def test_a_module_here_and_a_folder_of_images_are_told_how_to_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    with pytest.raises(UserError, match=r"mine\.NAME_OF_THE_CLASS"):
        registry.method_class("mine")
    (tmp_path / "numbers").mkdir()
    with pytest.raises(UserError, match="image-folder:numbers"):
        registry.resolve("data", "numbers")


@pytest.mark.parametrize("name", [".BP", "..BP", ":BP", "."])
def test_a_path_without_a_module_is_an_unknown_name(name):
    with pytest.raises(UserError, match="unknown method"):
        registry.resolve("methods", name)


@pytest.mark.parametrize("text", ["3 mA", "3.0 mA", " 3mA ", "3e0  mA"])
def test_an_amount_may_be_a_text_with_a_unit_and_has_one_spelling(text: str) -> None:
    full = registry.method_parameters(SAT, {"rho": text, "lr": 1})
    assert (full["rho"], full["lr"]) == ("3.0 mA", 1.0)
    assert SAT(**full).rho == "3.0 mA"


class InMilliamperes(BP):
    """Its default has a unit."""

    def __init__(self, lr: Amount = "0.05 mA") -> None:
        super().__init__(lr)


def test_a_default_may_have_a_unit() -> None:
    assert registry.method_parameters(InMilliamperes, {})["lr"] == "0.05 mA"
    assert registry.method_parameters(InMilliamperes, {"lr": 2})["lr"] == 2.0
    with pytest.raises(UserError, match="lr is 'fast', a text"):
        registry.method_parameters(InMilliamperes, {"lr": "fast"})


def test_an_integer_is_the_same_setting_as_its_float():
    cls = registry.method_class("bp")
    one, other = (registry.method_parameters(cls, {"lr": lr}) for lr in (1, 1.0))
    assert repr(one) == repr(other)
