"""The clean process: what it refuses once its doors are closed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pnnbench.submitting.isolated import command

TRIED = {
    "a socket": "import socket; socket.create_connection(('127.0.0.1', 9), 1)",
    "a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "a file": "open('/tmp/pnnbench-clean', 'w')",
    "a file that is added to": "open('/tmp/pnnbench-clean', 'ab')",
    "a folder": "import os; os.mkdir('/tmp/pnnbench-clean')",
    "a removal": "import os; os.remove('/tmp/pnnbench-clean')",
    "a rename": "import os; os.rename('/tmp/a', '/tmp/b')",
    "a link": "import os; os.symlink('/tmp/a', '/tmp/b')",
    "a program": "import subprocess; subprocess.run(['true'])",
    "a shell": "import os; os.system('true')",
    "a fork": "import os; os.fork()",
    "a temporary file": "import tempfile; tempfile.TemporaryFile()",
}
SCRIPT = """
tried = {tried!r}
from pnnbench.submitting.clean import close_doors
print(close_doors()['writes'])
for name, code in tried.items():
    try:
        exec(code)
    except PermissionError:
        print('refused', name)
    except BaseException as error:
        print('other', name, repr(error))
    else:
        print('done', name)
print(len(open(__import__('pnnbench').__file__).read()) > 0)
"""


@pytest.fixture(scope="module")
def said() -> list[str]:
    *isolated, start = command()
    start = start.partition("from pnnbench")[0] + "\n" + SCRIPT.format(tried=TRIED)
    done = subprocess.run(
        [*isolated, start], capture_output=True, text=True, timeout=120, env={}, check=True
    )
    return done.stdout.splitlines()


def test_it_starts_isolated_from_the_users_python() -> None:
    assert command()[:4] == [sys.executable, "-I", "-B", "-c"]


def test_it_reads_and_does_nothing_else(said: list[str]) -> None:
    assert said[0] == "False"
    assert said[-1] == "True"


@pytest.mark.parametrize("name", TRIED)
def test_it_refuses(name: str, said: list[str]) -> None:
    assert f"refused {name}" in said
