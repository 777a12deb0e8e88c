"""What the serving loop works on: a replica, its requests, room to work in, and its books."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sim.kernel.records import Routing

FINE, UNKNOWN, NOT_DECODING, NO_PROMPT, BAD_LAYERS = range(5)
BAD_TOKENS, NO_MEMORY, BATCH_FULL, TWICE, NOT_SHOWN = range(5, 10)
"""What is wrong with an iteration that a policy of the user's asked for."""


class Replica(NamedTuple):
    """What serves: tables of one device, and the policy that decides what it does next.

    `classes` [ops] numbers operators whose cost depends on the tokens of one stream and phase
    alone, equal ones of which lie in the same layers; -1 for others. `leaders` [classes] has the
    first operator of each. `reach` [ops, layers + 1] is the share of an operator's layers below
    each layer of the model. `reached` [tokens] is the probability that so many drafted tokens are
    accepted; None without speculation, so that what does it need not be compiled.
    """

    ops: npt.NDArray[np.void]
    routing: Routing
    streams: npt.NDArray[np.void]
    units: npt.NDArray[np.void]
    links: npt.NDArray[np.void]
    machine: np.void
    policy: np.void
    classes: npt.NDArray[np.int64]
    leaders: npt.NDArray[np.int64]
    reach: npt.NDArray[np.float64]
    reached: npt.NDArray[np.float64] | None


class Flow(NamedTuple):
    """Requests and where they stand: `waiting` and `running` number them.

    `picked` [n, 2] has prompts of an iteration and how many of their tokens. `ids` are the blocks
    of all prompts one after the other; `refs`, `older` and `newer` [blocks]: see `prefix`.
    """

    requests: npt.NDArray[np.void]
    waiting: npt.NDArray[np.int64]
    running: npt.NDArray[np.int64]
    picked: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    refs: npt.NDArray[np.int64]
    older: npt.NDArray[np.int64]
    newer: npt.NDArray[np.int64]


class Scratch(NamedTuple):
    """Room to work in, for each part of an iteration: see `iteration`.

    `features` [parts, stream, phase, feature], `experts` [parts, stream, 3], `rows` [parts, ops,
    columns], `chosen` [parts, ops, 2], `shares` [parts, ops] of their layers, `direct` [parts,
    classes] 1 where nothing was recalled; `growth` [stream]; `alone` and `alone_experts` as
    `features` and `experts` of one part.
    """

    features: npt.NDArray[np.float64]
    experts: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]
    chosen: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]
    direct: npt.NDArray[np.int64]
    growth: npt.NDArray[np.float64]
    alone: npt.NDArray[np.float64]
    alone_experts: npt.NDArray[np.float64]


class Books(NamedTuple):
    """What adds up: see `iteration.tally`.

    `memo` [class, tokens, 2] seconds and joules of one device of a class at so many tokens, NaN
    where not yet worked out; `visits` [class, tokens, 3] how often that was, times devices and
    microbatches, and the same times the share of energy that a power limit left.
    """

    memo: npt.NDArray[np.float64]
    visits: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]
    joules: npt.NDArray[np.float64]
    weights_B: npt.NDArray[np.float64]
    gaps: npt.NDArray[np.float64]
    log: npt.NDArray[np.float64]
