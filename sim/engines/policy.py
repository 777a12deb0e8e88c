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

    __slots__ = ("_flow", "_number", "_pool", "_replica", "_state")

    def __init__(self, pool: Any, number: int) -> None:
        self._pool, self._number, self._flow = pool, number, pool.flow(number)
        self._replica = pool.replica
        self._state = pool.states[number]

    @property
    def now_s(self) -> float:
        """The engine's clock."""
        return float(self._state["now_s"])

    @property
    def requests(self) -> npt.NDArray[np.void]:
        """All requests of the traffic, also those of other engines; they can't be written."""
        records: npt.NDArray[np.void] = self._flow.requests.view()
        records.flags.writeable = False
        return records

    @property
    def waiting(self) -> Numbers:
        """Requests that have arrived and wait, the one that would be served next first.

        Nobody while caches are in host memory, which come back first.
        """
        head, tail, now_s = (self._state[name] for name in ("head", "tail", "now_s"))
        queue: Numbers = self._flow.waiting[head:tail]
        requests, count = self._flow.requests, 0
        if self._state["swapped"]:
            return queue[:0]
        while count < len(queue) and requests["arrival_s"][queue[count]] <= now_s:
            count += 1
        partly = requests["prefilled"][queue[:count]] < requests["target"][queue[:count]]
        chosen: Numbers = queue[:count][partly]
        return chosen

    @property
    def swapped(self) -> Numbers:
        """Requests whose caches are in host memory; they come back as soon as there is room."""
        head = self._state["head"]
        numbers: Numbers = self._flow.waiting[head : head + self._state["swapped"]]
        return numbers

    @property
    def running(self) -> Numbers:
        """Requests with memory, in order of admission."""
        numbers: Numbers = self._flow.running[: self._state["running"]]
        return numbers

    @property
    def decoding(self) -> Numbers:
        """Those of `running` whose whole prompt is in memory."""
        running, requests = self.running, self._flow.requests
        whole = requests["prefilled"][running] == requests["target"][running]
        chosen: Numbers = running[whole]
        return chosen

    @property
    def prefilling(self) -> Numbers:
        """Those of `running` whose prompt is not all in memory yet, but for those being loaded."""
        running, requests = self.running, self._flow.requests
        partly = requests["prefilled"][running] < requests["target"][running]
        chosen: Numbers = running[partly & (requests["ready_s"][running] <= self._state["now_s"])]
        return chosen

    @property
    def layers(self) -> int:
        """Layers of the model's decoder."""
        return int(self._replica.reach.shape[1]) - 1

    @property
    def max_batch(self) -> int:
        """Most requests that may run."""
        return int(self._replica.policy["max_batch"])

    @property
    def free_B(self) -> float:
        """Bytes of KV memory left on each device."""
        return float(self._replica.policy["capacity_B"] - self._state["kv_used_B"])

    def left(self, number: int) -> int:
        """Tokens of a prompt to compute yet, without those that the prefix cache has now."""
        return int(self._pool.tokens_left(self._number, number))

    def need_B(self, number: int) -> float:
        """Bytes on each device by which the admission of request `number` leaves less free."""
        return float(self._pool.need_B(self._number, number))
