"""Making: what a device takes to be made, beside the area and the process of its dies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, get_args

from sim.errors import ConfigError, Problem
from sim.quantities import (
    SHARE,
    Bounded,
    Count,
    Ends,
    Index,
    RatioBounds,
    ShareBounds,
    Sum,
    bounded,
    number,
)
from sim.values import Key, checked

Package = Literal["flip-chip", "interposer", "chiplets", "wafer-scale"]
PACKAGES: Final = get_args(Package)
DesignPart = Literal["architecture", "verification", "physical", "ip"]
DESIGN_PARTS: Final = get_args(DesignPart)


@checked
@dataclass(frozen=True, kw_only=True)
class Making:
    """What is special about a device; None where its process and the usual practice say it."""

    yield_share: Annotated[Ends | None, Key("die.yield"), bounded(SHARE, falling=True)] = None
    """Share of dies that work, where it is known; else it follows from defects."""
    critical_share: Annotated[ShareBounds, Key("die.critical")] = (1.0, 1.0, 1.0)
    """Share of the area where a defect kills the die: elsewhere units in reserve, which products
    are sold without, take its place."""
    package: Annotated[Package | None, Key("die.package")] = None
    """Kind of package; by memories and dies where it isn't given."""
    products: Annotated[Count, Key("die.products")] = 1
    """Chips of different metal made on one base."""
    own_euv: Annotated[Index | None, Key("die.own_layers.euv")] = None
    """EUV mask layers that each of these has for itself."""
    own_duv: Annotated[Index | None, Key("die.own_layers.duv")] = None
    """Other mask layers that each of these has for itself."""
    units: Annotated[Ends | None, Key("making.units"), bounded(number(1.0, 1e12), falling=True)] = (
        None
    )
    """Devices, all products together, that NRE is spread over."""
    markup: Annotated[RatioBounds | None, Key("making.markup")] = None
    """Price over cost, for devices without a list price."""
    updates: Annotated[Bounded, Key("making.updates")] = (0.0, 0.0, 0.0)
    """Times in its life that new ones with other layers of their own replace them all."""
    board_USD: Annotated[Sum | None, Key("making.board")] = None
    """Board, cooling, power and chassis of one device."""
    design_USD: Annotated[Mapping[DesignPart, Sum], Key("making.design")] = field(
        default_factory=dict
    )
    """Design of the device, all its products together: what replaces the process's design."""

    def __post_init__(self) -> None:
        """ConfigError for a part of the design left out; own layers of one kind are all."""
        missing = [part for part in DESIGN_PARTS if part not in self.design_USD]
        if self.design_USD and missing:
            raise ConfigError(
                [Problem(path=f"making.design.{part}", message="is missing") for part in missing]
            )
        if (self.own_euv is None) != (self.own_duv is None):
            object.__setattr__(self, "own_euv", self.own_euv or 0)
            object.__setattr__(self, "own_duv", self.own_duv or 0)
