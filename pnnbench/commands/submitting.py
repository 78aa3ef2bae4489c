"""``pnnbench new-method``, ``submit`` and ``retrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnnbench.commands.output import new_file, out, out_json, writable
from pnnbench.console import Console


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


def submit(options: Any) -> int:
    """``pnnbench submit``."""
    from pnnbench.submitting.packing import check_place, pack_row, read_card
    from pnnbench.submitting.rows import find_row

    row = find_row(options.row, Path(options.runs))
    card = read_card(Path(options.card))
    check_place(row, Path(options.out))
    target = writable("--out", Path(options.out))
    with Console(1) as console:
        made = pack_row(
            row,
            card,
            target,
            zipped=options.zip,
            trust=options.trust,
            root=options.data,
            say=console.say,
            share=console.share,
        )
    if options.format == "json":
        out_json(made.as_dict())
        return 0
    told = made.submission
    seeds = ", ".join(map(str, told.seeds))
    failed = f"; failed: {', '.join(map(str, made.failed_seeds))}" if made.failed_seeds else ""
    out(f"row: {told.row.label} ({told.row.method}) on {told.workload}, {told.tier}")
    out(f"card: {told.card.name}, by {', '.join(told.card.authors)}, {told.card.licence}")
    out(f"seeds: {seeds}{failed}")
    out(f"checks: {told.check.passed} passed")
    out(f"measured again: {len(made.remeasured)} seeds, as the records say")
    if made.controls["learned"] is False:
        out("controls: no better than guessing")
    if made.controls["images"] and made.controls["images"]["peeked"]:
        out("controls: better on test images than on validation images, as if it had seen them")
    if made.controls["seeds_left_out"]:
        out(f"seeds left out: {made.controls['seeds_left_out']}; a row has 0, 1, 2, ...")
    if made.controls["training_devices"]:
        others = ", ".join(str(one["seed"]) for one in made.controls["training_devices"])
        out(f"controls: trained on other devices than their own: seeds {others}")
    if made.searched:
        out(f"settings tried: {told.settings_tried}, with the record of the search")
    else:
        out("settings tried: no search record has this row, so 1 is claimed")
    out(f"submission: {made.path}")
    out(f"next: pnnbench verify {made.path}")
    return 0


def retrain(options: Any) -> int:
    """``pnnbench retrain``."""
    from pnnbench.submitting.retraining import retrain as train_again

    where = new_file("--out", options.out)
    runs = writable("--runs", Path(options.runs))
    with Console(1) as console:
        found = train_again(
            Path(options.submission),
            options.seed,
            runs,
            trust=options.trust,
            root=options.data,
            say=console.say,
            share=console.share,
        )
    if where is not None:
        from pnnbench.records.verifications import write_verification

        write_verification(where, found.verification())
    if options.format == "json":
        out_json(found.as_dict())
        return 0 if found.badge else 1
    out(f"seed {found.seed}: {found.how}")
    out(f"tensors: {found.same_tensors} of {found.tensors} with the same bits")
    if found.score is not None and found.claimed is not None:
        low, high = found.interval or (None, None)
        more = "" if low is None else f"; one more seed of the row lies in {low:.4f} to {high:.4f}"
        out(f"robust score: {found.claimed:.4f} in the submission, {found.score:.4f} here{more}")
    if found.other_machine:
        out(f"other here: {', '.join(found.other_machine)}")
    out(f"run: {found.folder}")
    out(f"badge: {found.badge or 'none'}")
    return 0 if found.badge else 1
