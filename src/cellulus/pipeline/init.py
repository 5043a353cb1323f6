"""Looking at images, and proposing the experiment to run on them.

Everything is read off the data: axes, voxel size, channels, how wide the objects are. What
cannot be told is left to the defaults, and said. Trains nothing and imports no torch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data import readers
from cellulus.data.readers.base import stem
from cellulus.errors import InputError
from cellulus.experiment.load import absolute
from cellulus.experiment.render import render
from cellulus.experiment.sections import (
    ApplyImage,
    Data,
    Experiment,
    Network,
    Train,
    TrainImage,
)
from cellulus.methods import ObjectCentric, PointMarker, SpatialEmbedding
from cellulus.pipeline.measure import LOOKED_AT, measure
from cellulus.pipeline.pairing import TABLES
from cellulus.pipeline.samples import open_training
from cellulus.space import Length, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.readers.base import Image
    from cellulus.experiment.positions import Key

SPREAD = 1.5
"""Images whose diameters differ by more than this factor get one each."""
SLIM = Network(features=12, head_features=24)
"""What volumes are found with on a machine without a GPU."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one image.

    Attributes
    ----------
    name
        Of the image.
    diameter
        Of a typical object, in `unit`; 0 if nothing stood out.
    unit
        ``"um"``, or ``"voxel"`` of the finest axis where the voxel size is unknown.
    """

    name: str
    diameter: float
    unit: Unit


@dataclass(frozen=True)
class Proposal:
    """An experiment for images that were looked at.

    Attributes
    ----------
    experiment
        Checked, with absolute paths.
    text
        The same, as commented TOML.
    summary
        What was seen, one line each.
    """

    experiment: Experiment
    text: str
    summary: tuple[str, ...]


def init(
    images: Sequence[str],
    *,
    masks: Sequence[str] = (),
    points: Sequence[str] = (),
    base: Path | None = None,
) -> Proposal:
    """Look at images and propose an experiment.

    Parameters
    ----------
    images
        Paths, globs, URLs, or folders of images.
    masks
        The same of what is drawn on them, one for each of `images`; then that is learnt from.
    points
        Tables or labels with a point per cell, likewise.
    base
        The folder that the text will lie in; paths are written relative to it.

    Returns
    -------
    proposal
        To learn from all of the images, and to apply to them.

    Raises
    ------
    MissingError, InputError, StorageError
        If there are no images, or one cannot be read.
    InputError
        If some are flat and some are volumes, or if masks or points do not fit the images; if both
        are given.
    """
    patterns = [pattern for image in images for pattern in _patterns(image)]
    opened = [readers.open_image(path) for pattern in patterns for path in readers.expand(pattern)]
    _check_alike(opened)
    channels, channel_note = _channels(opened)
    seen = [_look(image, channels) for image in _spread(opened)]
    diameter, diameter_note = _diameter(seen)
    summary = (*_describe(opened), channel_note, f"object diameter: {diameter_note}")
    drawn = {name: given for name, given in (("masks", masks), ("points", points)) if given}
    if len(drawn) > 1:
        raise InputError("--points", expected="masks or points to learn from", found="both")
    entries = _pairs(patterns, *next(iter(drawn.items()))) if drawn else _alone(patterns)
    data = Data(object_diameter=diameter, channels=channels, **entries)
    is_flat = len(opened[0].space) == 2
    choices = _choices(is_flat=is_flat, learnt_from="".join(drawn))
    experiment = Experiment(data=data, **choices)
    if drawn:
        open_training(experiment)  # refuses what does not fit
    notes: dict[Key, str] = {("data", "object_diameter"): f"Here {diameter_note}."}
    if not is_flat:
        notes["network", "features"] = "Here half of the default, because volumes are costly."
    if channels:
        notes["data", "channels"] = f"Here {channel_note}."
    lines = tuple(line for line in summary if line)
    header = "\n".join(["What cellulus init saw:", *lines])
    text = render(experiment, short=True, base=base, header=header, notes=notes)
    return Proposal(experiment, text, lines)


def _choices(*, is_flat: bool, learnt_from: str) -> dict[str, Any]:
    """Return the method, and what makes volumes affordable: an eighth of the work, or less."""
    if learnt_from:
        method = SpatialEmbedding() if learnt_from == "masks" else PointMarker()
        slim = {} if is_flat else {"network": SLIM, "train": Train(batch_size=2)}
        return {"method": method, **slim}
    if is_flat:
        return {}
    return {"method": ObjectCentric(passes=8), "network": SLIM, "train": Train(batch_size=4)}


def _alone(patterns: list[str]) -> dict[str, Any]:
    """Return the images as what to find objects in, which is learnt from too."""
    return {"apply": [ApplyImage(image=absolute(path, Path())) for path in _shortened(patterns)]}


def _pairs(patterns: list[str], what: str, given: Sequence[str]) -> dict[str, Any]:
    """Return the images, each with its masks or points, as what to learn from."""
    drawn = [pattern for one in given for pattern in _patterns(one)]
    if len(drawn) != len(patterns):
        raise InputError(
            f"--{what}",
            expected=f"one for each of {', '.join(patterns)}",
            found=", ".join(drawn),
            remedy="give images as a folder or a quoted glob, and these likewise",
        )
    # As they were given: a glob in their place would pair them by name.
    both = ([absolute(path, Path()) for path in side] for side in (patterns, drawn))
    pairs = zip(*both, strict=True)
    return {"train": [TrainImage(image=image, **{what: mark}) for image, mark in pairs]}


def name_of(images: Sequence[str]) -> str:
    """Return a name for a run on these images: the image's own, or that of their folder."""
    first = Path(images[0])
    if len(images) == 1 and not any(mark in images[0] for mark in "*?["):
        return stem(images[0])
    return first.absolute().parent.name or "images"


def _patterns(image: str) -> list[str]:
    """Return what is to be expanded: for a folder of images or tables, a glob per type of file."""
    path = Path(image)
    if "://" in image or not path.is_dir() or readers.accepts(image):
        return [image]
    inside = [e for e in sorted(path.iterdir()) if readers.accepts(e) or e.suffix in TABLES]
    if not inside:
        raise InputError(
            image, expected="an image, or a folder of images", found="a folder without any"
        )
    return [str(path / f"*{suffix}") for suffix in dict.fromkeys(e.suffix for e in inside)]


def _shortened(patterns: list[str]) -> list[str]:
    """Return one glob instead of many paths, if it means exactly the same images."""
    if len(patterns) < 2 or any("://" in pattern for pattern in patterns):
        return patterns
    globs = {str(Path(pattern).parent / f"*{Path(pattern).suffix}") for pattern in patterns}
    if len(globs) == 1 and sorted(readers.expand(glob := globs.pop())) == sorted(patterns):
        return [glob]
    return patterns


def _spread(images: list[Image]) -> list[Image]:
    """Return the images to measure, spread evenly over all."""
    at = np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int))
    return [images[index] for index in at]


def _check_alike(images: list[Image]) -> None:
    of = {len(image.space): image.path for image in images}
    if len(of) > 1:
        raise InputError(
            "images",
            expected="images of one kind, all flat or all volumes",
            found=f"{of[2]} with 2 axes and {of[3]} with 3",
            remedy="make an experiment for each kind",
        )


def _channels(images: list[Image]) -> tuple[tuple[int, ...], str]:
    """Return the channel to use, and why, if there is a choice."""
    several = [image for image in images if image.extent("c") > 1]
    if not several:
        return (), ""
    first = several[0]
    names = ", ".join(first.channel_names) or "without names"
    return (0,), (
        f"channel 0 of {first.extent('c')} ({names}) was taken, unseen: change data.channels "
        "if the objects are in another"
    )


def _look(image: Image, channels: tuple[int, ...]) -> Seen:
    volume = image.volumes(channels, 0, ())[0]
    return Seen(volume.name, measure(volume), volume.voxel_size.unit)


def _diameter(seen: list[Seen]) -> tuple[Length | str, str]:
    """Return the diameter to write, and what was measured, in words."""
    found = [s for s in seen if s.diameter > 0]
    if not found:
        return "auto", "unknown, nothing stands out; measured again image by image"
    if len({s.unit for s in found}) > 1:
        return "auto", "measured image by image, because only some have a voxel size"
    unit = found[0].unit
    values = [s.diameter for s in found]
    low, high = min(values), max(values)
    word = "um" if unit == "um" else "voxels"
    if high > SPREAD * low:
        return "auto", f"{low:.3g} to {high:.3g} {word}, so it is measured image by image"
    middle = float(f"{float(np.median(values)):.3g}")
    return Length(middle, unit), f"about {middle:g} {word}, as measured on {len(found)} image(s)"


def _describe(images: list[Image]) -> list[str]:
    """Return what the images are, alike ones on one line."""
    kinds = Counter(
        (image.axes, image.levels[0].array.shape, str(image.levels[0].array.dtype),
         image.levels[0].voxel_size)
        for image in images
    )  # fmt: skip
    lines = []
    for (axes, shape, dtype, size), count in kinds.most_common(5):
        extent = " x ".join(f"{n} {axis}" for axis, n in zip(axes, shape, strict=True))
        known = " x ".join(f"{v:g}" for v in size.values) + " um"
        voxel = f"voxel {known}" if size.unit == "um" else "voxel size unknown"
        lines.append(f"{count} image{'s' * (count > 1)}: {extent}, {dtype}, {voxel}")
    if len(kinds) > 5:
        others = len(images) - sum(n for _, n in kinds.most_common(5))
        lines.append(f"{others} image{'s' * (others > 1)} of other shapes")
    return lines
