"""THE list of methods: the union below is what experiments, errors, help and tests read."""

from __future__ import annotations

from cellulus.methods.object_centric.settings import ObjectCentric

AnyMethod = ObjectCentric

__all__ = ["AnyMethod", "ObjectCentric"]
