"""The network: one U-Net for any number of dimensions, and the arithmetic of its sizes."""
