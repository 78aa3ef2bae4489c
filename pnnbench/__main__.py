"""``python -m pnnbench``."""

import sys

from pnnbench.cli import main

sys.exit(main())
