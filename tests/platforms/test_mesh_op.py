from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pnnbench.errors import UserError
from pnnbench.platforms import mesh_op
from pnnbench.platforms.mesh import column_product

from ..programs import said

PROGRAM = """
import torch
from pnnbench.platforms import mesh_op
from pnnbench.platforms.mzi import MZIMesh
torch.manual_seed(0)
mesh = MZIMesh(6)
out = mesh(torch.ones(2, 6))
out[:, 0].sum().backward()
finite = torch.isfinite(out).all() and torch.isfinite(mesh.theta.grad).all()
print(mesh_op.available(), bool(finite))
print(float(out[0, 0]))
"""


def run(**environment: str) -> tuple[str, float]:
    first, second = said(PROGRAM, **environment).splitlines()
    return first, float(second)


@pytest.mark.skipif(not mesh_op.available(), reason="no C compiler")
def test_it_is_built_on_demand_into_the_cache_folder(tmp_path: Path) -> None:
    built, value = run(XDG_CACHE_HOME=str(tmp_path))
    assert built == "True True"
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] == [".so"]
    plain, same = run(PNNBENCH_MESH="plain", XDG_CACHE_HOME=str(tmp_path))
    assert plain == "False True"
    assert value == pytest.approx(same, rel=1e-5)


def test_without_a_compiler_the_plain_build_takes_over(tmp_path: Path) -> None:
    nowhere, _ = run(PATH=str(tmp_path), CC="", XDG_CACHE_HOME=str(tmp_path))
    assert nowhere == "False True"


def test_asking_for_it_where_it_is_not_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_op, "_library", lambda: "no C compiler")
    with pytest.raises(UserError, match="no C compiler"):
        column_product(torch.eye(2, dtype=torch.complex64).view(1, 4, 1), 2, compiled=True)


@pytest.mark.skipif(not mesh_op.available(), reason="no C compiler")
def test_it_leaves_denormal_numbers_alone() -> None:
    column_product(torch.eye(2, dtype=torch.complex64).view(1, 4, 1), 2, compiled=True)
    assert float(torch.tensor(1e-40) * 1.0) > 0.0
