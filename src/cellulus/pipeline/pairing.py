"""Which labels belong to which image: paired in the order of their names, and alike in shape.

Opens metadata only. Knows nothing of what the labels are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.data.readers import expand, named, open_image, open_volumes
from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.volume import Volume
    from cellulus.pipeline.samples import Sample

TABLES = (".csv", ".tsv", ".txt")
"""How the name of a table of points ends, in small letters."""
LISTED = 5
"""Faults and names that a message lists at most."""


def partners(samples: Sequence[Sample], images: str, pattern: str, what: str) -> list[Volume]:
    """Open the partners of images, each at the pyramid level of its image.

    Parameters
    ----------
    samples
        The images, in the order of their names, time point by time point.
    images, pattern
        What names the images and their partners: a path or a glob.
    what
        What a partner is, for messages: ``"truth"``, ``"mask"``.

    Raises
    ------
    MissingError
        If nothing goes by the name.
    InputError
        If there are more or fewer than images, or if one has several channels; names all that do.
    StorageError
        If one cannot be read.
    """
    opened, faults = [], []
    for path in expand(pattern):
        try:
            opened += _open_labels(path)
        except InputError as error:
            faults.append(error)
    refuse(faults)
    if len(opened) != len(samples):
        raise InputError(
            pattern,
            expected=f"one {what} for each of the {len(samples)} images of {images}",
            found=str(len(opened)),
            remedy=f"images and {what}s are paired in the order of their names"
            + _lonely(samples, opened, what),
        )
    pairs = zip(samples, opened, strict=True)
    return [_at_level(volume, sample.level) for sample, volume in pairs]


def point_sources(
    samples: Sequence[Sample], images: str, pattern: str | None
) -> Sequence[str | Volume | None]:
    """Return where the points of images are: tables, or labels.

    Parameters
    ----------
    samples, images
        As for `partners`.
    pattern
        A path or a glob of tables, which are read later, or of labels; None if not given. A table
        may tell of all time points of an image.

    Raises
    ------
    CellulusError
        As `partners` does.
    """
    if not pattern:
        return [None] * len(samples)
    if not pattern.lower().endswith(TABLES):
        labels = partners(samples, images, pattern, "label image")
        refuse([f for s, v in zip(samples, labels, strict=True) if (f := misfit(s.volume, v))])
        return labels
    paths, files = named(pattern), list(dict.fromkeys(s.volume.path for s in samples))
    if len(paths) != len(files):
        raise InputError(
            pattern,
            expected=f"one table of points for each of the {len(files)} images of {images}",
            found=str(len(paths)),
            remedy="images and tables are paired in the order of their names",
        )
    table = dict(zip(files, paths, strict=True))
    return [table[sample.volume.path] for sample in samples]


def misfit(image: Volume, partner: Volume) -> InputError | None:
    """Return what to say of a partner that has another shape than its image, if it has."""
    if partner.shape == image.shape:
        return None
    return InputError(
        partner.path or partner.name,
        expected=f"the shape of {image.path or image.name}, {image.shape}",
        found=f"shape {partner.shape}",
        remedy="pair each image with labels of its own, on its grid",
    )


def refuse(faults: Sequence[InputError]) -> None:
    """Raise what is wrong with a data set, all of it at once.

    Raises
    ------
    InputError
        If there is a fault; the fault itself if there is one only.
    """
    if len(faults) == 1:
        raise faults[0]
    if faults:
        told = [f"{fault.where}: {fault.found}" for fault in faults[:LISTED]]
        more = len(faults) - LISTED
        raise InputError(
            f"{len(faults)} files",
            expected=faults[0].expected,
            found="; ".join(told) + (f"; and {more} more" if more > 0 else ""),
            remedy=faults[0].remedy,
        )


def listed(names: Sequence[object], most: int = LISTED) -> str:
    """Write names one after the other, at most so many, and how many more there are."""
    more = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {more} more" if more > 0 else "")


def _open_labels(path: str) -> list[Volume]:
    image = open_image(path)
    if image.extent("c") > 1:
        raise InputError(
            path,
            expected="labels, one number per voxel",
            found=f"{image.extent('c')} channels",
            remedy="a picture of labels in colours is none: store the numbers of the objects",
        )
    return image.volumes((), 0, ())


def _lonely(samples: Sequence[Sample], opened: Sequence[Volume], what: str) -> str:
    """Return which names occur on one side only, if names are alike on both."""
    names, others = {s.volume.name for s in samples}, {volume.name for volume in opened}
    if not names & others:
        return ""
    alone = {f"without a {what}": names - others, "without an image": others - names}
    return "".join(f"; {how}: {listed(sorted(who))}" for how, who in alone.items() if who)


def _at_level(partner: Volume, level: int) -> Volume:
    return open_volumes(partner.path, level=level)[partner.time] if level else partner
