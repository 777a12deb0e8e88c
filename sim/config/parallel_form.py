"""Form of degrees of parallelism."""

from __future__ import annotations

from typing import Literal

from sim.config.fields import Count, Form, Index
from sim.mapping.layout import Parallel
from sim.workload.expert_slots import Placement


class PlacementForm(Form):
    """Which rank holds which experts, and how many of them twice or more."""

    placement: Literal["contiguous", "balanced"] = Placement.placement
    redundant: Index = Placement.redundant


class ParallelForm(Form):
    """Degrees of parallelism; what is left out is chosen."""

    tp: Count | None = Parallel.tp
    pp: Count | None = Parallel.pp
    ep: Count = Parallel.ep
    dp: Count | None = Parallel.dp
    attention_dp: Count = Parallel.attention_dp
    experts: PlacementForm | None = None

    def value(self) -> Parallel:
        """What is asked for."""
        own = None if self.experts is None else Placement(**self.experts.model_dump())
        return Parallel(**self.model_dump(exclude={"experts"}), experts=own)
