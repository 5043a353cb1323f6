"""The base of everything a user may set: frozen, typed, and documented by its own docstrings.

Knows nothing of TOML, of files or of the command line.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of settings; unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )
