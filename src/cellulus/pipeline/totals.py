"""What came of putting labels together: how many objects there are, and which may be wrong.

Knows nothing of how they were found.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellulus.pipeline.results import Result

_log = logging.getLogger(__name__)

WIDE = "%s: %d of %d objects are wider than blocks see around them, %s voxels, and may be cut"


@dataclass(frozen=True)
class Total:
    """What came of joining the blocks.

    Attributes
    ----------
    objects
        How many there are.
    wide
        How many of them lie in several blocks and are wider than these see around them: they may
        differ from what the whole would give.
    halo
        How far blocks see, per axis [voxel].
    """

    objects: int
    wide: int
    halo: tuple[int, ...]

    def report(self, result: Result, nothing: str) -> None:
        """Note it in the result; warn of wide objects, and say `nothing` if there is none."""
        result.note(objects=self.objects, wider_than_halo=self.wide)
        if self.objects == 0:
            _log.warning("%s: %s", result.name, nothing)
        if self.wide:
            _log.warning(WIDE, result.name, self.wide, self.objects, self.halo)
