"""Runs a few lines of Python in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys


def said(program: str, **environment: str) -> str:
    """What a program prints, without white space around it, under changes of the environment."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
