"""Writing OME-Zarr: a pyramid grows out of sight and appears when it is complete.

Whoever fills the finest level writes whole shards (`Pending.shards`), several at a time if they
like; the coarser levels and, last of all, the metadata follow in `Pending.publish`. Where an image
grows and how it appears, on a disk or in a store, is left to `cellulus.data.places`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from cellulus.data import pyramid
from cellulus.data.addresses import Address, follow, inside, is_array
from cellulus.data.arrays import (
    OUTCOME,
    Spec,
    create_array,
    existing_array,
    failures,
    open_array,
    ranges_of,
)  # fmt: skip
from cellulus.data.label_groups import label_spec, labels_within, list_label
from cellulus.data.ngff import ZARR_FORMAT, render
from cellulus.data.places import Place, may_go, place_of
from cellulus.errors import ExistsError, StorageError
from cellulus.progress import Silent

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from cellulus.progress import Progress
    from cellulus.space import Region

__all__ = ["Pending", "Spec", "create", "create_labels"]


@dataclass
class Pending:
    """An image or label group that is being written.

    Attributes
    ----------
    place
        Where it grows and will be.
    spec
        What it is.
    array
        The finest level, to be filled.
    complete
        Whether it was finished by an earlier run (only with ``resume``); `array` is then
        read-only and `publish` does nothing.
    """

    place: Place
    spec: Spec
    array: zarr.Array[Any]
    complete: bool = False
    _overwrite: bool = False
    _listed_in: Address | None = None

    @property
    def path(self) -> Address:
        """Where people will find it."""
        return self.place.shown

    @property
    def temporary(self) -> Path:
        """What leads to it on the disk until then; the finest level is the array ``0`` in it.

        There is none for what is written to a URL without a name on the disk.
        """
        return Path(self.place.growing)

    @property
    def shards(self) -> tuple[int, ...]:
        """Extent of a shard of the finest level, the smallest piece to write at once [voxel]."""
        return tuple(self.array.shards or self.array.chunks)

    def write(self, region: Region, data: NDArray[Any]) -> None:
        """Write a part of the finest level; whole shards, unless nobody else writes.

        Raises
        ------
        StorageError
            If the disk or the store is full or refuses.
        """
        with failures(self.place.final):
            self.array[region] = data

    def build(self, progress: Progress | None = None) -> None:
        """Make the coarser levels.

        Raises
        ------
        StorageError
            If the disk or the store is full or refuses.
        """
        grids, made, listener = self.spec.grids, [self.array], progress or Silent()
        with failures(self.place.final):
            for index in range(1, len(grids)):
                level = create_array(self.place.growing, str(index), self.spec, grids[index].shape)
                listener.start(
                    f"level {index} of {self._name}",
                    pyramid.count(level.shape, level.shards or level.chunks),
                )
                source, ratios = pyramid.predecessor(grids, index)
                pyramid.fill(made[source], level, ratios, self.spec.kind == "image", listener)
                listener.finish()
                made.append(level)

    def start_level(self, index: int) -> zarr.Array[Any]:
        """Return a coarser level, made if it is not there, for whoever fills levels themselves.

        Raises
        ------
        StorageError
            If the disk or the store is full or refuses.
        """
        address = inside(self.place.growing, str(index))
        with failures(self.place.final):
            if is_array(address):
                return open_array(address, "r+")
            shape = self.spec.grids[index].shape
            return create_array(self.place.growing, str(index), self.spec, shape)

    def start_labels(
        self, name: str, dtype: DTypeLike = np.uint32, attributes: dict[str, Any] | None = None
    ) -> Pending:
        """Begin to write labels that are to appear together with this image.

        Parameters and errors are those of `create_labels`.
        """
        spec = labels_within(self.spec, np.dtype(dtype), attributes or {})
        parent = inside(self.place.growing, "labels")
        return replace(create(inside(parent, name), spec), _listed_in=parent)

    def publish(
        self, progress: Progress | None = None, *, notes: dict[str, Any] | None = None
    ) -> Address:
        """Make levels and metadata, and let it appear; an old one goes only then, if it can wait.

        Parameters
        ----------
        progress
            One unit per shard of a level.
        notes
            What came out of making it, if the levels are filled already; stored with the
            attributes under ``outcome``.

        Raises
        ------
        StorageError
            If the disk or the store is full or refuses.
        """
        if self.complete:
            return self.path
        if notes is None:
            self.build(progress)
        with failures(self.place.final):
            self._describe({} if notes is None else {OUTCOME: notes})
            self.place.appear(replace=self._overwrite)
            if self._listed_in is not None:
                list_label(self._listed_in, self._name, self.spec.ngff)
        self.complete = True
        return self.path

    def discard(self) -> None:
        """Remove what was written so far."""
        if not self.complete:
            self.place.discard()

    @property
    def _name(self) -> str:
        return str(self.path).rpartition("/")[2]

    def _describe(self, notes: dict[str, Any]) -> None:
        """Write the metadata, at once: with them it is an image."""
        growing = self.place.growing
        coarsest = open_array(inside(growing, str(len(self.spec.grids) - 1)), "r")
        description = self.spec.description(self._name, ranges_of(self.spec, coarsest))
        attributes = {"cellulus": {**self.spec.attributes, **notes}}
        group = zarr.open_group(follow(growing), mode="r+")
        group.attrs.update(attributes | render(description, self.spec.ngff))


def create(
    target: Address, spec: Spec, *, overwrite: bool = False, resume: bool = False, store: str = ""
) -> Pending:
    """Begin to write an image or a label group of its own.

    Parameters
    ----------
    target
        Path or URL of the zarr group to be.
    spec
        Shape, type, axes and all that is known beforehand.
    overwrite
        Replace what is there: once the new one is complete on a disk, at once in a store.
    resume
        Go on with what an interrupted run left, or return what a finished one made.
    store
        URL that the data go to instead; `target` becomes a link to it.

    Raises
    ------
    ExistsError
        If something is there and neither was asked for, or if it is not OME-Zarr.
    InputError
        If what is there to be resumed is something else than `spec`.
    MissingError
        If a package is missing that gives access to the store.
    StorageError
        If the disk or the store is full or refuses.
    """
    place = place_of(target, store)
    obstacles = place.obstacles()
    if obstacles and resume and not overwrite:
        done = existing_array(place.final, place.shown, spec, "r")
        return Pending(place, spec, done, complete=True)
    for obstacle in obstacles:
        _refuse(obstacle, overwrite)
    growing = place.growing
    if resume and place.is_begun():
        array = existing_array(place.final, growing, spec, "r+")
        return Pending(place, spec, array, _overwrite=overwrite)
    try:
        with failures(place.final):
            # What an interrupted run left was never finished, and nobody asked to go on with it.
            place.clear()
            zarr.create_group(
                follow(growing), zarr_format=ZARR_FORMAT[spec.ngff], overwrite=True,
                attributes={"cellulus": spec.attributes},
            )  # fmt: skip
            array = create_array(growing, "0", spec, spec.shape)
    except StorageError:
        place.discard()
        raise
    return Pending(place, spec, array, _overwrite=overwrite)


def create_labels(
    image: Address,
    name: str,
    *,
    dtype: DTypeLike = np.uint32,
    attributes: dict[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Pending:
    """Begin to write labels inside an image's own ``labels`` group.

    They get the image's axes (but channels), levels, voxel sizes and version.

    Parameters
    ----------
    image
        Path or URL of an OME-Zarr image.
    name
        Of the label group.
    dtype
        uint32, or uint64 where that is too small.
    attributes
        Stored under the key ``cellulus``.
    overwrite, resume
        As in `create`.

    Raises
    ------
    MissingError, InputError
        If there is no such image.
    ExistsError, StorageError
        As in `create`.
    """
    spec = label_spec(str(image), np.dtype(dtype), attributes or {})
    parent = inside(follow(image), "labels")
    pending = create(inside(parent, name), spec, overwrite=overwrite, resume=resume)
    return replace(pending, _listed_in=parent)


def _refuse(obstacle: Address, overwrite: bool) -> None:
    """Refuse to write where something is, unless it may go."""
    if overwrite and may_go(obstacle):
        return
    raise ExistsError(
        obstacle,
        expected="an OME-Zarr image to overwrite" if overwrite else "a new name",
        found="something else" if overwrite else "something of that name",
        remedy="remove it yourself if you do not need it"
        if overwrite
        else "choose another name, or ask to overwrite or resume",
    )
