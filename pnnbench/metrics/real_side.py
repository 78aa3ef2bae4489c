"""Features of real images, computed once for each set and extractor."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pnnbench.metrics.extractors import Extractor, images_8bit

#: Sets kept in memory.
KEPT = 4
_MEMORY: OrderedDict[str, Tensor] = OrderedDict()


def cache_folder() -> Path:
    """Where features are kept: ``features`` in ``PNNBENCH_CACHE`` or ``~/.cache/pnnbench``."""
    named = os.environ.get("PNNBENCH_CACHE", "")
    root = Path(named).expanduser() if named else Path.home() / ".cache" / "pnnbench"
    return root / "features"


def content(images: Tensor) -> str:
    """Digest of images (N, C, H, W) as 8-bit values, with their shape."""
    stored = images_8bit(images).cpu().contiguous()
    digest = hashlib.sha256(repr(tuple(stored.shape)).encode())
    digest.update(stored.numpy().data)
    return digest.hexdigest()


def real_features(images: Tensor, extractor: Extractor) -> Tensor:
    """Features of real images, from memory or disk where they have been computed before.

    Args:
        images: uint8, or floats in [0, 1] (N, C, H, W).
        extractor: The extractor; its name carries the hash of its weights.

    Returns:
        float32 (N, d). A folder that cannot be written to costs the time, nothing else.
    """
    place = next(extractor.parameters()).device.type  # the last bits follow it
    key = f"{content(images)[:32]}-{extractor.get_name()}" + ("" if place == "cpu" else f"-{place}")
    if key in _MEMORY:
        _MEMORY.move_to_end(key)
        return _MEMORY[key]
    path = cache_folder() / f"{key}.safetensors"
    found = _read(path, len(images), extractor.size)
    if found is None:
        found = extractor.features(images)
        _write(path, found)
    _MEMORY[key] = found
    while len(_MEMORY) > KEPT:
        _MEMORY.popitem(last=False)
    return found


def _read(path: Path, count: int, size: int) -> Tensor | None:
    try:
        found = load_file(path)["features"]
    except (OSError, SafetensorError, KeyError):
        return None
    return found if found.shape == (count, size) else None


def _write(path: Path, features: Tensor) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".features-") as folder:
            arriving = Path(folder) / path.name
            save_file({"features": features.contiguous()}, arriving)
            arriving.replace(path)
    except OSError:
        return
