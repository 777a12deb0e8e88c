"""Making: what a device takes to be made, beside the area and the process of its dies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Ends = tuple[float, float, float]
"""A number that cost depends on: at the cheap end, as expected, at the dear end."""
Package = Literal["flip-chip", "interposer", "chiplets", "wafer-scale"]
PACKAGES: Final = get_args(Package)


@dataclass(frozen=True, kw_only=True)
class Making:
    """What is special about a device; None where its process and the usual practice say it.

    `critical_share` of a die's area is where a defect kills it: elsewhere units in reserve, which
    products are sold without, take its place. `products` chips of different metal share one base,
    each with `own_euv` and `own_duv` mask layers of its own. `units` devices share the NRE;
    `updates` times over its life a device is replaced by one with new layers of its own. `markup`
    is the price over the cost of what has no list price.
    """

    yield_share: Ends | None = None
    critical_share: Ends = (1.0, 1.0, 1.0)
    package: Package | None = None
    products: int = 1
    own_euv: int | None = None
    own_duv: int | None = None
    units: Ends | None = None
    markup: Ends | None = None
    updates: Ends = (0.0, 0.0, 0.0)
    board_USD: Ends | None = None
    design_USD: Mapping[str, Ends] = field(default_factory=dict)
    """Architecture, verification, physical design, licences: what replaces the process's design."""
