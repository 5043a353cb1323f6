"""What single settings cannot know: which of them do not go together.

Runs once every setting is valid by itself, before a minute is spent on the data. Knows the
experiment alone; what only the data can tell is found out when they are opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.experiment.faults import Finding, models_in
from cellulus.methods import AnyMethod
from cellulus.methods.base import MethodSettings
from cellulus.nn import shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cellulus.experiment.sections import Experiment


def contradictions(experiment: Experiment) -> Iterator[Finding]:
    """Return every pair of settings that do not go together."""
    yield from _data(experiment)
    yield from _points(experiment)
    yield from _sizes(experiment)
    yield from _orientations(experiment)
    yield from _postprocess(experiment)


def _data(experiment: Experiment) -> Iterator[Finding]:
    data = experiment.data
    if not data.train and not data.apply:
        yield Finding(("data",), "an image, in [[data.train]] or [[data.apply]]", "no image at all")
    for number, entry in enumerate(data.train):
        if entry.ignore and not entry.masks:
            key = ("data", "train", number, "ignore")
            yield Finding(key, "masks beside it, of which it hides a part", "none")
    for number, scored in enumerate(data.apply):
        if scored.ignore and not scored.truth:
            key = ("data", "apply", number, "ignore")
            yield Finding(key, "a truth beside it, of which it hides a part", "none")


def _points(experiment: Experiment) -> Iterator[Finding]:
    data, method = experiment.data, experiment.method
    known = data.channels or (0,)
    for what, channel in (("marker", data.marker), ("cell", data.cell)):
        if channel != "" and channel not in known:
            told = ", ".join(map(repr, known))
            yield Finding(("data", what), f'one of data.channels, {told}, or ""', repr(channel))
    if method.needs == "points":
        return
    able = (m for m in models_in(AnyMethod) if issubclass(m, MethodSettings))
    names = (m.model_fields["name"].default for m in able if m.needs == "points")
    expected = f"method.name = {' or '.join(map(repr, names))}, which makes use of it"
    for kind, entries in (("train", data.train), ("apply", data.apply)):
        for number, entry in enumerate(entries):
            for what in ("points", "foreground"):
                if getattr(entry, what, None):
                    yield Finding(("data", kind, number, what), expected, method.name)


def _sizes(experiment: Experiment) -> Iterator[Finding]:
    depth, crop = experiment.network.depth, experiment.train.crop
    need = shapes.view(depth)
    if crop != "auto" and crop < need:
        yield Finding(
            ("train", "crop"),
            f'at least {need}, the view of a network of depth {depth}, or "auto"',
            str(crop),
        )


def _orientations(experiment: Experiment) -> Iterator[Finding]:
    method = experiment.method
    if experiment.predict.tta and not method.has_tta:
        able = (m for m in models_in(AnyMethod) if issubclass(m, MethodSettings) and m.has_tta)
        names = "".join(f' or method.name = "{m.model_fields["name"].default}"' for m in able)
        yield Finding(("predict", "tta"), f"false{names}", f"true with {method.name}")


def _postprocess(experiment: Experiment) -> Iterator[Finding]:
    smallest, largest = experiment.postprocess.min_size, experiment.postprocess.max_size
    if largest and largest < smallest:
        yield Finding(
            ("postprocess", "max_size"),
            f"at least postprocess.min_size, {smallest:g}, or 0 for no limit",
            f"{largest:g}",
        )
