from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ..command import command

#: One small network, one seed, two rows.
SUITE = {
    "suite": "small",
    "protocol": "pnnbench-2",
    "tier": "smoke",
    "workloads": ["mrr-digits"],
    "seeds": [1],
    "methods": [
        {"method": "sat", "label": "SAT", "params": {"rho": 0.2}},
        {"method": "pat", "label": "PAT"},
    ],
}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``small.yaml`` and its finished ``runs/``, made by the command line."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.yaml").write_text(yaml.safe_dump(SUITE))
    command("run", "small.yaml", "--wandb", "disabled", "--pictures", "false", cwd=folder)
    return folder
