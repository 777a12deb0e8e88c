"""Timing of a hardwired LPU: six stages a layer, in lock-step, a token in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

KI: Final = 1024.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a token does in one stage of a layer.

    `phases` collective phases, which carry `elements` over one link, all of them together;
    hardwired products one after the other; non-linear operations; and whether it attends.
    """

    name: str
    phases: int = 0
    elements: float = 0.0
    operators: int = 0
    non_linear: int = 0
    attends: bool = False


FIG_11: Final = (
    Stage(name="sum of the last layer", phases=2),
    Stage(name="query, key, value", phases=1, operators=1),
    Stage(name="attention", attends=True),
    Stage(name="output projection", phases=1, operators=1),
    Stage(name="sum of the output", phases=2),
    Stage(name="experts", operators=3, non_linear=5),
)
"""A layer with attention and experts (HNLPU, Fig. 11)."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """`count` equal layers; attention in them takes `attention` times the pipeline's own.

    With a `window` a token attends to the last so many, or, `chunked`, to those since the last
    multiple of it. A chip keeps `held_B` of a cached token for one such layer.
    """

    count: int
    stages: tuple[Stage, ...] = FIG_11
    window: int | None = None
    chunked: bool = False
    attention: float = 1.0
    held_B: float = 0.0

    def attended(self, cached: float) -> float:
        """Of `cached` tokens, those that the newest one attends to."""
        if self.window is None or cached <= self.window:
            return cached
        return (cached - 1.0) % self.window + 1.0 if self.chunked else float(self.window)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Seconds of the parts of a layer; attention grows with every cached token.

    `layers` are those of Fig. 11, all alike, unless `kinds` says what they are. A collective phase
    takes `collective_s`, and `element_s` more for each of its elements (0 where a calibrated
    `collective_s` holds them). The busiest link carries a token of all layers in `link_s`, and its
    logits in `answer_s`. `shared`: one attention unit serves all layers. `stall_s` is what a layer
    waits for KV that lies in HBM, at `stall_tokens` cached tokens; it begins at half of them and
    grows linearly (a single stream). Of a full pipeline's streams a chip keeps `buffer_B` and
    fetches the rest at `fetch_B_per_s`.
    """

    layers: int
    collective_s: float
    operator_s: float
    non_linear_s: float
    attention_s_per_token: float
    stall_s: float = 0.0
    stall_tokens: float = 512.0 * KI
    element_s: float = 0.0
    link_s: float = 0.0
    answer_s: float = 0.0
    shared: bool = False
    kinds: tuple[Layer, ...] = ()
    buffer_B: float = 0.0
    fetch_B_per_s: float = float("inf")

    @property
    def different(self) -> tuple[Layer, ...]:
        """The layers, equal ones together."""
        return self.kinds or (Layer(count=self.layers),)

    def parts(self, cached: float) -> dict[str, float]:
        """Seconds of one layer by part, at `cached` tokens; of the mean layer where they differ."""
        first, *others = (self._parts(layer, cached) for layer in self.different)
        if not others:
            return first
        shares = [layer.count / self.layers for layer in self.different]
        every = [first, *others]
        return {
            name: sum(share * each[name] for share, each in zip(shares, every, strict=True))
            for name in first
        }

    def _parts(self, layer: Layer, cached: float) -> dict[str, float]:
        phases = sum(stage.phases for stage in layer.stages)
        elements = sum(stage.elements for stage in layer.stages)
        return {
            "communication": phases * self.collective_s + elements * self.element_s,
            "projection": sum(stage.operators for stage in layer.stages) * self.operator_s,
            "non-linear": sum(stage.non_linear for stage in layer.stages) * self.non_linear_s,
            "attention": self._attention_s(layer, cached),
            "stall": self.stall_s * max(2.0 * cached / self.stall_tokens - 1.0, 0.0),
        }

    def _attention_s(self, layer: Layer, cached: float) -> float:
        return layer.attended(cached) * layer.attention * self.attention_s_per_token

    def stages(self, cached: float) -> Mapping[str, float]:
        """Seconds of the stages of a layer (Fig. 11), by name; of several, the slowest."""
        found: dict[str, float] = {}
        for layer in self.different:
            for stage, seconds in self._stages(layer, cached):
                found[stage.name] = max(found.get(stage.name, 0.0), seconds)
        return found

    def _stages(self, layer: Layer, cached: float) -> Iterator[tuple[Stage, float]]:
        parts = self._parts(layer, cached)
        for stage in layer.stages:
            seconds = stage.phases * self.collective_s + stage.elements * self.element_s
            seconds += stage.operators * self.operator_s + stage.non_linear * self.non_linear_s
            yield stage, seconds + (parts["attention"] + parts["stall"] if stage.attends else 0.0)

    @property
    def slots(self) -> int:
        """Tokens in flight: one a stage and layer."""
        return sum(layer.count * len(layer.stages) for layer in self.different)

    def line_s(self, cached: float) -> float:
        """Seconds of attention of one token in all its layers."""
        return sum(layer.count * self._attention_s(layer, cached) for layer in self.different)

    def stage_s(self, cached: float) -> float:
        """Seconds of the slowest stage, or of an attention unit that all layers share."""
        slowest = max(self.stages(cached).values())
        return max(slowest, self.line_s(cached)) if self.shared else slowest

    def slot_s(self, cached: float, *, answers: float = 1.0) -> float:
        """Seconds between tokens of a full pipeline whose keys and values are on chip.

        The slowest stage, or the busiest link where `answers` of the tokens (0 to 1) ask for
        logits.
        """
        return max(self.stage_s(cached), self.link_s + answers * self.answer_s)

    def fetch_s(self, cached: float) -> float:
        """Seconds a token of a full pipeline waits for keys and values beyond the buffers."""
        held = sum(layer.count * layer.held_B * layer.attended(cached) for layer in self.different)
        return max(held - self.buffer_B / self.slots, 0.0) / self.fetch_B_per_s

    def token_s(self, cached: float) -> float:
        """Seconds of one token through all layers when it need not wait for others."""
        return sum(
            layer.count * sum(self._parts(layer, cached).values()) for layer in self.different
        )


def direct_collective_s(
    elements: float, *, bytes_each: float, B_per_s: float, hop_s: float
) -> float:
    """Seconds of one phase among chips that all see each other: one hop and one message."""
    return hop_s + elements * bytes_each / B_per_s
