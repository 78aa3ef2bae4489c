from __future__ import annotations

from hypothesis import settings

# The machine may be busy with other runs; a slow example is not a failing one.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
