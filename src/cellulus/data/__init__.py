"""Images in and out: lazy volumes, readers, OME-Zarr writing, crops, augmentation, normalisation."""
