"""THE list of profiles: how other packages would score the same labels, edge cases included.

A profile answers with the numbers and the names of its package, so that published figures can be
compared with ours; what is wrong there is wrong here. It works on the overlap table, so on images
of any size. Where the package fails or answers nan or inf, the value is None, with a reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellulus.errors import InputError
from cellulus.ops.profiles import cellpose, ctc, embedseg, legacy, panoptica, stardist

if TYPE_CHECKING:
    from cellulus.ops.profiles.row import Profile

PROFILES: dict[str, Profile] = {
    "stardist": stardist,
    "cellpose": cellpose,
    "panoptica": panoptica,
    "ctc": ctc,
    "embedseg": embedseg,
    "cellulus-legacy": legacy,
}


def profile(name: str) -> Profile:
    """Return a profile by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in PROFILES:
        raise InputError("profile", expected=f"one of {', '.join(PROFILES)}", found=name)
    return PROFILES[name]
