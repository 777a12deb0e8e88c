"""Forms of a device's dies and of what making it costs, and the value they become."""

from __future__ import annotations

from pydantic import Field

from sim.config.bounds import Bounded, Bounds, FromOneBounded, RatioBounded, Sum, YieldBounds
from sim.config.fields import Area, Count, Cycles, Flag, Form, Index, Text
from sim.hardware.making import Ends, Making, Package


class OwnLayersForm(Form):
    """Mask layers that each of several products on one base has for itself."""

    euv: Index = 0
    duv: Index = 0


class DieForm(Form):
    """Silicon of one device."""

    source: Text | None = None
    area: Area | None = None
    """Of all dies together."""
    process: Text | None = None
    """A process as the library's files name it, or the path of one."""
    count: Cycles | None = None
    """Dies of about equal size; one where nothing is said."""
    wafer_scale: Flag = False
    """One die is a whole wafer, its defects worked around."""
    yields: YieldBounds | None = Field(default=None, alias="yield")
    """Share of dies that work, where it is known; else it follows from defects."""
    critical: YieldBounds | None = None
    """Share of the area where a defect kills the die; elsewhere spare units stand in."""
    package: Package | None = None
    products: Count = 1
    """Chips of different metal made on one base."""
    own_layers: OwnLayersForm | None = None


class DesignForm(Form):
    """Design of the device, all its products together, where it is known."""

    source: Text | None = None
    architecture: Sum
    verification: Sum
    physical: Sum
    ip: Sum


class MakingForm(Form):
    """What making the device costs where it differs from the usual."""

    source: Text | None = None
    design: DesignForm | None = None
    units: FromOneBounded | None = None
    """Devices, all products together, that NRE is spread over."""
    markup: RatioBounded | None = None
    """Price over cost, for devices without a list price."""
    updates: Bounded | None = None
    """Times in its life that new ones with other layers of their own replace them all."""
    board: Sum | None = None
    """Board, cooling, power and chassis of one device."""


def ends(form: Bounds, *, falling: bool = False) -> Ends:
    """Cheap end, base, dear end; `falling` for numbers that make things cheaper as they rise."""
    low, base, high = form.low.value, form.base.value, form.high.value
    return (high, base, low) if falling else (low, base, high)


def _maybe(form: Bounds | None, *, falling: bool = False) -> Ends | None:
    return None if form is None else ends(form, falling=falling)


def to_making(die: DieForm, form: MakingForm) -> Making:
    """What is special about making a device."""
    design, own = form.design, die.own_layers
    parts = ("architecture", "verification", "physical", "ip")
    return Making(
        yield_share=_maybe(die.yields, falling=True),
        critical_share=_maybe(die.critical) or Making.critical_share,
        package=die.package,
        products=die.products,
        own_euv=None if own is None else own.euv,
        own_duv=None if own is None else own.duv,
        units=_maybe(form.units, falling=True),
        markup=_maybe(form.markup),
        updates=_maybe(form.updates) or Making.updates,
        board_USD=_maybe(form.board),
        design_USD={} if design is None else {part: ends(getattr(design, part)) for part in parts},
    )
