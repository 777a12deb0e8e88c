"""Constants: devices as they are, or with what was fitted without the rows to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from sim.config.catalogue import load_device
from sim.config.fitted import load_kernels, load_law, load_protocols, load_runtime
from sim.hardware import Device
from sim.hardware.kernels import Kernels, Protocols
from sim.hardware.power import PowerLaw
from sim.hardware.runtime import Runtime


@cache
def _loaded(name: str, law: PowerLaw | None = None) -> Device:
    return load_device(name, law=law)


def slug(process: str) -> str:
    """A process as files are called."""
    return process.lower().replace(" ", "-")


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Where devices come from when rows are predicted.

    `without`: "" for the constants of the library; "devices" for those that other devices alone
    give; "shapes-0" to "shapes-3" for those fitted without that part of the shapes, "models-0" and
    so on without those models. `kernels`, `protocols`, `runtimes` and `power` laws by name go
    before those of the files: what a fit tries.
    """

    without: str = ""
    kernels: dict[str, Kernels] = field(default_factory=dict)
    protocols: dict[str, Protocols] = field(default_factory=dict)
    runtimes: dict[str, Runtime] = field(default_factory=dict)
    power: dict[str, PowerLaw] = field(default_factory=dict)
    everywhere: Kernels | None = None
    """The kernels of every device, whatever it names."""
    shares_alone: bool = False
    """No kernels: shares of peaks decide, as in units that nobody measured."""

    def device(self, name: str) -> Device:
        """The device of a name; ConfigError for an unknown one."""
        device = _loaded(name)
        if device.power is not None:
            device = _loaded(name, self.of_power(device.power.name, device.process))
        processors = tuple(
            replace(processor, kernels=self._kernels(processor.kernels))
            if processor.kernels
            else processor
            for processor in device.processors
        )
        link = device.link
        if link is not None and link.protocols is not None:
            link = replace(link, protocols=self.of_protocols(link.protocols.name))
        return replace(device, processors=processors, link=link)

    def are_for(self, parts: Mapping[str, int]) -> bool:
        """Whether a row of these parts, by kind ("models": 2), is one to predict.

        Every row is, but with constants fitted without a part of them those of that part alone.
        """
        kind, _, part = self.without.partition("-")
        return kind not in parts or parts[kind] == int(part)

    def _kernels(self, kernels: Kernels) -> Kernels | None:
        return None if self.shares_alone else self.of_kernels(kernels.name)

    def of_kernels(self, name: str) -> Kernels:
        """Kernels of a name, of the file that hasn't seen what is left out where there is one."""
        if self.everywhere is not None:
            return self.everywhere
        return self.kernels.get(name) or load_kernels(name, without=self.without)

    def of_protocols(self, name: str) -> Protocols:
        """Protocols of a name, likewise."""
        return self.protocols.get(name) or load_protocols(name, without=self.without)

    def of_runtime(self, name: str) -> Runtime:
        """Runtime of a name, likewise."""
        return self.runtimes.get(name) or load_runtime(name, without=self.without)

    def of_power(self, name: str, process: str | None) -> PowerLaw:
        """Power law of a name, likewise; without devices, it is without those of one process."""
        without = slug(process or "") if self.without == "devices" else self.without
        return self.power.get(name) or load_law(name, without=without)
