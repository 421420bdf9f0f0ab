"""The base of everything that users set. Import it from ``eagleray.task``."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Later:
    """Marks a setting that came after its model was first released, by ``LATER``."""


LATER: Final = Later()
"""``new_one: Annotated[int, LATER] = 3``: at its default the setting is not written down, so that
runs, prepared stages and shared phases from before it keep their names and are found again. Its
default must do what the code did before, and must not change.
"""


class Settings(BaseModel):
    """Base of every settings model: immutable, unknown keys refused, every field documented."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_serializer(mode="wrap")
    def _leave_out_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if LATER in field.metadata and getattr(self, name) == field.get_default(
                call_default_factory=True
            ):
                values.pop(name, None)
        return values
