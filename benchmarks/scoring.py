"""How fast labels are scored: overlap table, matching at six thresholds and SEG, per image.

The peak is what this machine copies in the same run: scoring reads two label arrays once, so it
can be no faster than memory delivers them.
"""

from __future__ import annotations

import time

import numpy as np

from cellulus.ops.scores import evaluate_labels, pool

IOU = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
rng = np.random.default_rng(0)


def scattered(shape, pitch, radius):
    """Return labels of jittered balls on a grid of `pitch`, in random order of ids."""
    cells = [n // pitch for n in shape]
    labels = np.zeros(shape, np.uint32)
    ids = rng.permutation(np.prod(cells)) + 1
    ball = np.indices((2 * radius + 1,) * len(shape)) - radius
    inside = np.argwhere((ball**2).sum(0) <= radius**2)
    for i, cell in zip(ids, np.ndindex(*cells), strict=True):
        corner = np.array(cell) * pitch + rng.integers(0, pitch - 2 * radius, len(shape))
        labels[tuple((inside + corner).T)] = i
    return labels


def copying_speed(bytes_):
    """Return how many bytes per second this machine reads while copying."""
    source, target = np.ones(bytes_, np.uint8), np.empty(bytes_, np.uint8)
    np.copyto(target, source)
    start = time.perf_counter()
    for _ in range(10):
        np.copyto(target, source)
    return 10 * bytes_ / (time.perf_counter() - start)


def main():
    """Print the table."""
    few = [scattered((512, 512), 50, 20) for _ in range(10)]
    flat = [(few[i % 10], np.roll(few[i % 10], i % 7, axis=0)) for i in range(500)]
    deep = scattered((210, 220, 220), 10, 4)
    evaluate_labels(flat[0][0], flat[0][1], IOU)  # compile
    peak = copying_speed(2**28)
    print(f"memory read while copying: {peak / 1e9:.1f} GB/s")
    print(f"{'set':<42}{'objects':>9}{'Mpx/s':>9}{'of peak':>9}")
    for name, pairs in {
        "500 images of 512 x 512": flat,
        "one volume of 210 x 220 x 220": [(deep, np.roll(deep, 1, axis=1))],
    }.items():
        start = time.perf_counter()
        scores = pool([evaluate_labels(*pair, IOU) for pair in pairs]).pooled
        rate = sum(labels.size for labels, _ in pairs) / (time.perf_counter() - start)
        share = rate * 2 * pairs[0][0].itemsize / peak
        print(f"{name:<42}{scores.n_true:>9}{rate / 1e6:>9.0f}{share:>9.0%}")


if __name__ == "__main__":
    main()
