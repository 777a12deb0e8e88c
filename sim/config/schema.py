"""JSON Schema of the YAML forms, for editors that check and complete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from sim.config.device_form import DeviceForm, SystemForm
from sim.config.memory_form import MemoryForm
from sim.config.model_form import ModelForm
from sim.config.scenario_form import ScenarioForm
from sim.config.study_form import StudyForm
from sim.config.traffic_form import TrafficFileForm

FORMS: Final[Mapping[str, type[BaseModel]]] = {
    "device": DeviceForm,
    "memory": MemoryForm,
    "system": SystemForm,
    "model": ModelForm,
    "traffic": TrafficFileForm,
    "scenario": ScenarioForm,
    "study": StudyForm,
}


def schemas() -> Mapping[str, dict[str, Any]]:
    """One schema a form, and one a form for files with `extends`, in which nothing is required."""
    made: dict[str, dict[str, Any]] = {}
    for name, form in FORMS.items():
        schema = form.model_json_schema()
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        inline = schema.get("$defs", {}).get("DeviceForm")  # a system's own
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
                key: {"anyOf": [item, {"type": "null"}]}
                for key, item in changed["properties"].items()
            }
        return changed
    return [_optional(item) for item in schema] if isinstance(schema, list) else schema
