"""OPB: simulate transformer and mixture-of-experts inference on chips built and unbuilt.

import sim
run = sim.run("mixtral-azure-duplex", system="h100-x4")
run.metrics, run.requests, run.ops
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from sim.errors import ConfigError, Infeasible
from sim.version import __version__

if TYPE_CHECKING:  # the same names as in _HOMES, for type checkers
    from sim.config.catalogue import load_device, load_model, load_system
    from sim.config.costs import ledger_of as cost
    from sim.config.scenarios import load_scenario
    from sim.economics.lines import Ledger
    from sim.engines.policy import Iteration, Prompt, View
    from sim.evidence.measured.validation import Validation, validate
    from sim.evidence.papers import reproduce
    from sim.evidence.reproduction import Reproduction
    from sim.hardware import Device, Efficiency, Link, Memory, Processor, System
    from sim.hardwiring import Hardwiring, hardwire
    from sim.results.comparison import Comparison, compare
    from sim.results.explain import Explanation, explain
    from sim.results.run import Run
    from sim.results.simulate import simulate
    from sim.results.simulate import simulate as run
    from sim.scenario import Parallel, Precision, Scenario, Scheduler, Slo
    from sim.studies.capacity.capacity import Capacity
    from sim.studies.capacity.rate_search import capacity
    from sim.studies.sweep.jobs import sweep
    from sim.studies.sweep.results import Results, load_results
    from sim.workload.architecture import Architecture

_HOMES: Final = {
    "sim.config.catalogue": ("load_device", "load_model", "load_system"),
    "sim.config.costs": ("cost",),
    "sim.config.scenarios": ("load_scenario",),
    "sim.economics.lines": ("Ledger",),
    "sim.engines.policy": ("Iteration", "Prompt", "View"),
    "sim.evidence.measured.validation": ("Validation", "validate"),
    "sim.evidence.papers": ("reproduce",),
    "sim.evidence.reproduction": ("Reproduction",),
    "sim.hardware": ("Device", "Efficiency", "Link", "Memory", "Processor", "System"),
    "sim.hardwiring": ("Hardwiring", "hardwire"),
    "sim.results.comparison": ("Comparison", "compare"),
    "sim.results.explain": ("Explanation", "explain"),
    "sim.results.run": ("Run",),
    "sim.results.simulate": ("run", "simulate"),
    "sim.scenario": ("Parallel", "Precision", "Scenario", "Scheduler", "Slo"),
    "sim.studies.capacity.capacity": ("Capacity",),
    "sim.studies.capacity.rate_search": ("capacity",),
    "sim.studies.sweep.results": ("Results", "load_results"),
    "sim.studies.sweep.jobs": ("sweep",),
    "sim.workload.architecture": ("Architecture",),
}
_HOME: Final = {name: home for home, names in _HOMES.items() for name in names}
_CALLED: Final = {"cost": "ledger_of", "run": "simulate"}
"""Functions that have another name at home: here they are called as the commands are."""

__all__ = [
    "Architecture", "Capacity", "Comparison", "ConfigError", "Device", "Efficiency", "Explanation",
    "Hardwiring", "Infeasible", "Iteration", "Ledger", "Link", "Memory", "Parallel", "Precision",
    "Processor", "Prompt", "Reproduction", "Results", "Run", "Scenario", "Scheduler", "Slo",
    "System", "Validation", "View", "__version__", "capacity", "compare", "cost", "explain",
    "hardwire", "load_device", "load_model", "load_results", "load_scenario", "load_system",
    "reproduce", "run", "simulate", "sweep", "validate",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names load on first use: `import sim` stays light."""
    if name not in _HOME:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), _CALLED.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
