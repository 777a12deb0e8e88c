"""Layout: degrees of parallelism, asked for and settled."""

from __future__ import annotations

from dataclasses import dataclass

from sim.hardware import Link, System
from sim.quantities import Count
from sim.values import checked
from sim.workload.expert_slots import Placement


@checked
@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How a model is spread: tensor, pipeline, expert and data parallelism.

    What is left out the mapping chooses: tensor parallel over the devices of a node as far as heads
    divide, the fewest pipeline stages (1, 2, 4 ...) over which the weights fit, data-parallel
    replicas with the rest.
    """

    tp: Count | None = None
    """Devices that share each matrix product."""
    pp: Count | None = None
    """Stages of a pipeline."""
    ep: Count = 1
    """Ranks that hold the experts of the tp * attention_dp devices; each expert is then
    tensor-split over tp * attention_dp / ep devices."""
    dp: Count | None = None
    """Replicas of the model on the system."""
    attention_dp: Count = 1
    """Tensor-parallel groups that work in lock-step as one engine: each serves its own sequences,
    all of them share the experts."""
    experts: Placement | None = None
    """Which rank holds which experts; if left out they are dealt in turn, the most popular first,
    and no wait for the busiest rank is counted in all-to-all."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Degrees of tensor, pipeline, expert and data parallelism that fit the system."""

    tp: int
    pp: int
    ep: int
    dp: int
    attention_dp: int = 1
    experts: Placement | None = None
    expert_devices: int = 0
    """Devices of a side of their own that experts are on; 0: they are on those of the layout."""

    @property
    def expert_group(self) -> int:
        """Devices that routed experts are spread over."""
        return self.expert_devices or self.stage_devices

    @property
    def redundant(self) -> int:
        """Copies of experts beside the first one of each."""
        return 0 if self.experts is None else self.experts.redundant

    @property
    def stage_devices(self) -> int:
        """Devices that run the operators of one pipeline stage together."""
        return self.tp * self.attention_dp

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        return self.stage_devices * self.pp


@dataclass(frozen=True, kw_only=True)
class Split:
    """Routed experts run on `system`, all else on the scenario's own.

    A device of either has one port of `link` to the other side. An iteration is cut in
    `microbatches`, never more than it has sequences; three hide a link that takes up to half as
    long as the slower side (MegaScale-Infer, equation 3).
    """

    system: System
    link: Link
    microbatches: int = 3
