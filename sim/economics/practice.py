"""Practice: packaging, boards, volume and ownership, each number as [cheap, base, dear]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from sim.economics.ends import (
    FromOneFalling,
    Plain,
    Ratio,
    ShareFalling,
    YearsFalling,
)
from sim.economics.ownership import Site
from sim.economics.process import Process
from sim.errors import ConfigError, Problem
from sim.hardware.making import PACKAGES, DesignPart, Package
from sim.quantities import Factor, Text, number
from sim.values import Bibliography, Key, Numbers, checked

Basis = Literal["price", "cost"]
"""What devices are taken to cost their owner: list price or cost with a markup, or cost alone."""
Length = Annotated[float, number(0.0, 50.0)]


@checked
@dataclass(frozen=True, kw_only=True, eq=False)
class Practice:
    """How devices are usually made, sold and run; a device may say otherwise."""

    title: Text
    """Whose practice this is."""
    name: Text | None = None
    """A name for it."""
    yield_law: Literal["murphy", "poisson", "negative-binomial"]
    """How many dies work, of the defects on them."""
    edge_mm: Length
    """Rim of a wafer without dies."""
    scribe_mm: Length
    """Streets between dies."""
    package_USD_per_mm2: Annotated[Mapping[Package, Plain], Key("packages")]
    """A package by its kind, for the area of dies in it."""
    test_USD_per_mm2: Plain
    """Tests of a packaged device, for the area of its dies."""
    assembly_yield: ShareFalling
    """Share of packages that work, of working dies."""
    stack_silicon_USD_per_mm2: Plain
    """Silicon added to the die under a memory stack."""
    board_USD: Plain
    """Board, cooling and chassis of a device."""
    small_board_USD: Plain
    """Those of a device below 100 W."""
    design_shares: Mapping[DesignPart, Factor]
    """How the design of a chip splits."""
    respins: Plain
    """Full sets of a product's own masks made anew before it works."""
    units: FromOneFalling
    """Devices that share the NRE."""
    markup: Ratio
    """Price over cost of what has no list price."""
    spares: Plain
    """Spare systems, as a share of what the system cost."""
    maintenance_per_year: Plain
    """Upkeep a year, as a share of what the system cost."""
    years: YearsFalling
    """How long a system is owned."""
    utilisation: ShareFalling
    """Share of that time that it is used."""
    package_kg: Plain
    """Embodied carbon of a package, kgCO2e."""
    board_kg: Plain
    """Embodied carbon of a board with cooling and chassis, kgCO2e."""
    small_board_kg: Plain
    """That of a device below 100 W, kgCO2e."""
    sources: Numbers = field(default_factory=dict)
    bibliography: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""

    def __post_init__(self) -> None:
        """ConfigError for packages left out, and for shares of a design that aren't all of it."""
        problems = []
        if set(self.package_USD_per_mm2) != set(PACKAGES):
            message = f"a number for each of {', '.join(PACKAGES)} is due"
            problems.append(Problem(path="packages", message=message))
        whole = sum(self.design_shares.values())
        if abs(whole - 1.0) > 0.01:
            message = f"the four shares add up to {whole:g}, not to 1"
            problems.append(Problem(path="design_shares", message=message))
        if problems:
            raise ConfigError(problems)


@dataclass(frozen=True, kw_only=True, eq=False)
class Costs:
    """Everything a ledger needs beside the system itself."""

    process: Process
    site: Site
    practice: Practice
    basis: Basis = "price"
