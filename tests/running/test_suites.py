import copy
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from pnnbench.data import resolve_data
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
        (change("suite", "train"), ["'train'", "any name but", "leaderboard, records"]),
        (change("suite", "Wandb"), ["'Wandb', which a folder of runs has another use for"]),
        (change("suite", "tuning"), ["'tuning'"]),
        (change("suite", "checkpoints"), ["'checkpoints'"]),
        (change("suite", "my.Partial"), ["'my.Partial'", "those that end in .partial"]),
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
        (method({"method": "nat", "label": "SAT"}), ["methods[1].label", "the name of", "own"]),
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
    suites = [path for path in SUITES.glob("*.yaml") if not path.stem.startswith("cifar10")]
    assert {"quickstart", "mrr_mnist"} <= {p.stem for p in suites}
    for path in suites:
        assert load_suite(path).jobs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10_classify", "cifar10_reconstruct", "cifar10_generate"])
def test_suites_on_cifar10_load(name, cifar10_root, monkeypatch):
    monkeypatch.setenv("PNNBENCH_DATA", str(cifar10_root))
    assert load_suite(SUITES / f"{name}.yaml").jobs
    (trial, *_) = load_suite(SUITES / f"{name}.yaml", searching=True).jobs
    assert trial.tier == "search"


def test_unknown_suite_suggests_one_that_ships():
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        suite_path("quikstart")


@pytest.mark.parametrize("given", ["tilted", "tilted/suit.yaml"])
def test_an_unknown_suite_in_a_folder_with_suites_is_answered_with_these(
    given, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tilted").mkdir()
    (tmp_path / "tilted" / "suite.yaml").touch()
    with pytest.raises(UserError, match=r"did you mean 'tilted/suite\.yaml'") as caught:
        suite_path(given)
    assert caught.value.allowed == "tilted/suite.yaml"


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


OWN = """
import numpy as np
from pnnbench.data import Arrays, DataSet

class Small(DataSet):
    "Four classes of small pictures."
    input_shape, n_classes = (1, 8, 8), 4

    def load(self, root=None, download=False):
        rng = np.random.default_rng({seed})
        x = rng.integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
        y = np.arange(300) % 4
        return Arrays(self.name, x[:200], y[:200], x[200:], y[200:], 4)
"""


def own(tmp_path, monkeypatch, name, seed=0, extra=""):
    """Writes a module with a data set and makes it importable."""
    (tmp_path / f"{name}.py").write_text(OWN.format(seed=seed) + extra)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}.Small"


def on(tmp_path, data=None, workloads=("mrr-digits",)):
    suite = {**GOOD, "workloads": list(workloads)}
    return load_suite(write(tmp_path, suite if data is None else {**suite, "data": data})).jobs


def test_a_data_set_is_named_for_all_workloads_or_for_one(tmp_path, monkeypatch):
    small = own(tmp_path, monkeypatch, "suites_one")
    whole = on(tmp_path, small, ["mrr-digits", {"workload": "mzi-digits", "data": "digits"}])
    assert [job.board[2] for job in whole[:3:2]] == ["mrr-digits on Small", "mzi-digits"]
    for job in whole[:2]:
        told = job.spec()["data"]
        assert told == {"name": "Small", "set": small}
        assert job.fingerprint == resolve_data(small).arrays().fingerprint
        assert job.config["layers"]["fc2"] != on(tmp_path)[0].config["layers"]["fc2"]
    both = on(tmp_path, None, ["mrr-digits", {"workload": "mrr-digits", "data": small}])
    assert len({job.board for job in both}) == 2
    assert len({job.spec()["hash"] for job in both}) == len(both) == 8


def test_its_own_data_set_by_name_is_no_other(tmp_path):
    plain, named = on(tmp_path), on(tmp_path, "Digits")
    assert [job.spec() for job in named] == [job.spec() for job in plain]
    assert "data" not in plain[0].spec()


def test_the_hash_follows_contents_and_code_of_an_own_set_and_not_its_name(tmp_path, monkeypatch):
    def found(name, **changes):
        job = on(tmp_path, own(tmp_path, monkeypatch, name, **changes))[0]
        return job.spec()["hash"], job.fingerprint, job.sources["data"].sha256

    first, other = found("suites_a"), found("suites_b", seed=1)
    assert len({first[0], other[0], on(tmp_path)[0].spec()["hash"]}) == 3
    assert first[1] != other[1]
    commented = found("suites_c", extra="# another file, the same contents")
    assert commented[1] == first[1]
    assert commented[2] != first[2]
    assert commented[0] != first[0]


def test_an_image_folder_is_known_by_its_contents_and_not_by_its_path(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b"):
            for i in range(40):
                path = tmp_path / "one" / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (on(tmp_path, f"image-folder:{tmp_path / name}")[0] for name in ("one", "two"))
    assert one.spec()["hash"] == two.spec()["hash"]
    assert one.spec()["data"]["set"] != two.spec()["data"]["set"]
    assert "data" not in one.sources  # the code is this package's


@pytest.mark.parametrize(
    ("data", "workloads", "words"),
    [
        ("digts", ["mrr-digits"], "data: unknown data set 'digts'; did you mean 'digits'"),
        (3, ["mrr-digits"], "data is 3, an integer"),
        (None, [{"data": "digits"}], "workloads[0]: the key 'workload' is missing"),
        (None, [{"workload": "mrr-digits", "dat": "x"}], "workloads[0]: unknown key 'dat'"),
        (None, [{"workload": "mrr-digits", "data": 3}], "workloads[0].data is 3"),
        (None, [3], "workloads[0] is 3"),
        ("digits", ["mrr-digits", "MRR_Digits"], "a workload is named twice"),
        ("digits", ["mrr-mnist"], "LeNet5 takes inputs of 1 x 28 x 28, and those of data 'digits'"),
    ],
)
def test_a_wrong_data_set_is_one_readable_error(tmp_path, data, workloads, words):
    with pytest.raises(UserError) as caught:
        on(tmp_path, data, workloads)
    assert words in str(caught.value)


def test_a_workload_that_takes_no_other_set_says_so(tmp_path, monkeypatch):
    (tmp_path / "suites_fixed.py").write_text(
        "from pnnbench.workloads.mrr import MRRDigits\n"
        "class Fixed(MRRDigits):\n"
        "    def __init__(self, init_seed=0):\n"
        "        super().__init__(init_seed)\n"
    )
    small = own(tmp_path, monkeypatch, "suites_small")
    with pytest.raises(UserError, match=r"suites_fixed.Fixed takes no other data set than its own"):
        on(tmp_path, small, ["suites_fixed.Fixed"])
    assert on(tmp_path, None, ["suites_fixed.Fixed"])[0].data is None
