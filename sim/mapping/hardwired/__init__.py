"""A model in metal: what each chip of a grid holds, what its collectives carry, how it is timed."""

from sim.mapping.hardwired.grid import (
    Grid,
    check,
    chips_needed,
    router_weights,
    smallest,
    weights_of_model,
    weights_per_chip,
    weights_per_token,
)
from sim.mapping.hardwired.layers import (
    attention_work,
    collective_elements,
    kept_elements,
    link_elements,
    logits_elements,
)
from sim.mapping.hardwired.metal import held_by_stream, in_metal, line_of

__all__ = [
    "Grid",
    "attention_work",
    "check",
    "chips_needed",
    "collective_elements",
    "held_by_stream",
    "in_metal",
    "kept_elements",
    "line_of",
    "link_elements",
    "logits_elements",
    "router_weights",
    "smallest",
    "weights_of_model",
    "weights_per_chip",
    "weights_per_token",
]
