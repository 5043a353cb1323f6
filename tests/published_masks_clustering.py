"""The published clustering of spatial embeddings, one object after the other over all voxels.

The oracle of `cellulus.methods.spatial_embedding.decoding`, written from the description of the
sequential procedure (Neven et al., CVPR 2019, section 3.4; Lalit et al. 2022, arXiv 2101.10033),
with no regard to speed. Also what `benchmarks/masks_decoding.py` compares with.
"""

import numpy as np


def cluster(prediction, spacing, foreground=0.5, seed=0.9):
    """Return labels ``(*S)`` of offsets, margins and seediness ``(2 D + 1, *S)``."""
    ndim = len(prediction) // 2
    seeds = prediction[-1]
    inside = seeds > foreground
    grid = [(np.arange(n) + 0.5) * s for n, s in zip(seeds.shape, spacing, strict=True)]
    points = np.stack(np.meshgrid(*grid, indexing="ij"))[:, inside]
    points = points + prediction[:ndim, inside]
    margins, seeds = prediction[ndim : 2 * ndim, inside], seeds[inside]
    found, left = np.zeros(len(seeds), np.uint32), np.ones(len(seeds), bool)
    number = 0
    while left.any():
        best = np.where(left, seeds, -1).argmax()
        if seeds[best] < seed:
            break
        precision = np.log(2) / margins[:, best].astype(float) ** 2
        away = (points - points[:, best, None]) ** 2
        claimed = np.exp(-(away * precision[:, None]).sum(axis=0)) > 0.5
        if claimed.sum() > 0 and left[claimed].sum() > 0.5 * claimed.sum():
            number += 1
            found[claimed] = number
        left[claimed] = False
        left[best] = False
    labels = np.zeros(inside.shape, np.uint32)
    labels[inside] = found
    return labels
