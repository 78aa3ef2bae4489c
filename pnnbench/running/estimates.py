"""How long jobs and trials take, from finished jobs that did as much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pnnbench.records.index import workload_of
from pnnbench.records.store import canonical
from pnnbench.running.job_specs import Job, epochs_of
from pnnbench.running.search_file import Budget
from pnnbench.running.trials import counted_cells, validation_cells
from pnnbench.seeds import validation_devices

#: What of a workload's configuration decides how much its jobs do.
_AS_MUCH = ("tier", "grid", "test_devices")


def estimate(job: Job, records: Sequence[Mapping[str, Any]]) -> float | None:
    """Estimates how long a job takes.

    Args:
        job: The job.
        records: Finished records. Those of another protocol, tier or grid tell nothing: they may
            have measured a tenth of what this one does.

    Returns:
        Seconds: the mean of those with the same method and settings, whatever their steps, else of
        those with the same method, their training scaled to the job's epochs; None where there is
        none.
    """
    return _mean(
        _training(job, record)
        + record["cost"].get("evaluate_seconds", 0.0)
        + record["cost"].get("sharpness_seconds", 0.0)
        for record in _alike(job, records)
    )


def estimate_trial(job: Job, records: Sequence[Mapping[str, Any]], budget: Budget) -> float | None:
    """Estimates how long one trial of a search takes, which trains as its job and measures less.

    Args:
        job: The row's job, at the tier of the search.
        records: Finished records of whole jobs, see `estimate`.
        budget: The budget of the search.

    Returns:
        Seconds, as `estimate` has them.
    """
    alike = _alike(job, records)
    if not alike:
        return None
    workload = job.make_workload()
    tier = workload.tier(job.tier)
    chosen_by = validation_cells(workload, job.tier, validation_devices(budget.devices))
    passes = tier.validation_images * len(chosen_by)
    images = max(budget.test_images, workload.least_images)
    cells = len(counted_cells(workload, job.tier))

    def measuring(record: Mapping[str, Any]) -> float:
        theirs = record["data"]["n_test"]
        done = len(record["cells"]) * theirs * (1 + len(record.get("deployments", ())))
        return (passes + min(images, theirs) * cells) / done

    return _mean(
        _training(job, record) + record["cost"].get("evaluate_seconds", 0.0) * measuring(record)
        for record in alike
    )


def _alike(job: Job, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records of the same method that trained and measured as much, but for their epochs.

    Those with its settings, where there are some: a population of another size takes another time.
    """
    asked = canonical([job.protocol, *(job.config[key] for key in _AS_MUCH)])
    found = []
    for record in records:
        theirs, config = record["job"], record["config"]
        same = (workload_of(theirs), theirs["tier"], theirs["method"]["name"])
        if same == (job.board[2], job.tier, job.method.name) and asked == canonical(
            [record["protocol"], *(config.get(key) for key in _AS_MUCH)]
        ):
            found.append(record)
    own = _settings(job.method.params)
    return [r for r in found if _settings(r["job"]["method"]["params"]) == own] or found


def _settings(params: Mapping[str, Any]) -> bytes:
    """All settings but the step, whose size takes no time."""
    return canonical({name: value for name, value in params.items() if name != "lr"})


def _training(job: Job, record: Mapping[str, Any]) -> float:
    done = epochs_of(record["config"], record["job"]["epochs_factor"])
    return float(record["cost"]["train_seconds"]) * job.epochs / done


def _mean(seconds: Iterable[float]) -> float | None:
    found = list(seconds)
    return sum(found) / len(found) if found else None
