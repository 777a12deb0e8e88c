"""A scheduler of the user's own: what it sees of an engine, and what it asks of it.

A policy is a function from a `View` to an `Iteration`. It decides; how long that takes, the memory
that sequences need and which tokens come out is the engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prompt:
    """`tokens` of the prompt of request `number` pass layers [first, last); None: to the end.

    Tokens that stop before the last layer go on from there, all of them, in a later iteration.
    """

    number: int
    tokens: int
    first: int = 0
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Iteration:
    """What the engine does next: sequences `decode` one token each, through all layers; prompts.

    A prompt that waits is admitted by being named. Neither decodes nor prompts: the engine waits
    for the next request.
    """

    decode: Sequence[int] | Numbers = ()
    prompts: Sequence[Prompt] = ()


class View:
    """What a policy sees: read it, don't write it. Requests go by number, in order of arrival.

    `requests` are `records.REQUEST` records: arrival_s, input, output, target (tokens to prefill),
    prefilled, generated, layer (first that tokens on their way have yet to pass), on_way.
    """

    __slots__ = ("_engine", "_state")

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._state = engine.state[0]

    @property
    def now_s(self) -> float:
        """The engine's clock."""
        return float(self._state["now_s"])

    @property
    def requests(self) -> npt.NDArray[np.void]:
        """All requests handed to the engine; they can't be written."""
        records: npt.NDArray[np.void] = self._engine.requests.view()
        records.flags.writeable = False
        return records

    @property
    def waiting(self) -> Numbers:
        """Requests that have arrived and wait, the one that would be served next first."""
        head, tail, now_s = (self._state[name] for name in ("head", "tail", "now_s"))
        queue: Numbers = self._engine.waiting[head:tail]
        arrivals, count = self._engine.requests["arrival_s"], 0
        while count < len(queue) and arrivals[queue[count]] <= now_s:
            count += 1
        return queue[:count]

    @property
    def running(self) -> Numbers:
        """Requests with memory, in order of admission."""
        numbers: Numbers = self._engine.running[: self._state["running"]]
        return numbers

    @property
    def decoding(self) -> Numbers:
        """Those of `running` whose whole prompt is in memory."""
        return self._with_prompt(True)

    @property
    def prefilling(self) -> Numbers:
        """Those of `running` whose prompt is not all in memory yet."""
        return self._with_prompt(False)

    def _with_prompt(self, whole: bool) -> Numbers:
        running, requests = self.running, self._engine.requests
        chosen: Numbers = running[
            (requests["prefilled"][running] == requests["target"][running]) == whole
        ]
        return chosen

    @property
    def layers(self) -> int:
        """Layers of the model's decoder."""
        return int(self._engine.replica.reach.shape[1]) - 1

    @property
    def max_batch(self) -> int:
        """Most requests that may run."""
        return int(self._engine.replica.policy["max_batch"])

    @property
    def free_B(self) -> float:
        """Bytes of KV memory left on each device."""
        return float(self._engine.replica.policy["capacity_B"] - self._state["kv_used_B"])

    def need_B(self, number: int) -> float:
        """Bytes on each device that request `number` gets when it is admitted."""
        return float(self._engine.need_B(number))
