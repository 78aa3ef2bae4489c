import copy

import pytest
import yaml

from pnnbench.errors import UserError
from pnnbench.registry import SUITES
from pnnbench.running.suites import load_suite, suite_path

GOOD = {
    "suite": "tiny",
    "protocol": "pnnbench-2",
    "tier": "smoke",
    "workloads": ["mrr-digits"],
    "seeds": [0, 1],
    "methods": ["bp", {"method": "sat", "label": "SAT", "params": {"rho": 1}}],
}


def write(tmp_path, suite):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(suite) if isinstance(suite, dict) else suite)
    return path


def broken(path, change):
    suite = copy.deepcopy(GOOD)
    change(suite)
    return write(path, suite)


def test_expands_seeds_outermost_with_all_parameters(tmp_path):
    jobs = load_suite(write(tmp_path, GOOD)).jobs
    assert [(j.seed, j.method.label) for j in jobs] == [
        (0, "bp"),
        (0, "SAT"),
        (1, "bp"),
        (1, "SAT"),
    ]
    assert jobs[1].method.params["rho"] == 1
    assert jobs[1].method.params["adaptive"] is False


def test_hash_changes_with_whatever_decides_the_result(tmp_path):
    base = load_suite(write(tmp_path, GOOD)).jobs[1].spec()["hash"]
    assert load_suite(write(tmp_path, GOOD)).jobs[1].spec()["hash"] == base

    def rho(s):
        s["methods"][1]["params"]["rho"] = 2

    def epochs(s):
        s["methods"][1]["epochs_factor"] = 2

    def tier(s):
        s["tier"] = "quick"

    hashes = {load_suite(broken(tmp_path, c)).jobs[1].spec()["hash"] for c in (rho, epochs, tier)}
    assert len(hashes | {base}) == 4


def test_hash_changes_with_the_physics(tmp_path, monkeypatch):
    from pnnbench.platforms import mrr

    base = load_suite(write(tmp_path, GOOD)).jobs[0].spec()["hash"]
    monkeypatch.setattr(
        mrr.RingCalibration.__init__,
        "__defaults__",
        tuple(0.07 if d == 0.0636 else d for d in mrr.RingCalibration.__init__.__defaults__),
    )
    assert load_suite(write(tmp_path, GOOD)).jobs[0].spec()["hash"] != base


def change(key, value):
    return lambda s: s.__setitem__(key, value)


def method(value):
    return lambda s: s["methods"].__setitem__(1, value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change("teir", "smoke"), ["unknown key 'teir'", "did you mean 'tier'"]),
        (lambda s: s.pop("seeds"), ["the key 'seeds' is missing"]),
        (change("protocol", "pnnbench-1"), ["pnnbench-1", "did you mean 'pnnbench-2'"]),
        (change("tier", "smok"), ["smok", "did you mean 'smoke'"]),
        (change("workloads", ["mrr-digit"]), ["mrr-digit", "did you mean 'mrr-digits'"]),
        (change("seeds", "0, 1"), ["seeds is '0, 1', a text", "list of integers"]),
        (change("seeds", [0, 0]), ["different integers"]),
        (change("seeds", [0.5]), ["seeds[0] is 0.5"]),
        (change("suite", "../up"), ["../up", "letters"]),
        (change("timeout_s", -1), ["timeout_s is -1"]),
        (change("methods", {"bp": 1}), ["methods is", "list"]),
        (change("methods", []), ["at least one"]),
        (method("satt"), ["methods[1]", "unknown method 'satt'", "did you mean 'sat'"]),
        (method({"method": "sat", "parms": {}}), ["unknown key 'parms'", "did you mean 'params'"]),
        (method({"method": "sat", "params": {"roh": 1}}), ["'roh'", "did you mean 'rho'"]),
        (method({"method": "sat", "params": {"rho": -1.0}}), ["rho is -1.0", "[0, 1e+06]"]),
        (method({"method": "sat", "params": {"rho": "big"}}), ["rho is 'big', a text", "a number"]),
        (method({"method": "sat", "params": {"adaptive": 1}}), ["adaptive is 1", "a truth value"]),
        (method({"method": "sat", "epochs_factor": 0}), ["epochs_factor is 0"]),
        (method({"label": "x"}), ["'method' is missing"]),
        (method({"method": "bp", "label": "bp"}), ["two rows have the label 'bp'"]),
        (method({"method": "bp", "label": "a\nb"}), ["label is 'a\\nb'", "on one line"]),
        (method({"method": "sat", "label": "\u202eTAS"}), ["signs that can be seen"]),
        (method({"method": "sat", "label": " "}), ["label is ' '"]),
        (method("pnnbench.methods.sat.SATT"), ["SATT", "did you mean 'SAT'"]),
        (method("no.such.module.Method"), ["cannot import 'no.such.module'"]),
        (method("pnnbench.workloads.mrr.MRRDigits"), ["is not a training method"]),
    ],
)
def test_a_bad_file_gives_one_readable_error(tmp_path, edit, words):
    with pytest.raises(UserError) as caught:
        load_suite(broken(tmp_path, edit))
    for word in words:
        assert word in str(caught.value)


def test_not_yaml_names_the_line(tmp_path):
    with pytest.raises(UserError, match="line 3"):
        load_suite(write(tmp_path, "suite: a\nmethods: [bp\nseeds: ]"))


def test_missing_data_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PNNBENCH_DATA", str(tmp_path / "nowhere"))
    monkeypatch.delenv("PNNBENCH_DOWNLOAD", raising=False)
    with pytest.raises(UserError) as caught:
        load_suite(broken(tmp_path, change("workloads", ["mrr-mnist"])))
    assert "nowhere" in str(caught.value)
    assert "pnnbench data mnist --download" in str(caught.value)


def test_shipped_suites_load(mnist_root, monkeypatch):
    monkeypatch.setenv("PNNBENCH_DATA", str(mnist_root))
    suites = sorted(SUITES.glob("*.yaml"))
    assert {"quickstart", "mrr_mnist"} <= {p.stem for p in suites}
    for path in suites:
        assert load_suite(path).jobs


def test_unknown_suite_suggests_one_that_ships():
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        suite_path("quikstart")


def test_one_digital_step_for_all_rows_on_meshes():
    """But for published settings, and SGD, whose rate is no step of Adam."""
    rows = yaml.safe_load((SUITES / "mzi_mnist.yaml").read_text())["methods"]
    steps = {
        row["label"]: row["params"]["lr_digital"]
        for row in rows
        if "published" not in row["label"] and row["params"].get("optimizer") != "sgd"
    }
    assert len(steps) >= 8
    assert set(steps.values()) == {0.03}
