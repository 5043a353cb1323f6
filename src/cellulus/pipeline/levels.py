"""One level of a pyramid as work on blocks: a block is a shard of the level. Knows only arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellulus.data import pyramid
from cellulus.data.arrays import failures, open_array
from cellulus.space import blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellulus.data.writer import Spec


@dataclass(frozen=True)
class LevelWork:
    """Makes a level from a finer one.

    Attributes
    ----------
    group
        The pyramid, under its temporary name.
    spec
        What it is.
    index
        Which level.
    """

    group: Path
    spec: Spec
    index: int

    def open(self) -> Callable[[int], dict[str, Any]]:
        """Open both levels; see `cellulus.blocks.crew.Work`."""
        source, ratios = pyramid.predecessor(self.spec.grids, self.index)
        fine = open_array(self.group / str(source), "r")
        coarse = open_array(self.group / str(self.index), "r+")
        shards = blocks(coarse.shape, coarse.shards or coarse.chunks, (0,) * coarse.ndim)

        def fill(index: int) -> dict[str, Any]:
            with failures(self.group):
                region = shards[index].core
                pyramid.fill_region(fine, coarse, region, ratios, self.spec.kind == "image")
            return {}

        return fill
