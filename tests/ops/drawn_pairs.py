"""Small pairs of labels and truth: drawn by hand as text, and at random."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

small = npst.arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 4)
)
pairs_of_arrays = small.flatmap(
    lambda a: st.tuples(st.just(a), npst.arrays(np.uint8, a.shape, elements=st.integers(0, 4)))
)
"""Labels and truth of one shape; without background, without objects, all there is."""


def drawn(text):
    """Each letter is an object, a dot background."""
    return np.array([0 if letter == "." else ord(letter) - 96 for letter in text], np.uint8)


def rough(rng, shape, objects, noise=0.0, empty=0.3):
    """Objects around random centres, as nearest neighbours; a share of voxels is noise."""
    grid = np.indices(shape).reshape(len(shape), -1).T
    centres = rng.integers(0, shape, (objects, len(shape)))
    distance = np.linalg.norm(grid[:, None] - centres, axis=-1)
    labels = distance.argmin(1) + 1
    labels[distance.min(1) > np.quantile(distance.min(1), 1 - empty)] = 0
    stray = rng.random(labels.size) < noise
    labels[stray] = rng.integers(0, objects + 1, stray.sum())
    return labels.reshape(shape).astype(np.uint16)
