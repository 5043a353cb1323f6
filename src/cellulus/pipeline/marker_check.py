"""Whether the points and foregrounds of an experiment can be learnt from: looked at beforehand.

Looks at some images, and at the middle of large ones, as training would see them: what is not
given is found. Knows nothing of how findings are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cellulus.data.normalise import estimate
from cellulus.data.points import Points, misordered
from cellulus.data.volume import Volume
from cellulus.errors import GateError, InputError
from cellulus.ops.marker_fit import count_in_background, measure_fit
from cellulus.pipeline.extents import object_width
from cellulus.pipeline.marker_findings import Finding, Looked, findings, summary
from cellulus.pipeline.marking import find_foreground, given, markers_of, role
from cellulus.pipeline.samples import canonical, common_kind, open_training

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.data.annotations import Markers
    from cellulus.data.canonical import Canonical
    from cellulus.experiment.sections import Data, Experiment
    from cellulus.methods import PointMarker
    from cellulus.pipeline.samples import Sample
    from cellulus.space import Region

Each = TypeVar("Each")
MOST = 20
"""Images that are looked at."""
_EDGE = {2: 1024, 3: 128}
"""Longest edge of what is looked at of an image [canonical voxel]."""


@dataclass(frozen=True)
class MarkerCheck:
    """What was seen.

    Attributes
    ----------
    looked
        The images that were looked at.
    images
        How many there are to learn from.
    findings
        What is odd, the hopeless first.
    """

    looked: tuple[Looked, ...]
    images: int
    findings: tuple[Finding, ...]

    @property
    def summary(self) -> str:
        """What there is, in a sentence."""
        return summary(self.looked, self.images)

    def require_hope(self) -> None:
        """Say if nothing can be learnt from these points.

        Raises
        ------
        GateError
            If a finding is hopeless; names all that are.
        """
        hopeless = [finding for finding in self.findings if finding.is_hopeless]
        if hopeless:
            raise GateError(
                "markers",
                expected="; ".join(finding.expected for finding in hopeless),
                found="; ".join(finding.found for finding in hopeless),
                remedy="; ".join(finding.remedy for finding in hopeless),
            )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, fit for JSON."""
        return {
            "images": self.images,
            "looked_at": [one.to_dict() for one in self.looked],
            "summary": self.summary,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_markers(experiment: Experiment) -> MarkerCheck:
    """Look at the points and foregrounds to learn from, before anything is learnt.

    Parameters
    ----------
    experiment
        With a method that learns from points.

    Raises
    ------
    MissingError, InputError, StorageError
        If images, points or foregrounds cannot be used; if a channel with a role is not there.
    """
    _require_roles(experiment.data)
    samples = open_training(experiment)
    data, volumes = experiment.data, [sample.volume for sample in samples]
    width = object_width(experiment.network, common_kind(volumes)[0])
    shared = estimate(volumes, data.percentiles) if data.normalise == "dataset" else None
    looked = []
    for sample in _spread(samples):
        image = canonical(sample.volume, data, width, shared)
        looked.append(_look_beforehand(experiment, sample, image))
    is_all = len(looked) == len(samples) and not any(one.is_part for one in looked)
    return _judge(looked, len(samples), sum(one.fit.markers for one in looked) if is_all else None)


def refuse_hopeless(
    experiment: Experiment,
    samples: Sequence[Sample],
    images: Sequence[Canonical],
    markers: Sequence[Markers],
) -> None:
    """Refuse points that nothing can be learnt from, as `check_markers` tells them.

    Parameters
    ----------
    experiment
        The settings.
    samples, images, markers
        To learn from, one of each per image.

    Raises
    ------
    InputError
        If there is a hopeless finding; if a channel with a role is not there.
    """
    _require_roles(experiment.data)
    everything = [*zip(samples, images, markers, strict=True)]
    looked = [_look(experiment, *one) for one in _spread(everything)]
    total = sum(len(one.middles) for one in markers)
    hopeless = [f for f in _judge(looked, len(samples), total).findings if f.is_hopeless]
    if hopeless:
        raise InputError(
            "data.train" if experiment.data.train else "data.apply",
            expected=hopeless[0].expected,
            found="; ".join(finding.found for finding in hopeless),
            remedy=f"{hopeless[0].remedy}; cellulus check says more",
        )


def _look_beforehand(experiment: Experiment, sample: Sample, image: Canonical) -> Looked:
    """Look at an image whose points and foreground are not known yet; of a large one, at a part."""
    window, data = _window(image), experiment.data
    if not _is_part(window, image):
        return _look(experiment, sample, image, markers_of(experiment, sample, image))
    points = None
    if isinstance(sample.points, str):
        positions = given(sample, data).positions
        first, stop = np.array([(along.start, along.stop) for along in window]).T
        is_inside = ((positions >= first - 0.5) & (positions < stop - 0.5)).all(axis=1)
        points = Points.of(positions[is_inside] - first)
    part = replace(
        sample,
        volume=_read(sample.volume, window),
        points=_read(sample.points, window) if isinstance(sample.points, Volume) else sample.points,
        foreground=_read(sample.foreground, window) if sample.foreground else None,
    )
    image = replace(image, volume=part.volume)
    seen = _look(experiment, part, image, markers_of(experiment, part, image, points), is_cut=True)
    return replace(seen, is_part=True)


def _look(
    experiment: Experiment,
    sample: Sample,
    image: Canonical,
    markers: Markers,
    *,
    is_cut: bool = False,
) -> Looked:
    """Compare the points of an image with its foreground and its intensities."""
    window = _window(image)
    is_part, zoom = _is_part(window, image), np.array(image.scale.zoom)
    first, stop = np.array([(along.start, along.stop) for along in window]).T
    region = tuple(
        slice(int(a), min(int(b), n))
        for a, b, n in zip(np.floor(first * zoom), np.ceil(stop * zoom), image.shape, strict=True)
    )
    start = np.array([along.start for along in region])
    is_inside = (markers.middles >= first * zoom) & (markers.middles <= stop * zoom)
    middles = markers.middles[is_inside.all(axis=1)]
    fit = measure_fit(
        middles - start, markers.read(region), markers.width, is_cut=is_cut or is_part
    )
    part = replace(image, volume=_read(image.volume, window)) if is_part else image
    if _is_led(experiment, sample):
        unseen = find_foreground(experiment, part, np.zeros((0, len(window))))
        in_background = count_in_background(middles - first * zoom, unseen)
        fit = replace(fit, in_background=in_background)
    order = None
    if isinstance(sample.points, str):
        channel = role(experiment.data.marker, experiment.data, "data.marker") or 0
        positions = np.clip(middles / zoom - 0.5 - first, 0, stop - first - 1)
        order = misordered(Points.of(positions), part.volume.read()[channel])
    origin = "found" if sample.points is None else "a table"
    if isinstance(sample.points, Volume):
        origin = "labels"
    return Looked(image.volume.name, origin, fit, order, is_part)


def _is_led(experiment: Experiment, sample: Sample) -> bool:
    """Return whether points that are given lead the search for foreground: some is at each then."""
    method: PointMarker = experiment.method  # type: ignore[assignment]
    is_found = sample.foreground is None and method.foreground == "graph_cut"
    return is_found and sample.points is not None


def _judge(looked: Sequence[Looked], images: int, markers: int | None) -> MarkerCheck:
    return MarkerCheck(tuple(looked), images, tuple(findings(looked, markers)))


def _require_roles(data: Data) -> None:
    """Refuse channels with a role that are not there, also where nobody asks for them yet."""
    role(data.marker, data, "data.marker")
    role(data.cell, data, "data.cell")


def _spread(everything: Sequence[Each]) -> list[Each]:
    """Return `MOST` at most, from the first to the last."""
    count = min(MOST, len(everything))
    return [everything[i] for i in np.linspace(0, len(everything) - 1, count).round().astype(int)]


def _window(image: Canonical) -> Region:
    """Return the part of an image that is looked at [voxel].

    Along y and x it is the same range where it can be: exchanged, points in it are still in it.
    """
    shape, edge = image.volume.shape, _EDGE[image.volume.ndim]
    sides = [max(1, min(n, int(edge / z))) for n, z in zip(shape, image.scale.zoom, strict=True)]
    starts = [(n - side) // 2 for n, side in zip(shape, sides, strict=True)]
    starts[-2:] = [min(starts[-2:])] * 2 if min(starts[-2:]) > 0 else starts[-2:]
    return tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))


def _is_part(window: Region, image: Canonical) -> bool:
    shape = image.volume.shape
    return any(along.stop - along.start < n for along, n in zip(window, shape, strict=True))


def _read(volume: Volume, window: Region) -> Volume:
    """Return a part of a volume, in memory."""
    part = volume.read(window)
    channels = tuple(range(len(part)))
    return replace(volume, array=part, axes=f"c{volume.space}", channels=channels, time=0)
