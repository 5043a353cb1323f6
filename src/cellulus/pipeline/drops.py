"""Dropping what was predicted when it has been segmented, but for the confidence.

Knows nothing of when that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.data.arrays import failures, open_array

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cellulus.space import Blocks


@dataclass(frozen=True)
class DropWork:
    """Drops what was predicted in tiles, but for some channels.

    Attributes
    ----------
    target
        The finest level of the prediction.
    tiles
        Its tiles.
    kept
        The channels that stay.
    """

    target: Path
    tiles: Blocks
    kept: tuple[int, ...]

    def open(self) -> Callable[[int], dict[str, Any]]:
        """See `cellulus.blocks.crew.Work`."""
        array = open_array(self.target, "r+")
        gone = [c for c in range(array.shape[0]) if c not in self.kept]

        def do(index: int) -> dict[str, Any]:
            region = (slice(None), *self.tiles[index].core)
            with failures(self.target):
                values = np.asarray(array[region])
                if not np.isnan(values).all():
                    values[gone] = np.nan  # what is all missing takes no room
                    array[region] = values
            return {}

        return do
