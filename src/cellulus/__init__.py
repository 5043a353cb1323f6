"""Find every cell or nucleus in 2D images and 3D volumes, from no labels, points or masks."""

__version__ = "0.1.0"
