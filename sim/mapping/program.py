"""Program: a model on a system, as the arrays that both engines hand to the kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sim.dtypes import Precision
from sim.graph import Graph, OpTable, Phase, Stream
from sim.hardware import System
from sim.kernel.records import DRAFT_CACHES, STREAM, Routing
from sim.mapping.layout import Layout, Parallel, Split
from sim.workload.expert_slots import Slots
from sim.workload.routing import Router
from sim.workload.speculation import Speculation

Records = npt.NDArray[np.void]

STREAM_KINDS = {"causal": 0, "encoder": 1, "fixed": 2, "generated": 3, "cross": 4}


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """What one replica runs. `graph` is the whole model, `table` what one of its devices does.

    `units` has the device's processors; `links` the node's and the network's; `machine` one
    record. `routing` tells where the model's router sends tokens. `state_B` is what a sequence
    keeps on one device whatever its length. With `speculation` the table has the draft's operators
    too, behind those of the model; `seed` begins the draws of what is accepted.
    """

    graph: Graph
    system: System
    layout: Layout
    precision: Precision
    router: Router
    table: OpTable
    streams: Records
    units: Records
    links: Records
    machine: Records
    routing: Routing
    state_B: float
    slots: tuple[Slots, ...] = ()
    """What expert-parallel ranks hold, of one layer or several."""
    split: Split | None = None
    """Where experts are apart from attention: `system` then has processors of both sides."""
    speculation: Speculation | None = None
    seed: int = 0

    @property
    def ahead(self) -> int:
        """Tokens drafted for a sequence each step; 0 without speculation."""
        return 0 if self.speculation is None else self.speculation.tokens

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a sequence gets a step, on average."""
        return 1.0 if self.speculation is None else self.speculation.tokens_per_step

    @property
    def drafts(self) -> npt.NDArray[np.bool_]:
        """Which operators are the draft's; shape [ops]."""
        return np.array([bool(op.stream.draft) for op in self.table.graph.ops], bool)

    @property
    def feature_rows(self) -> int:
        """Rows of features an iteration has: of all groups; with several, of two more views."""
        return len(self.streams) * (3 if self.layout.attention_dp > 1 else 1)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What decides a program beside model, system, degrees of parallelism and number formats.

    `router` None takes the default for the model's experts; `placement` pins operator classes to a
    processor by name; `seed` draws sampled experts and what a draft gets accepted. With
    `speculation` the devices run its `draft` (`workload.speculation.draft_graph`) too.
    """

    router: Router | None = None
    placement: Mapping[str, str] = field(default_factory=dict)
    split: Split | None = None
    speculation: Speculation | None = None
    draft: Graph | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """One way of putting a graph on the processors of a system.

    `stages` are the numbers of pipeline stages to try, the first that fits is taken; `plan` settles
    degrees of parallelism; `assemble` makes the program.
    """

    name: str
    applies: Callable[[System, Choices], bool]
    stages: Callable[[Graph, System, Parallel, Choices], Sequence[int]]
    plan: Callable[[Graph, System, Parallel, Choices], Layout]
    assemble: Callable[[Graph, System, Layout, Precision, Choices], Program]


def stream_records(sharded: Graph, kv_B: float) -> Records:
    """Streams with the bytes one device caches per token of a sequence in each."""
    records = np.zeros(len(sharded.streams), STREAM)
    for record, stream in zip(records, sharded.streams, strict=True):
        record["kind"] = STREAM_KINDS[stream.kind]
        record["window"] = stream.window or 0
        record["chunked"] = int(stream.chunked)
        record["tokens"], record["keep"] = stream.tokens, stream.keep
        record["draft"] = DRAFT_CACHES.index(stream.draft)
        if stream.draft != "shared":
            record["kv_B"] = kv_B * _cached_elements(sharded, stream)
    return records


def _cached_elements(sharded: Graph, stream: Stream) -> float:
    """Elements kept per cached token: a decode operator reads all of what was stored."""
    return sum(
        op.kv_read * op.layers
        for op in sharded.ops
        if op.stream == stream and op.phase == Phase.DECODE
    )
