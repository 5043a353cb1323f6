"""The images of an experiment, opened: what to learn from, what to apply to, and at which scale.

Opens metadata; reads intensities only to measure diameters and percentiles. Knows nothing of
networks or of what is done with the images.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cellulus.data.normalise import Normalisation, estimate
from cellulus.data.readers import expand, levels, open_volumes
from cellulus.errors import InputError
from cellulus.experiment.sections import TrainImage
from cellulus.pipeline.measure import measure
from cellulus.pipeline.pairing import misfit, partners, point_sources, refuse
from cellulus.space import Length, Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.canonical import Canonical
    from cellulus.data.masks import Masks
    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import ApplyImage, Data, Experiment


@dataclass(frozen=True)
class Sample:
    """An image to find objects in, or to learn from.

    Attributes
    ----------
    volume
        The image; its name is unique among the samples.
    truth
        The labels to score against, if there are any.
    ignore
        Where it is not 0 nothing is scored, if there is such an image.
    level
        The pyramid level that `volume` is.
    masks
        What is annotated, if that is learnt from.
    points
        A table or labels with a point per cell, if there is one.
    foreground
        Not 0 where there may be cells, if that is given.
    """

    volume: Volume
    truth: Volume | None = None
    ignore: Volume | None = None
    level: int = 0
    masks: Masks | None = None
    points: str | Volume | None = None
    foreground: Volume | None = None


def open_samples(experiment: Experiment) -> list[Sample]:
    """Open what to find objects in: ``data.apply``, or ``data.train`` where that is empty.

    Raises
    ------
    MissingError, InputError, StorageError
        If an image cannot be opened, differs in kind from the others, or has no partner among
        the truths.
    """
    data = experiment.data
    samples = []
    for entry in data.apply:
        found = _marked(_open(data, entry.image), entry)
        samples += _scored(found, entry) if entry.truth else found
    for image in [] if data.apply else data.train:
        samples += _marked(_open(data, image.image), image)
    return _alike(samples)


def open_training(experiment: Experiment) -> list[Sample]:
    """Open what to learn from: ``data.train``, or ``data.apply`` where that is empty.

    Masks are opened where the method needs them, and then every image has some; so are points and
    foregrounds, which need not be given.

    Raises
    ------
    MissingError, InputError, StorageError
        If an image cannot be opened, or differs in kind from the others; if masks are needed and
        are missing, in colours, or of another shape than their image.
    """
    data, method = experiment.data, experiment.method
    if method.needs == "points":
        found = [_marked(_open(data, entry.image), entry) for entry in data.train or data.apply]
        return _alike([sample for samples in found for sample in samples])
    if method.needs != "masks":
        return _alike([s for entry in data.train or data.apply for s in _open(data, entry.image)])
    bare = [entry.image for entry in data.train if not entry.masks]
    if bare or not data.train:
        raise InputError(
            "data.train",
            expected=f'masks = "..." beside each image, from which {method.name} learns',
            found=f"none for {', '.join(bare)}" if bare else "no image to learn from",
            remedy='give the labels of each image, or choose method.name = "object_centric"',
        )
    return _alike([sample for entry in data.train for sample in _annotated(data, entry)])


def common_kind(volumes: Sequence[Volume]) -> tuple[int, int]:
    """Return the number of spatial axes and of channels that all volumes share.

    Raises
    ------
    InputError
        If they differ, or if there is no volume.
    """
    kinds = {(volume.ndim, len(volume.channels)): volume for volume in volumes}
    if len(kinds) != 1:
        found = ", ".join(f"{v.name}: {n} axes, {c} channels" for (n, c), v in kinds.items())
        raise InputError(
            "data",
            expected="images with the same number of axes and channels",
            found=found or "no image",
            remedy="make an experiment for each kind",
        )
    return next(iter(kinds))


def diameter_of(volume: Volume, data: Data) -> Length:
    """Return the diameter of a typical object: as set, or as measured on this image.

    Raises
    ------
    InputError
        If it is to be measured and nothing stands out.
    """
    if data.object_diameter != "auto":
        return data.object_diameter
    value = measure(volume)
    if value <= 0:
        raise InputError(
            volume.path or volume.name,
            expected="objects that stand out, whose diameter can be measured",
            found="none",
            remedy="set data.object_diameter, or leave this image out",
        )
    return Length(value, volume.voxel_size.unit)


def canonical(
    volume: Volume, data: Data, object_voxels: float, normalisation: Normalisation | None = None
) -> Canonical:
    """Return the image as the network sees it.

    Parameters
    ----------
    volume
        The image.
    data
        How wide its objects are, and which percentiles count.
    object_voxels
        Width of an object on the canonical grid [voxel].
    normalisation
        Of the whole data set; by default the image's own, as `estimate` finds it.
    """
    from cellulus.data.canonical import Canonical  # costly to import, and no plan needs it

    if normalisation is None:
        normalisation = estimate([volume], data.percentiles)
    scale = Scale.of(diameter_of(volume, data), volume.voxel_size, object_voxels)
    return Canonical(volume, scale, normalisation)


def fingerprint(volume: Volume) -> str:
    """Return a short hash of what the volume is and of a part from its middle."""
    digest = hashlib.sha256(f"{volume.shape} {volume.dtype} {volume.voxel_size}".encode())
    middle = tuple(slice(max(0, n // 2 - 32), n // 2 + 32) for n in volume.shape)
    digest.update(volume.read(middle).tobytes())
    return digest.hexdigest()[:16]


def _open(data: Data, pattern: str) -> list[Sample]:
    samples = []
    for path in expand(pattern):
        level = _coarsest_level(path, data) if data.level == "auto" else data.level
        opened = open_volumes(path, channels=data.channels, level=level, voxel_size=data.voxel_size)
        samples += [Sample(volume, level=level) for volume in opened]
    return samples


def _coarsest_level(path: str, data: Data) -> int:
    """Return the coarsest level whose objects are wide enough; 0 if their width in um is unknown.

    A diameter in voxels is one in voxels of the level that is read, so it chooses none.
    """
    diameter = data.object_diameter
    if diameter == "auto" or diameter.unit == "voxel":
        return 0
    enough = 0
    for index in range(len(levels(path))):
        # Opened, because a voxel size that is set overrides what the file says.
        volume = open_volumes(
            path, channels=data.channels, level=index, voxel_size=data.voxel_size
        )[0]
        if min(diameter.in_voxels(volume.voxel_size)) < FEWEST_VOXELS:
            break
        enough = index
    return enough


FEWEST_VOXELS = 10.0
"""An object must stay this wide along each axis on the level that "auto" takes [voxel]."""


def _scored(found: list[Sample], entry: ApplyImage) -> list[Sample]:
    """Return the images that an entry names, with their truths."""
    truths = _partners(found, entry.image, entry.truth, "truth")
    ignored = _partners(found, entry.image, entry.ignore, "ignore image")
    _refuse_misfits(found, ignored)  # a truth that does not fit is refused where it is scored
    return [
        replace(sample, truth=truth, ignore=ignore)
        for sample, truth, ignore in zip(found, truths, ignored, strict=True)
    ]


def _marked(found: list[Sample], entry: TrainImage | ApplyImage) -> list[Sample]:
    """Return the images that an entry names, with their points and foregrounds if given."""
    rough = entry.foreground if isinstance(entry, TrainImage) else None
    points = point_sources(found, entry.image, entry.points)
    foregrounds = _partners(found, entry.image, rough, "foreground")
    _refuse_misfits(found, foregrounds)
    return [
        replace(sample, points=source, foreground=foreground)
        for sample, source, foreground in zip(found, points, foregrounds, strict=True)
    ]


def _annotated(data: Data, entry: TrainImage) -> list[Sample]:
    """Return the images that an entry names, with their masks."""
    from cellulus.data.masks import Masks  # costly to import, and not always needed

    found = _open(data, entry.image)
    drawn = _partners(found, entry.image, entry.masks, "mask")
    ignored = _partners(found, entry.image, entry.ignore, "ignore image")
    _refuse_misfits([*found, *found], [*drawn, *ignored])
    return [
        replace(sample, masks=Masks(labels, ignore, data.unknown))
        for sample, labels, ignore in zip(found, drawn, ignored, strict=True)
        if labels
    ]


def _partners(
    found: list[Sample], images: str, pattern: str | None, what: str
) -> Sequence[Volume | None]:
    return partners(found, images, pattern, what) if pattern else [None] * len(found)


def _refuse_misfits(found: list[Sample], partners: Sequence[Volume | None]) -> None:
    """Refuse partners of another shape than their image, all at once."""
    pairs = [(s.volume, partner) for s, partner in zip(found, partners, strict=True) if partner]
    refuse([fault for pair in pairs if (fault := misfit(*pair))])


def _alike(samples: list[Sample]) -> list[Sample]:
    """Return images of one kind, named."""
    named = _named([sample.volume for sample in samples])
    common_kind(named)
    return [replace(s, volume=volume) for s, volume in zip(samples, named, strict=True)]


def _named(volumes: list[Volume]) -> list[Volume]:
    """Tell volumes of the same name apart by the folder they lie in."""
    counts = Counter(volume.name for volume in volumes)
    names = [
        f"{Path(v.path).parent.name}_{v.name}" if counts[v.name] > 1 else v.name for v in volumes
    ]
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise InputError(
            "data",
            expected="images whose names differ, for results of the same names",
            found=f"several times {', '.join(twins[:5])}",
            remedy="name each image once, and rename what lies in folders of the same name",
        )
    return [replace(v, name=name) for v, name in zip(volumes, names, strict=True)]
