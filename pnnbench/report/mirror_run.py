"""One run of Weights & Biases: names within its limits, its own folder, bounded waiting."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pnnbench.errors import DiskFullError

PROJECT = "pnnbench"
#: Longest tag, and longest name of a run, a group, an artifact or of a run's identity.
TAG, NAME = 64, 128
#: Free room in bytes below which no run is opened: wandb leaves half a run behind on a full disk. A
#: lean run with its pictures takes about a tenth.
_ROOM = 16 * 2**20
_DIGEST = 8
#: Seconds that a run waits for its server: to begin, and for what is left to be sent at its end.
_BEGIN_S, _END_S = 20, 120
_LIMITS = {
    "finish_timeout": _END_S,
    "finish_timeout_raises": True,
    "x_graphql_retry_max": 3,
    "x_graphql_timeout_seconds": 20,
    "x_file_transfer_retry_max": 3,
    "x_file_stream_retry_max": 5,
    "x_file_stream_timeout_seconds": 20,
}


def shortened(text: str, limit: int = NAME) -> str:
    """A text within a limit of wandb: one that is too long ends in a digest of the whole.

    Args:
        text: Such as a class path or a label, in any script.
        limit: Characters that are allowed, more than 9.

    Returns:
        The text, or its beginning and 8 hexadecimal digits: different texts stay different.
    """
    return text if len(text) <= limit else f"{text[: limit - _DIGEST - 1]}-{_digest(text)}"


def plain_name(text: str) -> str:
    """A name of letters, digits, ``_``, ``.`` and ``-`` that stands for a text.

    Args:
        text: Any text.

    Returns:
        The text where it is such a name of at most 128 characters; else what is left of it and 8
        hexadecimal digits, so that different texts stay different.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)
    if plain == text and 0 < len(text) <= NAME:
        return text
    return f"{plain[: NAME - _DIGEST - 1]}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings under its path.

    Args:
        value: Plain JSON types.
        prefix: What the paths begin with.

    Returns:
        Path with slashes to number, string, truth value, None, list, or a mapping that is empty.
    """
    found: dict[str, Any] = {}
    for key, item in value.items():
        path = f"{prefix}{key}"
        found |= flat(item, f"{path}/") if isinstance(item, Mapping) and item else {path: item}
    return found


def numbers(value: Mapping[str, Any], prefix: str = "") -> dict[str, int | float]:
    """The leaves of nested mappings that are numbers; see `flat`."""
    leaves = flat(value, prefix).items()
    return {k: v for k, v in leaves if isinstance(v, (int, float)) and not isinstance(v, bool)}


@contextlib.contextmanager
def open_run(folder: Path, mode: str, **options: Any) -> Iterator[Any]:
    """Opens a lean run beside whatever runs there are, and finishes it in any case.

    Args:
        folder: Everything that wandb writes goes to ``<folder>/wandb``.
        mode: ``offline``, ``online`` or ``disabled``.
        options: Of ``wandb.init``; tags, name and group may be of any length.

    Yields:
        The run.
    """
    import wandb

    before = dict(os.environ)
    # wandb's process, which runs go on sharing, stays in the working folder of its first run.
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < _ROOM:
        raise DiskFullError(folder / "wandb")
    # Tables wait for a later `wandb sync` beside their run, not in the home folder; so do the logs
    # of wandb's process.
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        os.environ[name] = str(folder / "wandb")
    for name in ("name", "group"):
        if options.get(name):
            options[name] = shortened(options[name])
    tags = (shortened(tag, TAG) for tag in options.pop("tags", ()) if tag)
    known = getattr(wandb.Settings, "model_fields", {})
    run = None
    code = 1
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            dir=str(folder),
            mode=cast(Any, mode),
            reinit="create_new",
            tags=list(dict.fromkeys(tags)),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                init_timeout=_BEGIN_S,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
                **{key: cast(Any, value) for key, value in _LIMITS.items() if key in known},
            ),
            **options,
        )
        yield run
        code = 0
    finally:
        try:
            if run is not None:
                run.finish(exit_code=code)
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)


def files_artifact(name: str, kind: str, files: Mapping[str, Path], **metadata: Any) -> Any:
    """An artifact of files, which are read where they are instead of being copied.

    Args:
        name: A name as `plain_name` makes it.
        kind: Its type.
        files: Name inside of the artifact to file.
        metadata: What is known of it.

    Returns:
        The ``wandb.Artifact``; the same files always give the same digest.
    """
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata=metadata or None)
    for inside, file in files.items():
        artifact.add_file(str(file.resolve()), name=inside, policy="immutable")
    return artifact


def use(run: Any, artifact: Any) -> bool:
    """Declares an artifact of files as what a run was made from, offline too.

    ``use_artifact`` needs a server. What it does with an artifact that is not on one yet is to log
    it with the mark that the run uses it; that can be written offline, and is carried out by
    ``wandb sync``. Files that another run has logged are the same version to the server.

    Args:
        run: The run.
        artifact: What `files_artifact` made.

    Returns:
        Whether this version of wandb can.
    """
    try:
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    except (AttributeError, TypeError):
        return False
    return True


def warning(what: str, error: Exception) -> str:
    """One line that says that wandb failed, and that nothing that was measured is lost."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"wandb did not mirror {what} ({type(error).__name__}: {first}); the record stands"
