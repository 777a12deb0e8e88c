"""Provenance: version, digest of the input, and where every number of a run comes from."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sim.scenario import Scenario
from sim.version import __version__


def provenance(scenario: Scenario) -> dict[str, Any]:
    """What a result rests on; `constants` counts its numbers by the kind of their source."""
    kinds = Counter(
        scenario.bibliography[each.source].kind
        for each in scenario.sources.values()
        if each.source in scenario.bibliography
    )
    return {
        "version": __version__,
        "digest": scenario.digest,
        "constants": dict(sorted(kinds.items())),
        "sources": [
            {"key": key, "kind": source.kind, "title": source.title, "note": source.note}
            for key, source in sorted(scenario.bibliography.items())
        ],
    }
