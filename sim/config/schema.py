"""JSON Schema of the YAML forms, for editors that check and complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sim.config.json_schema import schema_of
from sim.config.kinds import KINDS


def schemas() -> Mapping[str, dict[str, Any]]:
    """One schema a form, and one a form for files with `extends`, in which nothing is required."""
    made: dict[str, dict[str, Any]] = {}
    for name, form in ((kind.schema, kind.load_form()) for kind in KINDS.values() if kind.schema):
        model = isinstance(form, type) and issubclass(form, BaseModel)
        schema = form.model_json_schema() if model else schema_of(form)
        if hasattr(form, "amend"):
            form.amend(schema)
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        inline = schema.get("$defs", {}).get("Device")  # a system's own
        for part in (schema, inline) if inline else (schema,):
            part["properties"]["extends"] = {
                "type": "string",
                "description": "a base that this file changes; null removes what the base has",
            }
        made[name] = schema
        made[f"{name}-overlay"] = _optional(schema)
    return made


def _optional(schema: Any) -> Any:
    """`schema` with nothing required, and null allowed everywhere."""
    if isinstance(schema, dict):
        changed = {key: _optional(item) for key, item in schema.items() if key != "required"}
        named = changed.get("additionalProperties")
        if isinstance(named, dict):
            changed["additionalProperties"] = {"anyOf": [named, {"type": "null"}]}
        if "properties" in changed:
            changed["properties"] = {
                key: _nullable(item) for key, item in changed["properties"].items()
            }
        return changed
    return [_optional(item) for item in schema] if isinstance(schema, list) else schema


def _nullable(item: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one key, with null allowed; what it says of itself stays in sight."""
    texts = {"description": item["description"]} if "description" in item else {}
    return {"anyOf": [item, {"type": "null"}], **texts}
