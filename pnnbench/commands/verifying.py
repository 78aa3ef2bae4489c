"""``pnnbench verify`` and ``new-key``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pnnbench.commands.output import new_file, out, out_json
from pnnbench.console import Console

#: Differences of a seed that are shown.
_SHOWN = 12


def verify(options: Any) -> int:
    """``pnnbench verify``."""
    from pnnbench.submitting.isolated import verify as verify_apart

    where = new_file("--out", options.out)
    key = None
    if options.key is not None:
        from pnnbench.submitting.keys import read_key

        key = read_key(Path(options.key))
    with Console(1) as console:
        result = verify_apart(
            Path(options.submission),
            say=console.say,
            share=console.share,
            root=options.data,
            key=key,
            timeout_s=options.timeout,
        )
    from pnnbench.records.verifications import write_verification

    if where is not None:
        write_verification(where, result)
    if options.format == "json":
        out_json(result)
    else:
        out(_verified(result))
    known = result.get("held_out", {}).get("memorised", False)
    seen = (result["controls"]["images"] or {}).get("peeked", False)
    return 0 if result["confirmed"] and not known and not seen else 1


def _verified(result: dict[str, Any]) -> str:
    """What a verification found, in lines."""
    lines = []
    for seed in result["seeds"]:
        found = seed["differences"]
        score = "" if seed["score"] is None else f", robust {seed['score']:.4f}"
        clean = "none" if seed["clean"] is None else f"{seed['clean']:.4f}"
        said = "as recorded" if not found else f"{len(found)} fields differ"
        lines.append(f"seed {seed['seed']}: clean {clean}{score}: {said}")
        for one in found[:_SHOWN]:
            said = f"{_short(one['recorded'])} recorded, {_short(one['computed'])} computed"
            lines.append(f"  {one['field']}: {said}, {one['allowed']:.3g} allowed")
        if len(found) > _SHOWN:
            lines.append(f"  and {len(found) - _SHOWN} more: --format json has all of them")
    lines += [
        f"seed {one['seed']}: {one['status']}, counted as guessing" for one in result["failed"]
    ]
    told = result.get("held_out")
    if told is not None:
        lines.append(
            f"held-out devices: {told['held_out']:.4f} ({told['low']:.4f} to {told['high']:.4f}, "
            f"{told['devices']} devices), public ones {told['public']:.4f}: "
            + ("MEMORISED, " if told["memorised"] else "")
            + f"{told['difference']:+.4f} apart, {told['allowed']:.4f} allowed"
        )
    controls = result["controls"]
    if controls["learned"] is False:
        lines.append("no better than guessing")
    if controls["images"] and controls["images"]["peeked"]:
        seen = controls["images"]
        lines.append(
            f"test images {seen['test']:.4f}, validation images {seen['validation']:.4f}: better "
            f"by more than {seen['allowed']:.4f}, so that it has SEEN THE TEST IMAGES"
        )
    for one in controls["published"]:
        lines.append(
            f"seed {one['seed']}: same tensors as seed {one['of_seed']} of {one['row']} "
            f"({one['method']}) of {one['suite']}"
        )
    if controls["seeds_left_out"]:
        lines.append(f"{controls['seeds_left_out']} seeds are left out: a row has 0, 1, 2, ...")
    for one in controls["training_devices"]:
        lines.append(
            f"seed {one['seed']}: trained on device {one['device']}, and others of a board on "
            f"device {one['seed']}: whether it was chosen, judge yourself"
        )
    verdict = "confirmed" if result["confirmed"] else "NOT confirmed"
    return "\n".join([*lines, f"{result['row']}: {verdict}; badges: {', '.join(result['badges'])}"])


def _short(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def new_key(options: Any) -> int:
    """``pnnbench new-key``."""
    from pnnbench.submitting.keys import new_key as make

    make(Path(options.file))
    out(f"key: {options.file}; who has it knows the held-out devices")
    return 0
