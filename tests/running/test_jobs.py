import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pnnbench.data import DataModule, load
from pnnbench.errors import UserError
from pnnbench.evaluation import quick
from pnnbench.leaderboard.ranking import build
from pnnbench.methods.bp import BP
from pnnbench.platforms import conv_op
from pnnbench.platforms.mrr import MRREnvironment
from pnnbench.records.folders import read_records
from pnnbench.records.index import read_index
from pnnbench.records.store import read_record
from pnnbench.running.finished import index_of
from pnnbench.running.jobs import job_folder, run_suite
from pnnbench.running.measuring import measure
from pnnbench.running.rebuilding import load_trained
from pnnbench.running.selection import select
from pnnbench.running.suites import load_suite
from pnnbench.submitting.remeasuring import remeasure
from pnnbench.workloads.freespace import FreeSpaceDigits
from pnnbench.workloads.grid import shot_cell
from pnnbench.workloads.mrr import MRRDigits

SUITE = {
    "suite": "tiny",
    "protocol": "pnnbench-2",
    "tier": "smoke",
    "workloads": ["mrr-digits"],
    "seeds": [0],
    "methods": ["bp"],
}


def suite(tmp_path, **changes):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**SUITE, **changes}))
    return load_suite(path)


def nothing(line):
    pass


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    loaded = suite(folder, methods=["bp", "bp-weights"])
    records = run_suite(loaded, folder / "runs", say=nothing)
    return loaded, folder / "runs", records


def test_record_is_complete(done):
    loaded, runs, records = done
    assert [r["status"] for r in records] == ["ok", "ok"]
    record = records[0]
    job = loaded.jobs[0]
    cells = MRRDigits(0).perturbation_grid("smoke")
    places = [{**c.as_dict(), "counts": c.counts} for c in (*cells, shot_cell(MRREnvironment()))]
    assert [{key: c[key] for key in places[0]} for c in record["cells"]] == places
    # 256 images in batches of 32, one epoch, one gradient each: sharpness is not counted.
    assert record["cost"]["gradient_evaluations"] == 8
    assert record["cost"]["forward_evaluations"] == 0
    assert record["extra"]["control_power_mw"] > 0
    assert record["config"]["layers"]["conv1"]["calibration"]["hwhm_nm"] == 0.0636
    assert read_record(job_folder(runs, job) / "record.json") == record


def test_a_record_says_what_the_method_knows_and_found(tmp_path):
    """The class decides the first, the method's own counts the second."""
    loaded = suite(
        tmp_path,
        workloads=["freespace-digits"],
        methods=["bp", "pat", {"method": "sat-environment", "params": {"rho": 0.0}}],
    )
    bp, pat, sat = run_suite(loaded, tmp_path / "runs", say=nothing)
    assert bp["provenance"]["method"] == {"access": "in_silico", "knows": []}
    assert pat["provenance"]["method"] == {"access": "in_situ", "knows": ["one device"]}
    assert sat["provenance"]["method"] == {"access": "in_silico", "knows": ["tested law"]}
    assert 0.0 <= sat["extra"]["method"]["share_of_positive_slopes"] <= 1.0
    assert "method" not in bp.get("extra", {})


class Boasts(BP):
    """Says of its training what is no number."""

    def figures(self) -> dict[str, float]:
        return {"share": float("nan")}


def test_a_figure_of_a_method_that_is_no_number_is_a_gap(tmp_path):
    loaded = suite(tmp_path, methods=[f"{__name__}.Boasts"])
    (record,) = run_suite(loaded, tmp_path / "runs", say=nothing)
    assert record["status"] == "ok"
    assert [gap["part"] for gap in record["gaps"] if gap["type"] == "not-finite"] == [
        "extra.method"
    ]


def test_finished_jobs_are_skipped(done):
    loaded, runs, records = done
    said = []
    again = run_suite(loaded, runs, say=said.append)
    assert again == records
    assert said == ["2 of 2 jobs are finished already"]


def test_parameters_rebuild_what_was_measured(done):
    loaded, runs, records = done
    for job, record in zip(loaded.jobs, records, strict=True):
        from pnnbench.running.jobs import data_module

        result = remeasure(
            record, load_trained(job_folder(runs, job), record), data_module(job), nothing
        )
        assert result["difference"] == 0.0


THIRD_PARTY = """
from pnnbench.methods.bp import BP


class Exploding(BP):
    def loss(self, workload, batch):
        return super().loss(workload, batch) * float("nan")


class Faulty(BP):
    def loss(self, workload, batch):
        raise ZeroDivisionError("on purpose")
"""


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [("Exploding", "diverged", "loss of epoch 0 is nan"), ("Faulty", "error", "on purpose")],
)
def test_a_failure_is_a_typed_record_and_runs_again(tmp_path, monkeypatch, name, status, message):
    (tmp_path / "third_party_methods.py").write_text(THIRD_PARTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = suite(tmp_path, methods=[f"third_party_methods.{name}", "bp"])
    records = run_suite(loaded, tmp_path / "runs", say=nothing)
    assert [r["status"] for r in records] == [status, "ok"]
    assert message in records[0]["error"]["message"]
    assert "cells" not in records[0]
    said = []
    run_suite(loaded, tmp_path / "runs", say=said.append)
    assert [line for line in said if line.endswith(": start")] == [
        f"[1/2] mrr-digits  third_party_methods.{name}  seed 0: start"
    ]


DEEP_FAULT = """
from pnnbench.methods.bp import BP

class Deep(BP):
    def loss(self, workload, batch):
        return self.helper(super().loss(workload, batch))

    def helper(self, loss):
        return loss + self.misspelled
"""


def test_an_error_names_the_lines_of_the_users_own_file(tmp_path, monkeypatch):
    (tmp_path / "deep_fault_methods.py").write_text(DEEP_FAULT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    loaded = suite(tmp_path, methods=["deep_fault_methods.Deep"])
    (record,) = run_suite(loaded, tmp_path / "runs", say=nothing)
    first, *places = record["error"]["message"].splitlines()
    assert "misspelled" in first
    assert places == [
        "  deep_fault_methods.py, line 6, in loss: "
        "return self.helper(super().loss(workload, batch))",
        "  deep_fault_methods.py, line 9, in helper: return loss + self.misspelled",
    ]
    folder = job_folder(tmp_path / "runs", loaded.jobs[0])
    trace = (folder / "traceback.txt").read_text()
    assert trace.startswith("Traceback (most recent call last):")
    assert "lightning" in trace
    assert "misspelled" in trace.splitlines()[-1]


def test_a_traceback_does_not_outlive_its_failure(tmp_path):
    loaded = suite(tmp_path)
    folder = job_folder(tmp_path / "runs", loaded.jobs[0])
    folder.mkdir(parents=True)
    (folder / "traceback.txt").write_text("of the run before")
    (record,) = run_suite(loaded, tmp_path / "runs", say=nothing)
    assert record["status"] == "ok"
    assert not (folder / "traceback.txt").exists()


def test_the_share_of_a_job_grows_with_epochs_and_cells(tmp_path):
    loaded = suite(tmp_path, methods=[{"method": "bp", "epochs_factor": 4}])
    shares = []
    run_suite(loaded, tmp_path / "runs", say=nothing, share=shares.append)
    assert shares == sorted(shares)
    assert shares[:4] == pytest.approx([0.7 * e / 4 for e in (1, 2, 3, 4)])
    assert len(shares) > 4
    assert 0.7 < shares[-1] <= 1.0


def test_timeout_is_a_typed_record(tmp_path):
    records = run_suite(suite(tmp_path, timeout_s=1e-6), tmp_path / "runs", say=nothing)
    assert records[0]["status"] == "timeout"


def test_a_record_says_why_its_grid_was_computed_the_plain_way(tmp_path, monkeypatch):
    """As on a machine without a compiler, and where rounding adds up to more than is allowed."""
    monkeypatch.setattr(quick, "WORTHWHILE", 1)
    monkeypatch.setenv("PNNBENCH_COMPILE", "0")
    conv_op._library.cache_clear()
    try:
        (record,) = run_suite(suite(tmp_path), tmp_path / "runs", say=nothing)
    finally:
        conv_op._library.cache_clear()
    assert record["status"] == "ok", record["error"]
    told = record["provenance"]["arithmetic"]["evaluation"]["plain_because"]
    assert told == ["PNNBENCH_COMPILE=0 switches it off"]


def test_the_time_of_all_parts_counts_for_a_timeout(tmp_path, monkeypatch):
    """Otherwise a row that is too slow is finished by typing the command again."""
    seconds = iter(range(10_000))
    monkeypatch.setattr(
        "pnnbench.running.training.clock", lambda: (float(next(seconds)), 0.0), raising=True
    )
    loaded = suite(tmp_path, methods=[{"method": "bp", "epochs_factor": 4}], timeout_s=2.5)
    for _ in range(3):
        (record,) = run_suite(loaded, tmp_path / "runs", say=nothing)
        assert record["status"] == "timeout"


def test_what_a_method_does_at_the_end_is_done_once(tmp_path, monkeypatch):
    """A job that is stopped while it is measured goes on from behind the training's last hook."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "halving_method.py").write_text(
        "import torch\n"
        "from pnnbench.methods.bp import BP\n\n"
        "class Halving(BP):\n"
        "    def on_train_end(self, trainer, pl_module):\n"
        "        with torch.no_grad():\n"
        "            for control in pl_module.controls().values():\n"
        "                control.mul_(0.5)\n"
    )
    loaded = suite(tmp_path, methods=["halving_method.Halving"])
    (first,) = run_suite(loaded, tmp_path / "runs", say=nothing)
    folder = job_folder(tmp_path / "runs", loaded.jobs[0])
    before = load_file(folder / "parameters.safetensors")
    (folder / "record.json").unlink()
    (again,) = run_suite(loaded, tmp_path / "runs", say=nothing)
    assert again["cells"] == first["cells"]
    after = load_file(folder / "parameters.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def run_command(path, runs):
    """``pnnbench run`` of a suite in a process of its own."""
    quiet = ("--wandb", "disabled", "--pictures", "false")
    return [sys.executable, "-m", "pnnbench.cli", "run", str(path), "--runs", str(runs), *quiet]


def test_killed_mid_epoch_then_resumed_gives_the_same_bits(tmp_path):
    """SIGKILL in the middle of an epoch; the resumed job equals an uninterrupted one."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**SUITE, "methods": [{"method": "nat", "epochs_factor": 30}]}))
    loaded = load_suite(path)

    run_suite(loaded, tmp_path / "whole", say=lambda line: None)
    killed = subprocess.Popen(
        [*run_command(path, tmp_path / "killed"), "--threads", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    for line in killed.stderr:
        if "epoch 7/30" in line:
            time.sleep(0.02)  # into epoch 8
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait(timeout=600)
    folder = job_folder(tmp_path / "killed", loaded.jobs[0])
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert not (folder / "record.json").exists()
    said = []
    run_suite(loaded, tmp_path / "killed", say=said.append)
    assert not [line for line in said if "epoch 1/30" in line]
    assert [line for line in said if "epoch 30/30" in line]
    a = load_file(job_folder(tmp_path / "whole", loaded.jobs[0]) / "parameters.safetensors")
    b = load_file(folder / "parameters.safetensors")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    first = read_record(job_folder(tmp_path / "whole", loaded.jobs[0]) / "record.json")
    second = read_record(folder / "record.json")
    for key in ("clean", "cells", "curves", "extra", "parameters", "earlier"):
        assert first[key] == second[key]
    assert len(second["curves"]["validation_loss"]) == 30
    assert [entry["steps"] for entry in second["earlier"]] == [60, 120]
    before, after = second["provenance"]["parts"]
    assert before["epochs"][0] == 0
    assert before["epochs"][1] + 1 == after["epochs"][0]
    assert after["epochs"][1] == 29
    assert first["cost"]["gradient_evaluations"] == second["cost"]["gradient_evaluations"] == 8 * 30


def test_an_interrupt_leaves_a_typed_record_and_goes_on_later(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**SUITE, "methods": [{"method": "bp", "epochs_factor": 200}]}))
    process = subprocess.Popen(
        run_command(path, tmp_path / "runs"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stderr:
        if "epoch 3/200" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=600) == 130, rest
    assert "run the same command again" in rest
    record = read_record(job_folder(tmp_path / "runs", load_suite(path).jobs[0]) / "record.json")
    assert record["status"] == "killed"


def test_an_edited_method_of_ones_own_is_a_new_job(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "from pnnbench.methods.bp import BP\n\nclass Mine(BP):\n    pass\n"
    (tmp_path / "edited_method.py").write_text(source)
    before = suite(tmp_path, methods=["edited_method.Mine", "bp"])
    (tmp_path / "edited_method.py").write_text(source + "# changed\n")
    del sys.modules["edited_method"]  # as in another session
    after = suite(tmp_path, methods=["edited_method.Mine", "bp"])
    assert before.jobs[0].spec()["hash"] != after.jobs[0].spec()["hash"]
    assert before.jobs[1].spec()["hash"] == after.jobs[1].spec()["hash"]


def test_two_processes_share_a_run_folder(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**SUITE, "seeds": [0, 1]}))
    program = (
        "import sys; from pathlib import Path; from pnnbench.running.jobs import run_suite; "
        "from pnnbench.running.suites import load_suite; "
        "run_suite(load_suite(Path(sys.argv[1])), Path(sys.argv[2]), say=print)"
    )
    # One thread each: two thread pools on two cores spend their time waiting for one another.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, path, tmp_path / "runs"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    said = [p.communicate(timeout=600) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    starts = [line for out, _ in said for line in out.splitlines() if line.endswith(": start")]
    assert len(starts) == 2


def test_a_workload_without_device_errors_is_measured_on_the_ideal_device():
    class Assembled(FreeSpaceDigits):
        training_severity: ClassVar[float] = 0.0

        def perturbation_grid(self, tier):
            return [c for c in super().perturbation_grid(tier) if c.device_seed is None][:3]

    workload = Assembled(0)
    config = workload.describe("smoke")
    assert config["test_devices"] == []
    data = DataModule(load("digits"), batch_size=32, limit_train=64, limit_test=64)
    job: Any = SimpleNamespace(config=config, tier="smoke", seed=0, fingerprint="sha256:0")
    measured = measure(job, workload, data, say=lambda line: None)
    assert [cell["device_seed"] for cell in measured["cells"]] == [None] * 4
    assert [cell["axis"] for cell in measured["cells"]][3:] == ["shot"]
    assert "training_device" not in measured
    assert "device_increase" not in measured["sharpness"]


def test_no_job_trains_on_held_out_images(tmp_path, monkeypatch):
    """Nor calibrates or measures sharpness on them; the curve is theirs."""
    from pnnbench.running import jobs

    loaded = suite(tmp_path, methods=["bp"])
    job = loaded.jobs[0]
    kept = job.config["tier"]["validation_images"]
    data = jobs.data_module(job)
    held = data.validation_tensors()[0]
    assert len(held) == kept > 0
    whole = DataModule("digits").train_tensors()[0]
    assert torch.equal(held, whole[len(whole) - kept :])
    assert data.n_train == job.config["tier"]["train_images"] <= len(whole) - kept
    (record,) = run_suite(loaded, tmp_path / "runs", say=nothing)
    assert record["data"]["n_train"] == data.n_train
    curves = record["curves"]
    assert len(curves["validation_loss"]) == len(curves["train_loss"]) == 1
    assert 0.0 <= curves["validation_metric"][0] <= 1.0


def test_a_row_is_measured_at_a_quarter_and_half_of_its_steps(tmp_path):
    loaded = suite(tmp_path, methods=["bp-weights"], seeds=[0, 1])
    first, second = run_suite(loaded, tmp_path / "runs", say=nothing)
    assert [(e["share"], e["steps"]) for e in first["earlier"]] == [(0.25, 2), (0.5, 4)]
    assert "earlier" not in second  # one seed in three
    grid = {json.dumps(place(cell)): cell for cell in first["cells"]}
    for entry in first["earlier"]:
        assert 0.0 <= entry["clean"] <= 1.0
        for cell in entry["cells"]:
            whole = grid[json.dumps(place(cell))]
            assert whole["counts"]
            assert 0.0 <= cell["value"] <= 1.0
    assert any(
        a["value"] != b["value"]
        for a, b in zip(*(entry["cells"] for entry in first["earlier"]), strict=True)
    )


def place(cell):
    return {k: v for k, v in cell.items() if k not in ("value", "counts", "not_finite")}


def test_costs_say_time_by_phase_and_memory_and_the_run_its_parts(done):
    _, _, records = done
    for record in records:
        cost = record["cost"]
        for phase in ("train", "evaluate", "sharpness"):
            assert cost[f"{phase}_seconds"] > 0.0
            assert cost[f"{phase}_cpu_seconds"] > 0.0
        assert cost["peak_memory_bytes"] > 1e7
        made = record["provenance"]
        (part,) = made["parts"]
        assert part["epochs"] == [0, record["curves"]["epoch"][-1]]
        assert "changed_between_parts" not in made
        assert made["arithmetic"]["deterministic"] is True
        assert part["threads"] == made["threads"] == torch.get_num_threads()
        assert made["versions"]["torch"] == str(torch.__version__)
        assert made["arithmetic"]["cpu_capability"]
        assert len(made["arithmetic"]["torch_build_sha256"]) == 64


def test_rows_in_situ_train_on_each_training_device_of_the_suite(tmp_path):
    loaded = suite(tmp_path, methods=["bp", "pat"], seeds=[0, 3], training_devices=[5, 3])
    plain = suite(tmp_path, methods=["bp", "pat"], seeds=[0, 3])
    rows = [(j.seed, j.method.label, j.spec()["seeds"]["train_device"]) for j in loaded.jobs]
    # In silico once, at the device of the seed; in situ on each device at each seed.
    assert rows[:3] == [(0, "bp", 0), (0, "pat", 5), (0, "pat", 3)]
    assert rows[3:] == [(3, "bp", 3), (3, "pat", 5), (3, "pat", 3)]
    hashes = [job.spec()["hash"] for job in loaded.jobs]
    assert len(set(hashes)) == 6
    others = [job.spec()["hash"] for job in plain.jobs]
    # A device named by a suite is the same job as the same device by default.
    assert set(hashes) & set(others) == {hashes[0], hashes[3], hashes[5]}
    assert loaded.jobs[1].title() == "mrr-digits  pat  seed 0, training device 5"
    index = index_of(loaded.jobs)[loaded.jobs[0].board]
    assert index == {
        "bp": {0: hashes[0], 3: hashes[3]},
        "pat": {0: tuple(hashes[1:3]), 3: tuple(hashes[4:])},
    }


def test_several_training_devices_make_one_value_a_seed(tmp_path):
    loaded = suite(tmp_path, methods=["pat"], seeds=[1], training_devices=[5, 6])
    runs = tmp_path / "runs"
    five, six = run_suite(loaded, runs, say=nothing)
    assert [r["training_device"]["seed"] for r in (five, six)] == [5, 6]
    assert five["cells"] != six["cells"]
    tables = build(read_records(runs / "tiny"), current=read_index(runs / "tiny"))
    for row in (row for table in tables for row in table.rows):
        assert row.seeds == (1,)
        assert row.complete
        assert row.clean.mean == pytest.approx((five["clean"] + six["clean"]) / 2)


def test_added_rows_and_other_seeds_keep_the_training_devices(tmp_path):
    loaded = suite(tmp_path, methods=["bp"], seeds=[0], training_devices=[5, 6])
    more = select(loaded, seeds=[8], add=["pat"])
    assert [(j.seed, j.method.label, j.device) for j in more.jobs] == [
        (8, "bp", 8),
        (8, "pat", 5),
        (8, "pat", 6),
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "is empty"),
        ([1, 1], "different integers"),
        ([0.5], "training_devices\\[0\\] is 0.5"),
        ([100_000], "89999"),
        (3, "training_devices is 3"),
    ],
)
def test_training_devices_that_are_none_are_refused(tmp_path, given, words):
    with pytest.raises(UserError, match=words):
        suite(tmp_path, training_devices=given)


def test_a_run_over_two_commits_says_so(tmp_path, monkeypatch):
    """It is neither refused nor passed for the work of one version."""
    loaded = suite(tmp_path, methods=[{"method": "bp", "epochs_factor": 3}])

    def stop(line):
        if "epoch 2/3" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        "pnnbench.running.provenance.git_state", lambda: {"commit": "a" * 40, "modified": False}
    )
    with pytest.raises(KeyboardInterrupt):
        run_suite(loaded, tmp_path / "runs", say=stop)
    path = job_folder(tmp_path / "runs", loaded.jobs[0]) / "record.json"
    assert [p["epochs"] for p in read_record(path)["provenance"]["parts"]] == [[0, 1]]
    monkeypatch.setattr(
        "pnnbench.running.provenance.git_state", lambda: {"commit": "b" * 40, "modified": True}
    )
    (record,) = run_suite(loaded, tmp_path / "runs", say=nothing)
    made = record["provenance"]
    assert [(p["commit"][0], p["epochs"]) for p in made["parts"]] == [("a", [0, 0]), ("b", [1, 2])]
    assert made["git"]["commit"] == "b" * 40
    assert made["changed_between_parts"] == ["commit", "modified"]


STAGES = """
import dataclasses
from pnnbench.workloads.grid import Cell
from pnnbench.workloads.mrr import MRRDigits


class Chosen(MRRDigits):
    def part_of_grid(self, tier):
        return [cell for cell in self.perturbation_grid(tier) if cell.counts][:3]


class Strange(MRRDigits):
    def part_of_grid(self, tier):
        return [dataclasses.replace(self.perturbation_grid(tier)[0], severity=7.0)]


class Weightless(MRRDigits):
    def part_of_grid(self, tier):
        return [cell for cell in self.perturbation_grid(tier) if not cell.counts][:1]
"""


def test_a_workload_says_on_which_cells_its_stages_are_measured(tmp_path, monkeypatch):
    (tmp_path / "stage_workloads.py").write_text(STAGES)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = [f"stage_workloads.{name}" for name in ("Chosen", "Strange", "Weightless")]
    chosen, *others = run_suite(suite(tmp_path, workloads=names), tmp_path / "runs", say=nothing)
    counted = [cell for cell in chosen["cells"] if cell["counts"]]
    assert [place(c) for c in chosen["earlier"][0]["cells"]] == [place(c) for c in counted[:3]]
    for record in others:
        assert record["status"] == "ok", record["error"]
        assert "earlier" not in record
        assert "part_of_grid" in next(
            gap["message"] for gap in record["gaps"] if gap["part"] == "earlier"
        )


def test_a_stage_that_is_lost_is_a_gap_and_the_rest_stands(tmp_path):
    loaded = suite(tmp_path)
    runs = tmp_path / "runs"
    lost = job_folder(runs, loaded.jobs[0]) / "stages" / "parameters-0.25.safetensors"

    def lose(line):
        if "grid" in line:
            lost.unlink(missing_ok=True)

    (record,) = run_suite(loaded, runs, say=lose)
    assert record["status"] == "ok"
    assert [entry["share"] for entry in record["earlier"]] == [0.5]
    (gap,) = [gap for gap in record["gaps"] if gap["part"].startswith("earlier")]
    assert gap["part"] == "earlier.0.25"
    assert "not kept" in gap["message"]
