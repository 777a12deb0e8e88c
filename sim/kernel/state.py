"""What the serving loop works on: a replica, its requests, room to work in, and its books."""

from __future__ import annotations

from typing import NamedTuple

from sim.kernel import records as r
from sim.kernel.arrays import Floats, Ints, Record

FINE, UNKNOWN, NOT_DECODING, NO_PROMPT, BAD_LAYERS = range(5)
BAD_TOKENS, NO_MEMORY, BATCH_FULL, TWICE, NOT_SHOWN, SWAPPED, LOADING = range(5, 12)
"""What is wrong with an iteration that a policy of the user's asked for."""


class Replica(NamedTuple):
    """What serves: tables of one device, and the policy that decides what it does next.

    `classes` [ops] numbers operators whose cost depends on the tokens of one stream and phase
    alone, equal ones of which lie in the same layers; -1 for others. `leaders` [classes] has the
    first operator of each. `reach` [ops, layers + 1] is the share of an operator's layers below
    each layer of the model. `reached` [tokens] is the probability that so many drafted tokens are
    accepted; None without speculation, so that what does it need not be compiled.
    """

    ops: r.Ops
    routing: r.Routing
    streams: r.Streams
    units: r.Units
    links: r.Links
    machine: Record
    policy: Record
    classes: Ints
    leaders: Ints
    reach: Floats
    reached: Floats | None


class Flow(NamedTuple):
    """Requests and where they stand: `waiting` and `running` number them.

    `picked` [n, 2] has prompts of an iteration and how many of their tokens. `ids` are the blocks
    of all prompts one after the other; `refs`, `older` and `newer` [blocks]: see `prefix`.
    """

    requests: r.Requests
    waiting: Ints
    running: Ints
    picked: Ints
    ids: Ints
    refs: Ints
    older: Ints
    newer: Ints


class Scratch(NamedTuple):
    """Room to work in, for each part of an iteration: see `iteration`.

    `features` [parts, stream, phase, feature], `experts` [parts, stream, 3], `rows` [parts, ops,
    columns], `chosen` [parts, ops, 2], `shares` [parts, ops] of their layers, `direct` [parts,
    classes] 1 where nothing was recalled; `growth` [stream]; `alone` and `alone_experts` as
    `features` and `experts` of one part.
    """

    features: Floats
    experts: Floats
    rows: Floats
    chosen: Ints
    shares: Floats
    direct: Ints
    growth: Floats
    alone: Floats
    alone_experts: Floats


class Books(NamedTuple):
    """What adds up: see `iteration.tally`.

    `memo` [class, tokens, 2] seconds and joules of one device of a class at so many tokens, NaN
    where not yet worked out; `visits` [class, tokens, 3] how often that was, times devices and
    microbatches, and the same times the share of energy that a power limit left.
    """

    memo: Floats
    visits: Floats
    seconds: Floats
    joules: Floats
    weights_B: Floats
    gaps: Floats
    log: Floats
