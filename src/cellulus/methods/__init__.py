"""THE list of methods: the union below is what experiments, errors, help and tests read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from cellulus.methods.object_centric.settings import ObjectCentric
from cellulus.methods.point_marker.settings import PointMarker
from cellulus.methods.spatial_embedding.settings import SpatialEmbedding

__all__ = ["AnyMethod", "ObjectCentric", "PointMarker", "SpatialEmbedding"]


def _name_of(value: object) -> object:
    """Return the name of a method; settings without one are those of the default."""
    if isinstance(value, dict):
        return value.get("name", ObjectCentric.model_fields["name"].default)
    return getattr(value, "name", None)


AnyMethod = Annotated[
    Annotated[ObjectCentric, Tag("object_centric")]
    | Annotated[SpatialEmbedding, Tag("spatial_embedding")]
    | Annotated[PointMarker, Tag("point_marker")],
    Discriminator(_name_of),
]
