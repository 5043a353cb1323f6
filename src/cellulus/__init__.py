"""Find every cell or nucleus in 2D images and 3D volumes: from no labels, from points or from masks."""

__version__ = "0.1.0"
