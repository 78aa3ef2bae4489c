"""``python -m pnnbench``."""

import os
import sys

# Python looks into the present folder first, where a received one may hold a yaml.py of its own.
if sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - os is loaded, pathlib may lie there
    sys.path.append(sys.path.pop(0))

from pnnbench.cli import main

sys.exit(main())
