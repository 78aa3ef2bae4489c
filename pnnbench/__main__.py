"""``python -m pnnbench``."""

from __future__ import annotations

import sys

from pnnbench.cli import main

sys.exit(main())
