"""Forms of memory beyond the device's: the host's for swapped caches, tiers of the prefix cache."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from pydantic import Field

from sim.config import library
from sim.config.fields import ByteEnergy, Flag, Form, LinkRate, Reading, Size, Text, Time
from sim.config.sources import SourceForm
from sim.config.validate import validated
from sim.engines.offload import Host, Tier
from sim.units import Sourced

if TYPE_CHECKING:
    from sim.config.scenario_form import SchedulerForm


class HostForm(Form):
    """Host memory for one device's swapped caches; what is left out is the default host's."""

    memory: Size | None = None
    bandwidth: LinkRate | None = None
    latency: Time | None = None
    energy: ByteEnergy | None = None
    overlap: Flag = False


class TierForm(Form):
    """A memory below the prefix cache, of one device."""

    name: Text
    size: Size
    bandwidth: LinkRate
    latency: Time
    energy: ByteEnergy | None = None


class HostFileForm(Form):
    """A host of the library, with the sources of its numbers."""

    title: Text
    memory: Size
    bandwidth: LinkRate
    latency: Time
    energy: ByteEnergy
    sources: dict[str, SourceForm] = Field(default_factory=dict)


@cache
def default_host() -> HostFileForm:
    """The host that is taken where a scenario doesn't say otherwise."""
    _, document = library.found_document("hosts", "default", library.folder("hosts"))
    return validated(HostFileForm, document)


def host_of(form: HostForm | None) -> Host:
    """The host of a form, filled up from the default one."""
    usual, given = default_host(), form or HostForm()
    return Host(
        memory_B=(given.memory or usual.memory).value,
        bandwidth_B_per_s=(given.bandwidth or usual.bandwidth).value,
        latency_s=(given.latency or usual.latency).value,
        energy_J_per_B=(given.energy or usual.energy).value,
        overlap=given.overlap,
    )


def tiers_of(forms: tuple[TierForm, ...]) -> tuple[Tier, ...]:
    """The tiers of their forms; energy that isn't given is that of the default host's link."""
    return tuple(
        Tier(
            name=each.name,
            size_B=each.size.value,
            bandwidth_B_per_s=each.bandwidth.value,
            latency_s=each.latency.value,
            energy_J_per_B=(each.energy or default_host().energy).value,
        )
        for each in forms
    )


def offload_numbers(scheduler: SchedulerForm, user: str) -> Mapping[str, Sourced]:
    """What a run takes of all that, by path in the scenario, each number with its source."""
    host = scheduler.host or HostForm()
    found: dict[str, Sourced] = {}

    def note(path: str, given: Reading | None, usual: Reading | None) -> None:
        reading = given or usual
        if reading is not None:
            source = user if given is not None else str(reading.key)
            found[f"scheduler.{path}"] = Sourced(
                value=reading.value, text=reading.text, unit=reading.unit, source=source
            )

    if scheduler.preemption == "swap":
        for name in ("memory", "bandwidth", "latency", "energy"):
            note(f"host.{name}", getattr(host, name), getattr(default_host(), name))
    for index, tier in enumerate(scheduler.kv_tiers):
        for name in ("size", "bandwidth", "latency"):
            note(f"kv_tiers.{index}.{name}", getattr(tier, name), None)
        note(f"kv_tiers.{index}.energy", tier.energy, default_host().energy)
    return found
