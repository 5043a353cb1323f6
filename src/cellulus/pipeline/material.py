"""What a training learns from: images on the canonical grid, annotated if the method needs it.

Opens, normalises and scales; says which images, or which end of the only one, are kept aside.
Knows nothing of networks or of how much is learnt.
"""

from __future__ import annotations

import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from cellulus import __version__
from cellulus.data.annotations import Markers
from cellulus.data.augment import Augmentation
from cellulus.data.crops import Crops, Part
from cellulus.data.normalise import estimate
from cellulus.nn import shapes
from cellulus.pipeline.cap import fit_training
from cellulus.pipeline.extents import crop_extent, object_width
from cellulus.pipeline.marker_check import refuse_hopeless
from cellulus.pipeline.marking import markers_of
from cellulus.pipeline.model import Card
from cellulus.pipeline.samples import canonical, common_kind, fingerprint, open_training
from cellulus.pipeline.supervision import annotate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.canonical import Canonical
    from cellulus.experiment.sections import Experiment

_log = logging.getLogger(__name__)


def open_parts(experiment: Experiment) -> list[Part]:
    """Open, normalise, scale and annotate the images to learn from, each as one part.

    Raises
    ------
    MissingError, InputError, StorageError
        If an image, its masks or its points cannot be used; if points are hopeless.
    """
    data = experiment.data
    samples = open_training(experiment)
    volumes = [sample.volume for sample in samples]
    ndim, inputs = common_kind(volumes)
    fit_training(experiment, ndim, inputs)  # before anything is read, if it has to be refused
    shared = estimate(volumes, data.percentiles) if data.normalise == "dataset" else None
    width = object_width(experiment.network, ndim)
    images = [canonical(v, data, width, shared) for v in volumes]
    parts = [Part(image, tuple(slice(0, n) for n in image.shape)) for image in images]
    if experiment.method.needs == "points":
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # filters and cuts leave Python alone
            marked = list(pool.map(partial(markers_of, experiment), samples, images))
        refuse_hopeless(experiment, samples, images, marked)
        return [replace(p, annotation=a) for p, a in zip(parts, marked, strict=True)]
    masks = [sample.masks for sample in samples if sample.masks is not None]
    if not masks:
        return parts
    annotations = annotate(experiment, images, masks, experiment.method.centres())
    return [replace(p, annotation=a) for p, a in zip(parts, annotations, strict=True)]


def fingerprints(parts: Sequence[Part]) -> dict[str, str]:
    """Return short hashes of images, and of what is annotated in them, by name."""
    found = {}
    for part in parts:
        name = part.image.volume.name
        found[name] = fingerprint(part.image.volume)
        if isinstance(part.annotation, Markers):
            places = part.annotation.middles.tobytes()
            found[f"{name} points"] = hashlib.sha256(places).hexdigest()[:16]
            found[f"{name} foreground"] = fingerprint(part.annotation.foreground.labels)
        elif part.annotation is not None:
            masks = part.annotation.masks
            found[f"{name} masks"] = fingerprint(masks.labels)
            if masks.ignore is not None:
                found[f"{name} ignore"] = fingerprint(masks.ignore)
    return found


def card_of(experiment: Experiment, images: Sequence[Canonical]) -> Card:
    """Describe the network that is to learn from images."""
    data, network, first = experiment.data, experiment.network, images[0]
    width = object_width(network, first.volume.ndim)
    is_shared = data.normalise == "dataset"
    return Card(
        method=experiment.method,
        # Written out: a model does not depend on what "auto" comes to mean.
        network=network.model_copy(update={"object_voxels": width}),
        ndim=first.volume.ndim,
        inputs=len(first.volume.channels),
        outputs=experiment.method.outputs(first.volume.ndim),
        percentiles=data.percentiles,
        low=first.normalisation.low if is_shared else (),
        high=first.normalisation.high if is_shared else (),
        provenance={
            "cellulus": __version__,
            "torch": torch.__version__,
            "seed": experiment.seed,
            "images": {
                i.volume.name: {
                    "zoom": i.scale.zoom,
                    "low": i.normalisation.low,
                    "high": i.normalisation.high,
                }
                for i in images
            },
        },
    )


def split(experiment: Experiment, parts: Sequence[Part]) -> tuple[Crops, Crops]:
    """Return where crops are drawn from to learn, and to validate.

    Whole images are kept aside; of a single image one end of its longest axis, if it is long
    enough for that, and else nothing: then the validation loss is one on training images, which
    is said.
    """
    settings, seed = experiment.train, experiment.seed
    images = [part.image for part in parts]
    size = crop_extent(experiment, images[0].volume.ndim)
    learnt, kept = list(parts), list[Part]()
    if settings.validation > 0 and len(parts) > 1:
        count = min(max(1, round(settings.validation * len(parts))), len(parts) - 1)
        order = np.random.default_rng(seed).permutation(len(parts))
        kept = [parts[i] for i in sorted(order[:count])]
        learnt = [parts[i] for i in sorted(order[count:])]
    elif settings.validation > 0:
        learnt, kept = _halves(parts[0], size, settings.validation)
    if not kept:
        _log.warning("no image is kept aside: the validation loss is one on training images")
    augmentation = Augmentation(settings.elastic, settings.intensity, _turns(images))
    # The network answers for less than it sees: crops reach out, so that it learns the border too.
    margin = shapes.halo(experiment.network.depth)
    return (
        Crops(learnt, size, seed, augmentation, margin),
        Crops(kept or learnt, size, seed + 1, margin=margin),
    )


def _halves(part: Part, size: tuple[int, ...], share: float) -> tuple[list[Part], list[Part]]:
    axis = int(np.argmax(part.image.shape))
    n = part.image.shape[axis]
    # Both ends hold a crop at least, so that none reaches over into the other.
    aside = min(max(size[axis], round(share * n)), n - size[axis])
    if n < 3 * size[axis]:
        return [part], []
    low, high = list(part.region), list(part.region)
    low[axis], high[axis] = slice(0, n - aside), slice(n - aside, n)
    return [replace(part, region=tuple(low))], [replace(part, region=tuple(high))]


def _turns(images: Sequence[Canonical]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of axes along which the microscope samples every image alike."""
    sizes = np.array([image.volume.voxel_size.values for image in images])
    pairs = [(a, b) for a in range(sizes.shape[1]) for b in range(a)]
    alike = [np.abs(sizes[:, a] / sizes[:, b] - 1).max() < 0.01 for a, b in pairs]
    return tuple(pair for pair, is_alike in zip(pairs, alike, strict=True) if is_alike)
