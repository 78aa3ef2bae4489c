"""Features of real images, computed once for each set and extractor."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pnnbench.metrics.extractors import Extractor, images_8bit

#: Sets kept in memory.
KEPT = 4
#: Key of a kept file under which the digest of its features stands.
DIGEST = "sha256"
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


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.cpu().contiguous().numpy().data).hexdigest()


def _read(path: Path, count: int, size: int) -> Tensor | None:
    """What was kept; None where it is not there, or not what was written."""
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get(DIGEST)
            found: Tensor = file.get_tensor("features")
    except (OSError, SafetensorError):
        return None
    fits = found.shape == (count, size) and found.dtype == torch.float32
    whole = fits and told == _digest(found) and bool(found.isfinite().all())
    return found if whole else None


def _write(path: Path, features: Tensor) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".features-") as folder:
            arriving = Path(folder) / path.name
            kept = {"features": features.contiguous()}
            save_file(kept, arriving, metadata={DIGEST: _digest(features)})
            arriving.replace(path)
    except OSError:
        return
