"""Process: what making chips on a node costs, each number as [cheap, base, dear]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from sim.economics.ends import Money, Plain
from sim.economics.masks import LayerStack
from sim.errors import ConfigError, Problem
from sim.quantities import Count, Factor, Index, Text
from sim.values import Bibliography, Key, Numbers, checked


@checked
@dataclass(frozen=True, kw_only=True, eq=False)
class Process:
    """A class of processes of about one node: what a wafer, masks and a design cost."""

    name: Text
    """The name of its file."""
    title: Text
    """What processes these are."""
    names: tuple[Text, ...]
    """Processes of this class as devices name them."""
    wafer_USD: Money
    """Price of a processed wafer."""
    wafer_mm: Factor = 300.0
    """Diameter of a wafer."""
    defects_per_cm2: Plain
    """Defects that kill what they hit."""
    mask_set_USD: Annotated[Money, Key("masks.set")]
    """Price of all masks of one product."""
    mask_layers: Annotated[Count, Key("masks.layers")]
    """Mask layers of one product."""
    euv_layers: Annotated[Index, Key("masks.euv")] = 0
    """Those of them that take EUV light."""
    euv_weight: Annotated[Factor, Key("masks.euv_weight")] = 6.0
    """What an EUV mask costs, in masks of deep ultraviolet."""
    design_USD: Money
    """Design of a whole new chip."""
    carbon_kg_per_cm2: Plain
    """Embodied carbon of processed silicon, kgCO2e."""
    sources: Numbers = field(default_factory=dict)
    bibliography: Bibliography = field(default_factory=dict)
    """Sources of its own, by key."""

    def __post_init__(self) -> None:
        """ConfigError for more EUV layers than layers."""
        if self.euv_layers > self.mask_layers:
            message = f"{self.euv_layers} EUV layers of {self.mask_layers} layers"
            raise ConfigError([Problem(path="masks.euv", message=message)])

    @property
    def layers(self) -> LayerStack:
        """Mask layers of one product."""
        duv = self.mask_layers - self.euv_layers
        return LayerStack(euv=self.euv_layers, duv=duv, euv_weight=self.euv_weight)
