"""What offsets and margins can be, for methods whose voxels point at centres; imports nothing.

How far a decoder must look follows from it, and is known where no network is.
"""

FARTHEST = 2.0
"""Offsets are shorter than this along each axis: so far an object may reach from its centre
[object diameter]."""
ROUNDING = 1 + 2.0**-10
"""Offsets are stored with a few digits: one at the bound is none too long."""
MARGINS = (0.01, 1.0)
"""Margins are kept between these, so that what an object can claim is bounded [object diameter]."""
