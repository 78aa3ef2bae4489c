"""Features of images in the plane, for a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pnnbench.errors import UserError

PERPLEXITY = 30.0
"""Neighbours that a point looks at; of fewer points a third."""
LEAST = 10
"""Points that an embedding needs."""


def embedded(parts: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """Embeds features of several sets together by t-SNE, so that their places can be compared.

    The start is the first two principal components; the same features give the same places.
    Distances far apart and densities mean nothing: numbers stand beside the picture.

    Source: van der Maaten and Hinton, JMLR 9 (2008), as in scikit-learn.

    Args:
        parts: Features (N_i, d) of each set.
        seed: Seed of the embedding.

    Returns:
        Places (N_i, 2) of each set, float32.

    Raises:
        UserError: If there are fewer than `LEAST` points, or a feature is not finite.
    """
    from sklearn.manifold import TSNE

    every = torch.cat([part.detach().float().cpu() for part in parts])
    if len(every) < LEAST:
        raise UserError(f"{len(every)} points to embed", allowed=f"at least {LEAST}")
    if not bool(torch.isfinite(every).all()):
        raise UserError("features that are not finite have no place in a plane")
    made = TSNE(
        perplexity=min(PERPLEXITY, (len(every) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=seed,
    ).fit_transform(every.numpy())
    return list(torch.from_numpy(made).split([len(part) for part in parts]))
