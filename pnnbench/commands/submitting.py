"""``pnnbench new-method``, ``submit`` and ``retrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnnbench.commands.output import out, out_json, writable


def new_method(options: Any) -> int:
    """``pnnbench new-method``."""
    from pnnbench.submitting.scaffold import check_new_name
    from pnnbench.submitting.scaffold import new_method as make

    check_new_name(options.name)  # before a folder is made
    target = make(options.name, writable("--out", Path(options.out)), options.author or ())
    files = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    if options.format == "json":
        out_json({"package": str(target), "files": files})
        return 0
    out(f"package: {target}")
    out("\n".join(f"  {name}" for name in files))
    out(f"next: pip install -e {target} && pnnbench check {target.name}")
    return 0
