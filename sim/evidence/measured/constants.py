"""Constants: devices and runtimes as they are, or as fitted without what is to be predicted."""

from __future__ import annotations

from dataclasses import dataclass

from sim.config.catalogue import load_device
from sim.hardware import Device


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Where devices come from when rows are predicted.

    `without`: "" for the constants of the library; "devices" for those that other devices alone
    would give; "shapes-0" to "shapes-3" for those fitted without that part of the shapes.
    """

    without: str = ""

    def device(self, name: str) -> Device:
        """The device of a name; ConfigError for an unknown one."""
        return load_device(name)
