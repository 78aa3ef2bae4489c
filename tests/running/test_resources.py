from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
import weakref

import pytest

from pnnbench.running.resources import collected

PROGRAM = """
import resource
import torch
from pnnbench.running.resources import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(10 * 2**20)  # 40 MiB, 10,240 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
first = faults()
kept = keep_memory()
faults()
print(kept, first, faults())
"""


def run(**environment: str) -> tuple[str, int, int]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUN"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    said, first, then = done.stdout.split()
    return said, int(first), int(then)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_was_freed_is_used_again() -> None:
    said, first, then = run()
    assert said == "True"
    assert then < first / 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_the_user_has_set_stays() -> None:
    said, first, then = run(MALLOC_MMAP_THRESHOLD_="131072")
    assert said == "False"
    assert then > first / 2


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_what_a_job_has_made_is_gone_after_it() -> None:
    before = weakref.ref(Knot())
    with collected():
        made = Knot()
        seen = weakref.ref(made)
        del made
        assert seen() is not None
    assert seen() is None
    assert before() is not None  # nobody has looked there
    gc.collect()
    assert before() is None


def test_a_job_that_fails_leaves_nothing_frozen() -> None:
    frozen = gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError), collected():
        _ = 1 / 0
    assert gc.get_freeze_count() == frozen == 0
