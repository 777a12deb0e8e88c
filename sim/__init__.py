"""OPB: simulate transformer and mixture-of-experts inference on chips built and unbuilt.

import sim
run = sim.simulate("mixtral-azure-duplex", system="h100-x4")
run.metrics, run.requests, run.ops
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sim.errors import ConfigError, Infeasible
from sim.version import __version__

if TYPE_CHECKING:
    from sim.config.catalogue import load_device, load_model, load_system
    from sim.config.scenarios import load_scenario
    from sim.engines.policy import Iteration, Prompt, View
    from sim.hardware import Device, Efficiency, Link, Memory, Processor, System
    from sim.hardwiring import Hardwiring, hardwire
    from sim.results.explain import Explanation, explain
    from sim.results.run import Run
    from sim.results.simulate import simulate
    from sim.scenario import Parallel, Precision, Scenario, Scheduler, Slo
    from sim.studies.capacity import Capacity
    from sim.studies.rate_search import capacity
    from sim.studies.results import load_results
    from sim.studies.run import sweep
    from sim.workload.architecture import Architecture

_HOMES = {
    "sim.config.catalogue": ("load_device", "load_model", "load_system"),
    "sim.config.scenarios": ("load_scenario",),
    "sim.engines.policy": ("Iteration", "Prompt", "View"),
    "sim.hardware": ("Device", "Efficiency", "Link", "Memory", "Processor", "System"),
    "sim.scenario": ("Parallel", "Precision", "Scenario", "Scheduler", "Slo"),
    "sim.results.explain": ("Explanation", "explain"),
    "sim.hardwiring": ("Hardwiring", "hardwire"),
    "sim.results.run": ("Run",),
    "sim.results.simulate": ("simulate",),
    "sim.studies.capacity": ("Capacity",),
    "sim.studies.rate_search": ("capacity",),
    "sim.studies.results": ("load_results",),
    "sim.studies.run": ("sweep",),
    "sim.workload.architecture": ("Architecture",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Architecture",
    "Capacity",
    "ConfigError",
    "Device",
    "Efficiency",
    "Explanation",
    "Hardwiring",
    "Infeasible",
    "Iteration",
    "Link",
    "Memory",
    "Parallel",
    "Precision",
    "Processor",
    "Prompt",
    "Run",
    "Scenario",
    "Scheduler",
    "Slo",
    "System",
    "View",
    "__version__",
    "capacity",
    "explain",
    "hardwire",
    "load_device",
    "load_model",
    "load_results",
    "load_scenario",
    "load_system",
    "simulate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Public names load on first use: `import sim` stays light."""
    if name not in _HOME:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
