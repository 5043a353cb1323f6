"""What there is to learn from in the masks of a data set, and what is odd about them.

Reads all masks once, block by block. Knows nothing of methods or of how crops are chosen.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from cellulus.data.annotations import Annotation
from cellulus.data.masks import survey
from cellulus.errors import InputError
from cellulus.nn import shapes
from cellulus.pipeline.extents import crop_extent
from cellulus.pipeline.pairing import listed, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellulus.data.annotations import Kind
    from cellulus.data.canonical import Canonical
    from cellulus.data.masks import Masks, Survey
    from cellulus.experiment.sections import Experiment

_log = logging.getLogger(__name__)


def annotate(
    experiment: Experiment, images: Sequence[Canonical], masks: Sequence[Masks], centre: Kind
) -> list[Annotation]:
    """Return the objects of images on the canonical grid, and say what is odd about them.

    Said are objects in several pieces, objects wider than a crop, images of which every object is
    ignored or nothing is annotated. An image without objects is background, and nothing to say.

    Parameters
    ----------
    experiment
        How large crops are.
    images, masks
        To learn from, and what is drawn on each.
    centre
        What stands for an object.

    Raises
    ------
    InputError
        If masks hold no ids; names all that do not. If no image has an object to learn from.
    StorageError
        If masks cannot be read.
    """
    found, faults = [], []
    for mask in masks:
        try:
            found.append(survey(mask))
        except InputError as error:
            faults.append(error)
    refuse(faults)
    _report({image.volume.name: seen for image, seen in zip(images, found, strict=True)})
    if not any(seen.objects.ids.size for seen in found):
        raise InputError(
            "data.train",
            expected="masks with at least one object that is not ignored",
            found="none: every object is ignored"
            if any(seen.is_hidden for seen in found)
            else "background alone",
            remedy="check masks, ignore, and data.ignore_label",
        )
    annotations = [
        Annotation(mask, seen.objects, image.scale, centre)
        for image, mask, seen in zip(images, masks, found, strict=True)
    ]
    _report_large(experiment, images, annotations)
    return annotations


def _report(found: Mapping[str, Survey]) -> None:
    """Say what is odd about the objects, for all images together."""
    hidden = [name for name, seen in found.items() if seen.is_hidden]
    blank = [n for n, seen in found.items() if seen.annotated == 0 and not seen.is_hidden]
    scattered = {name: seen.scattered for name, seen in found.items() if seen.scattered.size}
    if hidden:
        _log.warning("every object is ignored in %s", listed(hidden))
    if blank:
        _log.warning("nothing is annotated, and learnt, in %s", listed(blank))
    if scattered:
        _log.warning(
            "%d of %d objects lie in several pieces, and each is learnt as one: %s",
            sum(ids.size for ids in scattered.values()),
            sum(seen.objects.ids.size for seen in found.values()),
            listed([f"{name} ({listed(ids.tolist())})" for name, ids in scattered.items()]),
        )


def _report_large(
    experiment: Experiment, images: Sequence[Canonical], annotations: Sequence[Annotation]
) -> None:
    """Say which images have objects wider than what a crop answers for, and what would do."""
    depth = experiment.network.depth
    crop = crop_extent(experiment, len(annotations[0].shape))[0]
    large, widest = {}, 0.0
    for image, annotation in zip(images, annotations, strict=True):
        is_large = (annotation.extents > shapes.output_size(crop, depth)).any(axis=1)
        if is_large.any():
            large[image.volume.name] = int(is_large.sum())
            widest = max(widest, float(annotation.extents.max()))
    if large:
        _log.warning(
            "%d objects are wider than the %d voxels that a crop of %d answers for, in %s; "
            "train.crop = %d would hold them",
            sum(large.values()),
            shapes.output_size(crop, depth),
            crop,
            listed(list(large)),
            shapes.legal_size(math.ceil(widest) + 2 * shapes.halo(depth), depth),
        )
