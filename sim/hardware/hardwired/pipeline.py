"""Timing of a hardwired LPU: six stages a layer, in lock-step, a token in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KI: Final = 1024.0
COLLECTIVES, OPERATORS, NON_LINEAR = 6, 5, 5
"""Collective phases, hardwired products and non-linear operations of a layer (HNLPU, Fig. 11)."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Seconds of the parts of a layer; attention grows with every cached token.

    `stall_s` is what a layer waits for KV that lies in HBM, at `stall_tokens` cached tokens; it
    begins at half of them and grows linearly.
    """

    layers: int
    collective_s: float
    operator_s: float
    non_linear_s: float
    attention_s_per_token: float
    stall_s: float = 0.0
    stall_tokens: float = 512.0 * KI

    def parts(self, cached: float) -> dict[str, float]:
        """Seconds of one layer by part, at `cached` tokens."""
        return {
            "communication": COLLECTIVES * self.collective_s,
            "projection": OPERATORS * self.operator_s,
            "non-linear": NON_LINEAR * self.non_linear_s,
            "attention": cached * self.attention_s_per_token,
            "stall": self.stall_s * max(2.0 * cached / self.stall_tokens - 1.0, 0.0),
        }

    def stages(self, cached: float) -> Mapping[str, float]:
        """Seconds of the six stages of a layer (Fig. 11)."""
        collective, operator = self.collective_s, self.operator_s
        parts = self.parts(cached)
        return {
            "sum of the last layer": 2.0 * collective,
            "query, key, value": operator + collective,
            "attention": parts["attention"] + parts["stall"],
            "output projection": collective + operator,
            "sum of the output": 2.0 * collective,
            "experts": 3.0 * operator + 5.0 * self.non_linear_s,
        }

    @property
    def slots(self) -> int:
        """Tokens in flight: one a stage and layer."""
        return len(self.stages(0.0)) * self.layers

    def slot_s(self, cached: float) -> float:
        """Seconds between tokens of a full pipeline: its slowest stage."""
        return max(self.stages(cached).values())

    def token_s(self, cached: float) -> float:
        """Seconds of one token through all layers when it need not wait for others."""
        return self.layers * sum(self.parts(cached).values())


def direct_collective_s(
    elements: float, *, bytes_each: float, B_per_s: float, hop_s: float
) -> float:
    """Seconds of one phase among chips that all see each other: one hop and one message."""
    return hop_s + elements * bytes_each / B_per_s
