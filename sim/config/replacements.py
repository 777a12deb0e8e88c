"""Replacements: the keys of a scenario that Python may give anew, beside the scenario itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from sim.dtypes import Precision
from sim.engines.scheduler import Scheduler
from sim.hardware import Device, System
from sim.mapping.layout import Parallel
from sim.scenario import Slo
from sim.workload.architecture import Architecture
from sim.workload.routing import Router
from sim.workload.speculation import Speculation
from sim.workload.traffic import Traffic

Written = Mapping[str, Any]
"""A part as the YAML has it."""


class Parts(TypedDict, total=False):
    """Keys of a scenario: a name or a path, what the YAML would say, or an object."""

    name: str
    title: str
    model: str | Path | Written | Architecture
    system: str | Path | Written | System | Device
    traffic: str | Path | Written | Traffic
    dtype: str | Written | Precision
    precision: Precision
    parallel: Written | Parallel
    scheduler: Written | Scheduler
    router: Written | Router
    runtime: str | Path | Written
    placement: Mapping[str, str]
    techniques: Sequence[Written]
    cost: Written
    fleet: Written
    disaggregate: Written
    split: Written
    speculation: Written | Speculation
    seed: int


class Replacements(Parts, total=False):
    """These and its SLO, which a search for the capacity has as an argument of its own."""

    slo: Written | Slo
