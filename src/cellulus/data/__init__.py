"""Images in and out: lazy volumes, readers, OME-Zarr, crops, augmentation, normalisation."""
