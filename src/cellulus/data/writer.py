"""Writing OME-Zarr: a pyramid grows under a temporary name and appears when it is complete.

Whoever fills the finest level writes whole shards (`Pending.shards`), several at a time if they
like; the coarser levels and the metadata follow in `Pending.publish`. Only local paths are
written, because only there a rename is one step.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from cellulus.data import pyramid
from cellulus.data.arrays import OUTCOME, Spec, create_array, existing_array, failures, is_array
from cellulus.data.label_groups import label_spec, list_label
from cellulus.data.ngff import ZARR_FORMAT, render
from cellulus.data.readers import ome_zarr
from cellulus.data.renames import is_begun, move, temporary
from cellulus.errors import ExistsError
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
    path
        Where it will be.
    spec
        What it is.
    array
        The finest level, to be filled.
    complete
        Whether it was finished by an earlier run (only with ``resume``); `array` is then
        read-only and `publish` does nothing.
    """

    path: Path
    spec: Spec
    array: zarr.Array[Any]
    complete: bool = False
    _overwrite: bool = False
    _listed: bool = False
    _built: bool = False

    @property
    def temporary(self) -> Path:
        """Where it is until then; the finest level is the array ``0`` in it."""
        return temporary(self.path)

    @property
    def shards(self) -> tuple[int, ...]:
        """Extent of a shard of the finest level, the smallest piece to write at once [voxel]."""
        return tuple(self.array.shards or self.array.chunks)

    def write(self, region: Region, data: NDArray[Any]) -> None:
        """Write a part of the finest level; whole shards, unless nobody else writes.

        Raises
        ------
        StorageError
            If the disk is full or refuses.
        """
        with failures(self.path):
            self.array[region] = data

    def build(self, progress: Progress | None = None) -> None:
        """Make the coarser levels, then the metadata, still under the temporary name.

        Raises
        ------
        StorageError
            If the disk is full or refuses.
        """
        if self.complete or self._built:
            return
        with failures(self.path):
            self._fill_levels(progress or Silent())
            self._describe()
        self._built = True

    def start_level(self, index: int) -> zarr.Array[Any]:
        """Return a coarser level, made if it is not there, for whoever fills levels themselves.

        Raises
        ------
        StorageError
            If the disk is full or refuses.
        """
        with failures(self.path):
            if is_array(self.temporary / str(index)):
                return zarr.open_array(self.temporary / str(index), mode="r+")
            return create_array(self.temporary, str(index), self.spec, self.spec.grids[index].shape)

    def publish(
        self, progress: Progress | None = None, *, notes: dict[str, Any] | None = None
    ) -> Path:
        """Make levels and metadata, then give it its name; an old one goes only then.

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
            If the disk is full or refuses; what was there before is still there.
        """
        if self.complete:
            return self.path
        if notes is None:
            self.build(progress)
        with failures(self.path):
            if notes is not None:
                self._describe()
                group = zarr.open_group(self.temporary, mode="r+")
                group.attrs["cellulus"] = {**self.spec.attributes, OUTCOME: notes}
            move(self.temporary, self.path, replace=self._overwrite)
            if self._listed:
                list_label(self.path, self.spec.ngff)
        self.complete = True
        return self.path

    def discard(self) -> None:
        """Remove what was written so far."""
        if not self.complete:
            shutil.rmtree(self.temporary, ignore_errors=True)

    def _describe(self) -> None:
        """Write the metadata."""
        coarsest = zarr.open_array(self.temporary / str(len(self.spec.grids) - 1), mode="r")
        group = zarr.open_group(self.temporary, mode="r+")
        description = self.spec.description(self.path.name, _ranges(self.spec, coarsest))
        group.attrs.update(render(description, self.spec.ngff))

    def _fill_levels(self, progress: Progress) -> None:
        """Make every level from the coarsest one before it that it is a whole multiple of."""
        grids, made = self.spec.grids, [self.array]
        for index in range(1, len(grids)):
            level = create_array(self.temporary, str(index), self.spec, grids[index].shape)
            progress.start(
                f"level {index} of {self.path.stem}",
                pyramid.count(level.shape, level.shards or level.chunks),
            )
            source, ratios = pyramid.predecessor(grids, index)
            pyramid.fill(made[source], level, ratios, self.spec.kind == "image", progress)
            progress.finish()
            made.append(level)


def create(
    path: Path | str, spec: Spec, *, overwrite: bool = False, resume: bool = False
) -> Pending:
    """Begin to write an image or a label group of its own.

    Parameters
    ----------
    path
        Of the zarr group to be.
    spec
        Shape, type, axes and all that is known beforehand.
    overwrite
        Replace what is there, once the new one is complete.
    resume
        Go on with what an interrupted run left, or return what a finished one made.

    Raises
    ------
    ExistsError
        If something is there and neither was asked for, or if it is not OME-Zarr.
    InputError
        If what is there to be resumed is something else than `spec`.
    StorageError
        If the disk is full or refuses.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        if not resume:
            raise ExistsError(
                target,
                expected="a new name",
                found="something of that name",
                remedy="choose another name, or ask to overwrite or resume",
            )
        return Pending(target, spec, existing_array(target, target, spec, "r"), complete=True)
    if target.exists() and not ome_zarr.is_image(str(target)):
        raise ExistsError(
            target,
            expected="an OME-Zarr image to overwrite",
            found="something else",
            remedy="remove it yourself if you do not need it",
        )
    growing = temporary(target)
    if resume and is_begun(target):
        return Pending(target, spec, existing_array(target, growing, spec, "r+"), False, overwrite)
    with failures(target):
        # What an interrupted run left was never finished, and nobody asked to go on with it.
        shutil.rmtree(growing, ignore_errors=True)
        growing.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(growing, mode="w", zarr_format=ZARR_FORMAT[spec.ngff])
        group.attrs["cellulus"] = spec.attributes
        array = create_array(growing, "0", spec, spec.shape)
    return Pending(target, spec, array, False, overwrite)


def create_labels(
    image: Path | str,
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
        Path of an OME-Zarr image on a local disk.
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
    pending = create(Path(image) / "labels" / name, spec, overwrite=overwrite, resume=resume)
    pending._listed = True
    return pending


def _ranges(spec: Spec, coarsest: zarr.Array[Any]) -> list[tuple[float, float]]:
    """Return the intensities that a viewer should show, per channel."""
    if spec.kind == "labels":
        return []
    channels = spec.shape[spec.axes.index("c")] if "c" in spec.axes else 1
    ranges = []
    for channel in range(channels):
        index = {"t": 0, "c": channel}
        part = np.asarray(coarsest[tuple(index.get(axis, slice(None)) for axis in spec.axes)])
        finite = part[np.isfinite(part)].astype(np.float64)
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        ranges.append((float(low), float(high)))
    return ranges
