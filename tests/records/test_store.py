from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from pnnbench.errors import DiskFullError, UserError
from pnnbench.records import store as rec

from ..record_factory import (
    changed,
    make_failure,
    make_mesh_record,
    make_record,
    write_job,
)

ROOT = Path(__file__).resolve().parents[2]

json_values = hs.recursive(
    hs.none() | hs.booleans() | hs.integers() | hs.text() | hs.floats(allow_nan=False, width=64),
    lambda inner: hs.lists(inner, max_size=4) | hs.dictionaries(hs.text(), inner, max_size=4),
    max_leaves=12,
).filter(lambda value: _finite(value))


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(map(_finite, value))
    return all(map(_finite, value.values())) if isinstance(value, dict) else True


@settings(max_examples=50, deadline=None)
@given(json_values)
def test_canonical_json_survives_a_round_trip(value: object) -> None:
    raw = rec.canonical(value)
    assert rec.canonical(json.loads(raw)) == raw


@given(hs.dictionaries(hs.text(), hs.integers(), min_size=2, max_size=6))
def test_canonical_json_does_not_see_the_order_of_keys(value: dict) -> None:
    assert rec.canonical(value) == rec.canonical(dict(reversed(value.items())))


def test_canonical_json_takes_tuples_and_numpy_scalars() -> None:
    value = {"a": (1, 2), "b": np.float64(0.5), "c": np.int64(3), "d": np.float32(0.25)}
    assert rec.canonical(value) == b'{"a":[1,2],"b":0.5,"c":3,"d":0.25}'


@pytest.mark.parametrize(
    "value", [{"x": math.nan}, [math.inf], {1: 2}, {"x": Path("a")}, {"x": np.array([1.0])}]
)
def test_canonical_json_refuses_what_json_does_not_have(value: object) -> None:
    with pytest.raises(UserError):
        rec.canonical(value)


def test_job_hash_follows_content_not_order_and_leaves_itself_out() -> None:
    spec = {"workload": "mrr-mnist", "seed": 1, "params": {"rho": 0.05}}
    same = {"params": {"rho": 0.05}, "seed": 1, "workload": "mrr-mnist", "hash": "f" * 16}
    assert rec.job_hash(spec) == rec.job_hash(same)
    assert rec.job_hash(spec) != rec.job_hash({**spec, "seed": 2})
    # printf '{"seed":1}' | sha256sum
    assert rec.job_hash({"seed": 1}) == "fbe47f6d82b435a8"


def test_a_record_reads_back_as_it_was_sealed(tmp_path: Path) -> None:
    record = make_record()
    path = tmp_path / "job" / "record.json"
    assert rec.write_record(path, record) == record
    assert rec.read_record(path) == record
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]
    assert rec.is_finished(path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("clean", math.nan, "clean"),
        ("cells.3.value", math.inf, "cells[3].value"),
        ("cells.3.value", 1.5, "accuracy in [0, 1]"),
        ("cells.3.device_seed", 7, "test_devices"),
        ("cells", [], "cells"),
        ("cells.0.colour", "red", "colour"),
        ("colour", "red", "colour"),
        ("clean", KeyError, "lacks clean"),
        ("sharpness", KeyError, "lacks sharpness"),
        ("sharpness.top", [1.0, math.nan], "top[1]"),
        ("cost", KeyError, "lacks cost"),
        ("cost.gradient_evaluations", -1, "gradient_evaluations"),
        ("parameters", KeyError, "lacks parameters"),
        ("parameters.file", "../../secret", "parameters.file"),
        ("schema", 4, "schema"),
        ("schema", True, "schema"),
        ("not_finite", -1, "not_finite"),
        ("cells.3.not_finite", 1.5, "cells[3].not_finite"),
        ("cells.3.counts", 1, "cells[3].counts"),
        ("cells.3.value", None, "cells[3] is missing, and no gap says why"),
        ("clean", None, "clean is missing, and no gap says why"),
        ("sharpness.lambda_max", KeyError, "sharpness.lambda_max is missing, and no gap says why"),
        (
            "gaps",
            [{"part": "clean", "type": "not-finite", "message": ""}],
            "parts that are missing",
        ),
        ("gaps", [{"part": "cells[2]", "type": "error", "message": ""}], "parts that are missing"),
        ("gaps", [{"part": "sharpness", "type": "lost", "message": ""}], "gaps[0].type"),
        ("gaps", [{"part": "sharpness", "type": "error"}], "lacks message"),
        ("gaps", {}, "gaps"),
        ("status", "fine", "status"),
        ("job.tier", "huge", "tier"),
        ("job.hash", "xyz", "hash"),
        ("job.seed", True, "seed"),
        ("job.seeds.train_device", 1003, "train_device"),
        ("job.epochs_factor", 0, "epochs_factor"),
        ("data.fingerprint", "md5:12", "fingerprint"),
        ("curves.train_loss", [1.0], "one length"),
        ("curves.epoch", KeyError, "lacks epoch"),
        ("curves.epoch", [1, 2, 3, 4, 5, 6, 7, 8, 9, 9], "ascending"),
        ("curves.validation_loss", [math.inf] * 10, "validation_loss"),
        ("curves.validation_metric", [0.5], "one length"),
        ("curves.colour", [0.5] * 10, "colour"),
        ("cost.train_cpu_seconds", -1.0, "train_cpu_seconds"),
        ("cost.peak_memory_bytes", 1.5, "peak_memory_bytes"),
        ("sharpness.is_minimum", 2, "is_minimum"),
        ("sharpness.is_minimum", True, "is_minimum"),
        ("sharpness.gradient_norm", -0.1, "gradient_norm"),
        ("sharpness.point", {"device_seed": 3}, "lacks severity"),
        ("sharpness.point", {"device_seed": "a", "severity": 0.5}, "point.device_seed"),
        ("outcomes", {"file": "../x", "sha256": "0" * 64}, "outcomes.file"),
        ("outcomes", {"file": "x", "sha256": "0"}, "outcomes.sha256"),
        ("headline", "offset-calibrated", "headline"),
        ("metric.chance", "low", "chance"),
        ("cost.forward_evaluations", -1, "forward_evaluations"),
        ("cost.forward_evaluations", 1.0, "forward_evaluations"),
        ("training_device", None, "training_device"),
        ("training_device.seed", -1, "training_device.seed"),
        ("training_device.seed", 1_000_000, "training_device.seed"),
        ("training_device.seed", 5, "the training device, 0"),
        ("training_device.severity", 0, "training_device.severity"),
        ("training_device.unit", None, "training_device.unit"),
        ("training_device.value", math.nan, "training_device.value"),
        ("training_device.value", 1.5, "accuracy in [0, 1]"),
        ("training_device.value", KeyError, "lacks value"),
        ("training_device.colour", "red", "colour"),
        ("error", {"type": "x", "message": ""}, "error"),
        ("clean", 10**400, "an integer of 64 bits"),
        ("cells.3.value", 1e51, "cells[3].value"),
        ("cells.3.level", 10**400, "cells[3].level"),
        ("cells.3.device_seed", 2**63, "cells[3].device_seed"),
        ("metric.chance", 10**400, "metric.chance"),
        ("cost.gradient_evaluations", 2**63, "of 64 bits"),
        ("cost.train_seconds", 1e308, "cost.train_seconds"),
        ("data.n_test", 10**400, "data.n_test"),
        ("also", {"psnr_db": 1e308}, "also.psnr_db"),
        ("extra.control_power_mw", "a lot", "extra.control_power_mw"),
        ("extra.control_power_mw", [1], "extra.control_power_mw"),
        ("extra.method", [1], "extra.method"),
        ("extra.method", {"share": "most"}, "extra.method.share"),
        ("sharpness.lambda_max", 1e308, "sharpness.lambda_max"),
        ("sharpness.lambda_max_low", [1], "sharpness.lambda_max_low"),
        ("sharpness.device_increase", {}, "sharpness.device_increase"),
        ("sharpness.at_guessing", "no", "sharpness.at_guessing"),
        ("provenance.versions", [], "provenance.versions"),
        ("provenance.versions.torch", 2, "provenance.versions.torch"),
        ("provenance.machine", "x", "provenance.machine"),
        ("provenance.arithmetic", 1, "provenance.arithmetic"),
        ("provenance.git", 3, "provenance.git"),
        ("provenance.parts", {}, "provenance.parts"),
        ("provenance.parts", [1], "provenance.parts[0]"),
        ("provenance.threads", "all", "provenance.threads"),
        ("provenance.method", [], "provenance.method"),
        ("provenance.method", {"knows": 1}, "provenance.method.knows"),
        ("provenance.sources", [], "provenance.sources"),
        ("provenance.finished", 2026, "provenance.finished"),
    ],
)
def test_seal_refuses_a_record_that_is_not_one(path: str, value: object, words: str) -> None:
    make = make_mesh_record if "training_device" in path or "forward" in path else make_record
    record = make()
    with pytest.raises(UserError) as caught:
        rec.seal(changed(record, path, value))
    assert words in str(caught.value)


def gap(part: str, kind: str = "not-finite") -> dict[str, str]:
    return {"part": part, "type": kind, "message": "the metric is nan"}


def with_gaps(*parts: str, **changes: object) -> dict:
    record = make_record(sealed=False)
    record["gaps"] = [gap(part) for part in parts]
    for path, value in changes.items():
        record = changed(record, path.replace("__", "."), value)
    return record


def test_a_record_with_typed_gaps_is_a_record(tmp_path: Path) -> None:
    record = with_gaps(
        "cells[3]", "clean", "sharpness.lambda_max", cells__3__value=None, clean=None
    )
    del record["sharpness"]["lambda_max"]
    record["cells"][3]["not_finite"] = 7
    record["cells"][4]["counts"] = False
    record["not_finite"] = 2
    sealed = rec.write_record(tmp_path / "record.json", record)
    assert rec.read_record(tmp_path / "record.json") == sealed
    assert sealed["clean"] is None
    assert sealed["cells"][3]["value"] is None
    assert rec.is_finished(tmp_path / "record.json")


def test_sharpness_may_be_a_gap_as_a_whole() -> None:
    assert rec.seal(with_gaps("sharpness", sharpness={}))["sharpness"] == {}
    # Devices without a finite loss are null in their list.
    increases = {"lambda_max": 1.0, "device_increases": [0.1, None]}
    rec.seal(with_gaps("sharpness.device_increase", sharpness=increases))


def test_a_record_without_any_value_is_no_finished_record() -> None:
    record = make_record(sealed=False)
    parts = ["clean", *(f"cells[{i}]" for i in range(len(record["cells"])))]
    record |= {"clean": None, "gaps": [gap(part) for part in parts]}
    for cell in record["cells"]:
        cell["value"] = None
    with pytest.raises(UserError, match="neither clean nor a cell has a value"):
        rec.seal(record)
    record["clean"] = 0.9
    record["gaps"] = record["gaps"][1:]
    assert rec.seal(record)["clean"] == 0.9


def test_a_failure_keeps_parameters_curves_and_gaps() -> None:
    whole = make_record(sealed=False)
    failure = changed(make_failure(), "gaps", [gap("clean"), gap("cells[0]")])
    for key in ("parameters", "curves", "cost"):
        failure[key] = whole[key]
    assert rec.seal(failure)["parameters"] == whole["parameters"]


def test_cells_of_version_2_stand_one_by_one_on_disk_and_are_read(tmp_path: Path) -> None:
    record = changed(make_record(), "schema", 2)
    sealed = rec.write_record(tmp_path / "record.json", record)
    assert json.loads((tmp_path / "record.json").read_text()) == sealed
    assert rec.read_record(tmp_path / "record.json") == sealed
    # In memory they are those of the present version.
    assert sealed["cells"] == make_record()["cells"]


def test_records_of_version_1_are_read_and_have_no_gaps(tmp_path: Path) -> None:
    record = changed(make_record(), "schema", 1)
    rec.write_record(tmp_path / "record.json", record)
    assert rec.read_record(tmp_path / "record.json")["schema"] == 1
    with pytest.raises(UserError, match="none in a record of version 1"):
        rec.seal(changed(with_gaps("cells[3]", cells__3__value=None), "schema", 1))


def full_record() -> dict:
    """A record with everything that is optional."""
    record = make_record(sealed=False)
    count = len(record["cells"])
    deployment = {"name": "offset-calibrated", "images": 256, "queries": 256}
    few = [{k: v for k, v in cell.items() if k != "counts"} for cell in record["cells"][::13]]
    epochs = len(record["curves"]["epoch"])
    record |= {
        "deployments": [{**deployment, "values": [None, *[0.5] * (count - 1)]}],
        "headline": "offset-calibrated",
        "earlier": [
            {"share": 0.25, "steps": 2342, "clean": 0.9, "cells": few},
            {"share": 0.5, "steps": 4685, "clean": None, "cells": few[:1]},
        ],
        "outcomes": {"file": "outcomes.safetensors", "sha256": "0" * 64},
    }
    record["curves"] |= {
        "validation_loss": [0.5] * epochs,
        "validation_metric": [None, *[0.9] * (epochs - 1)],
    }
    record["cost"] |= {
        "train_cpu_seconds": 59.0,
        "evaluate_cpu_seconds": 20.0,
        "sharpness_cpu_seconds": 11.0,
        "peak_memory_bytes": 10**9,
    }
    point = {"device_seed": None, "severity": 0.0}
    record["sharpness"] |= {"point": point, "gradient_norm": 0.01, "is_minimum": 1.0}
    return record


def test_a_record_with_everything_optional_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = full_record()
    sealed = rec.write_record(tmp_path / "record.json", record)
    assert {key: value for key, value in sealed.items() if key != "checksum"} == record
    assert rec.read_record(tmp_path / "record.json") == sealed
    assert rec.seal(changed(record, "headline", "frozen"))["headline"] == "frozen"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("deployments.0.values", [0.5], "deployments[0].values length"),
        ("deployments.0.values.3", 1.5, "deployments[0].values[3]"),
        ("deployments.0.name", "frozen", "a name other than frozen"),
        ("deployments.0.images", -1, "deployments[0].images"),
        ("deployments.0.queries", KeyError, "lacks queries"),
        ("headline", "none", "frozen, offset-calibrated"),
        ("earlier.0.share", 1.0, "earlier[0].share"),
        ("earlier.0.share", 0.75, "ascending"),
        ("earlier.0.steps", 5000, "ascending"),
        ("earlier.0.clean", 1.5, "earlier[0].clean"),
        ("earlier.0.cells.1.value", 1.5, "earlier[0].cells[1].value"),
        ("earlier.0.cells.1.level", KeyError, "lacks level"),
        ("earlier.0.cells.1.device_seed", 7, "cells of the grid"),
        ("earlier.0.colour", "red", "colour"),
        ("gaps", [{"part": "outcomes", "type": "error", "message": ""}], "parts that are missing"),
    ],
)
def test_optional_parts_are_checked_too(path: str, value: object, words: str) -> None:
    with pytest.raises(UserError) as caught:
        rec.seal(changed(full_record(), path, value))
    assert words in str(caught.value)


def test_a_record_may_have_a_training_device_or_not() -> None:
    record = make_mesh_record("PAT", 2)
    assert rec.seal(record)["training_device"]["seed"] == 2
    assert "training_device" not in rec.seal(changed(record, "training_device", KeyError))
    # A job without a training device of its own may still measure one, but no test device.
    anywhere = changed(record, "job.seeds.train_device", None)
    assert rec.seal(anywhere)["training_device"]["seed"] == 2
    with pytest.raises(UserError, match="not among the test devices"):
        rec.seal(changed(anywhere, "training_device.seed", 1_000_003))


def test_a_failure_has_no_training_device() -> None:
    failure = make_failure()
    failure["training_device"] = make_mesh_record()["training_device"]
    with pytest.raises(UserError, match="unknown key 'training_device'"):
        rec.seal(failure)


def test_the_committed_records_are_whole() -> None:
    paths = sorted((ROOT / "leaderboards").rglob("records/*.json"))
    assert len(paths) >= 24
    for path in paths:
        assert rec.read_record(path)["status"] == "ok"


def test_seal_refuses_a_cell_given_twice() -> None:
    record = make_record()
    twice = [*record["cells"], record["cells"][5]]
    with pytest.raises(UserError, match="repeats the cell"):
        rec.seal(changed(record, "cells", twice))


def test_a_failure_needs_its_error_and_may_not_carry_a_grid() -> None:
    failure = make_failure()
    with pytest.raises(UserError, match="lacks error"):
        rec.seal(changed(failure, "error", KeyError))
    with pytest.raises(UserError, match="unknown key 'cells'"):
        rec.seal(changed(failure, "cells", make_record()["cells"]))
    for status in ("diverged", "error", "timeout", "killed"):
        assert rec.seal(changed(failure, "status", status))["status"] == status


def test_a_changed_figure_breaks_the_checksum(tmp_path: Path) -> None:
    path = write_job(tmp_path, make_record())
    record = rec.read_record(path)
    stored = json.loads(path.read_text())
    stored["groups"][0]["values"][0] = 0.999
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="checksum does not match"):
        rec.read_record(path)
    assert not rec.is_finished(path)
    record["cells"][0]["value"] = 0.999
    with pytest.raises(UserError, match="changed after it was sealed"):
        rec.write_record(tmp_path / "record.json", record)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a JSON record"),
        ("[]", "not a record but list"),
        ('{"schema": 99}', "schema version 99"),
        ('{"schema": 1}', "never sealed"),
        ('{"schema": 1, "clean": NaN}', "NaN"),
        ("", "not a JSON record"),
    ],
)
def test_reading_a_broken_file_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        rec.read_record(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_incomplete_record_with_a_right_checksum_is_still_refused(tmp_path: Path) -> None:
    record = changed(make_record(), "cells", KeyError)
    record["checksum"] = rec._checksum(record)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="lacks cells"):
        rec.read_record(path)


def test_a_failure_never_replaces_a_finished_record(tmp_path: Path) -> None:
    path = write_job(tmp_path, make_record())
    before = path.read_bytes()
    with pytest.raises(UserError, match="does not replace it"):
        rec.write_record(path, make_failure())
    assert path.read_bytes() == before


def test_a_finished_record_replaces_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    rec.write_record(path, make_failure())
    assert not rec.is_finished(path)
    rec.write_record(path, make_record())
    assert rec.is_finished(path)


def test_finished_can_ask_for_the_parameters_too(tmp_path: Path) -> None:
    path = write_job(tmp_path, make_record())
    assert rec.is_finished(path, parameters=True)
    (path.parent / "parameters.safetensors").write_bytes(b"other")
    assert not rec.is_finished(path, parameters=True)
    assert rec.is_finished(path)


def test_an_interrupted_write_leaves_the_old_record(tmp_path: Path) -> None:
    """The temporary file is the device that is always full."""
    path = write_job(tmp_path, make_record())
    before = path.read_bytes()
    path.with_name(f".record.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"the disk is full: .*record\.json could not be"):
        rec.write_record(path, make_record(seed=1))
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*.tmp"))
    # With room, the same call goes through.
    assert rec.write_record(path, make_record(seed=1))["job"]["seed"] == 1


def test_another_error_of_writing_comes_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        rec.write_whole(tmp_path / "file" / "record.json", b"{}")


def test_a_writer_killed_at_any_moment_leaves_a_whole_record(tmp_path: Path) -> None:
    """A process rewrites one record as fast as it can and is killed with SIGKILL."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from pnnbench.records.store import read_record, write_record\n"
        "path = Path(sys.argv[1])\nrecord = read_record(path)\nprint('go', flush=True)\n"
        "while True:\n    write_record(path, record)\n"
    )
    path = write_job(tmp_path, make_record())
    for pause in (0.05, 0.11, 0.17):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert rec.read_record(path) == rec.read_record(path)
        assert rec.is_finished(path)
