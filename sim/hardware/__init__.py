"""Processors, memories, links, devices and systems, as values in base units."""

from sim.hardware.device import Device, System
from sim.hardware.link import Link
from sim.hardware.memory import Memory
from sim.hardware.processor import Efficiency, Processor
from sim.operators import OPERATOR_CLASSES

__all__ = ["OPERATOR_CLASSES", "Device", "Efficiency", "Link", "Memory", "Processor", "System"]
