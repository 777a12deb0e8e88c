"""Constants: the numbers of a scenario with their sources, as plain values."""

from __future__ import annotations

from typing import Any

from sim.scenario import Scenario


def constants(scenario: Scenario) -> list[dict[str, Any]]:
    """Every sourced number the scenario rests on: path, value in base units, as written, source."""
    return [
        {
            "path": path,
            "value": each.value,
            "unit": each.unit,
            "text": each.text,
            "source": each.source,
            "kind": scenario.bibliography[each.source].kind
            if each.source in scenario.bibliography
            else None,
        }
        for path, each in sorted(scenario.sources.items())
    ]
