from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ..command import Done, command

TINY = {
    "suite": "tiny",
    "protocol": "pnnbench-2",
    "tier": "smoke",
    "workloads": ["mzi-digits"],
    "seeds": [0, 1],
    "methods": [{"method": "bp", "label": "BP"}, {"method": "nat", "label": "NAT, small"}],
    "claims": [{"better": "NAT, small", "than": "BP"}],
}
QUIET = ("--wandb", "disabled", "--pictures", "false")


def write_suite(folder: Path, **changes: object) -> Path:
    """Writes ``tiny.yaml``; other rows come without the claims on these."""
    path = folder / "tiny.yaml"
    suite = {
        key: value for key, value in TINY.items() if key != "claims" or "methods" not in changes
    }
    path.write_text(yaml.safe_dump({**suite, **changes}))
    return path


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A tiny suite that has been run; read it, never change it."""
    folder = tmp_path_factory.mktemp("ran")
    write_suite(folder)
    return folder, command("run", "tiny.yaml", *QUIET, cwd=folder)
