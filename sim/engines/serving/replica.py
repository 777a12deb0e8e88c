"""Replica: a program and a scheduler as the arrays that the serving loop works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.engines.scheduler import Scheduler
from sim.errors import Infeasible
from sim.graph import Graph
from sim.graph import Kind as OpKind
from sim.kernel import records
from sim.kernel.state import Books, Replica, Scratch
from sim.mapping.program import Program

Records = npt.NDArray[np.void]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """What replicas that are alike run: a program under a scheduler, `kv_B` of cache a device."""

    program: Program
    scheduler: Scheduler
    kv_B: float


REMEMBERED_TOKENS = 1 << 15
"""Most tokens of an iteration whose times are kept; longer ones are worked out each time."""


def policy_record(scheduler: Scheduler, kv_B: float, program: Program) -> Records:
    """The scheduler as the kernel reads it, with `kv_B` bytes of cache on each device.

    A prompt that only an encoder reads can't be cut in chunks: it goes whole, alone if need be.
    """
    record = np.zeros(1, records.POLICY)
    rules = scheduler.rules
    causal = bool(np.any(program.streams["kind"] == records.CAUSAL))
    record["cut"] = rules.cut if causal else records.WHOLE
    record["decode_with_prefill"] = int(rules.mixes)
    record["decoders_first"] = int(rules.decoders_first and causal)
    record["static"] = int(rules.static)
    record["ordered"] = int(scheduler.order != "arrival")
    record["groups"], record["group_tokens"] = scheduler.groups, scheduler.group_tokens
    record["group_rule"] = records.GROUP_RULES.index(scheduler.group_rule)
    record["max_batch"] = scheduler.max_batch
    record["budget"] = scheduler.prompt_tokens
    record["kv_block"] = scheduler.kv_block
    record["reserve_full"] = int(scheduler.kv_reserve == "full")
    record["watermark_B"] = scheduler.watermark * kv_B
    record["capacity_B"] = kv_B
    record["state_B"] = program.state_B
    streams = program.streams
    whole = (streams["kind"] == records.CAUSAL) & (streams["window"] == 0) & (streams["keep"] == 1)
    record["plain"] = int(bool(whole.all()) and program.layout.attention_dp == 1)
    record["ahead"] = program.ahead
    if scheduler.prefix_cache:
        most = scheduler.prefix_blocks
        record["prefix_blocks"] = np.iinfo(np.int64).max if most is None else most
    fill_offload(record, scheduler)
    return record


def fill_offload(record: Records, scheduler: Scheduler) -> None:
    """Write what goes beyond the device's memory into a `POLICY` record."""
    host = scheduler.host
    if scheduler.preemption == "swap" and host is not None:
        record["swap"], record["hides_copies"] = 1, int(host.overlap)
        record["host_B"], record["host_B_per_s"] = host.memory_B, host.bandwidth_B_per_s
        record["host_latency_s"] = host.latency_s
    if scheduler.prefix_cache:
        record["tiers"] = len(scheduler.kv_tiers)
        if scheduler.kv_tiers:
            record["loads"] = records.LOADS.index(scheduler.kv_loads)
        for index, tier in enumerate(scheduler.kv_tiers):
            record["tier_B"][0, index] = tier.size_B
            record["tier_B_per_s"][0, index] = tier.bandwidth_B_per_s
            record["tier_latency_s"][0, index] = tier.latency_s


def check_tiers(scheduler: Scheduler, block_B: float) -> None:
    """Infeasible where a tier hasn't room for one block."""
    for tier in scheduler.kv_tiers:
        if tier.size_B < block_B:
            raise Infeasible(
                f"tier {tier.name} of {tier.size_B:.6g} B a device has no room for a block of the "
                f"prefix cache, which takes {block_B:.6g} B",
                size_B=tier.size_B,
                block_B=block_B,
            )


def check_host(scheduler: Scheduler, block_B: float) -> None:
    """Infeasible where the host's memory hasn't room for one block of a swapped cache."""
    host = scheduler.host
    if scheduler.preemption == "swap" and host is not None and host.memory_B < block_B:
        raise Infeasible(
            f"the host's memory of {host.memory_B:.6g} B a device has no room for a block of a "
            f"swapped cache, which takes {block_B:.6g} B: write a larger scheduler.host.memory, or "
            "preemption: recompute",
            memory_B=host.memory_B,
            block_B=block_B,
        )


def forget_blocks(states: Records) -> None:
    """No block is anywhere: how prefix caches and tiers begin (`states` are `ENGINE` records)."""
    for name in ("oldest", "newest", "tier_oldest", "tier_newest"):
        states[name] = -1
    for name in ("idle_blocks", "cached_blocks", "tier_blocks"):
        states[name] = 0


def replica_of(kind: Kind) -> Replica:
    """What serves: the program's tables and the scheduler, with its cache."""
    program, scheduler, kv_B = kind.program, kind.scheduler, kind.kv_B
    check_host(scheduler, scheduler.kv_block * float(program.streams["kv_B"].sum()))
    reach = layers_reached(program.table.graph)
    classes, leaders = token_classes(program, reach)
    return Replica(
        ops=program.table.records,
        routing=program.routing,
        streams=program.streams,
        units=program.units,
        links=program.links,
        machine=program.machine[0],
        policy=policy_record(scheduler, kv_B, program)[0],
        classes=classes,
        leaders=leaders,
        reach=reach,
        reached=None if program.speculation is None else program.speculation.reached,
    )


def layers_reached(graph: Graph) -> npt.NDArray[np.float64]:
    """Share of each operator's layers that lie below each layer of the decoder.

    Shape [ops, layers + 1]. What comes before all layers counts to the first one (embedding,
    encoder), what comes after them to the last (head).
    """
    layers = max((max(op.layer_indices, default=-1) for op in graph.ops), default=-1) + 1
    layers = max(layers, 1)
    reach = np.zeros((len(graph.ops), layers + 1))
    begun = False
    for row, op in zip(reach, graph.ops, strict=True):
        begun = begun or bool(op.layer_indices)
        own = np.zeros(layers)
        if op.layer_indices:
            own[list(op.layer_indices)] = 1.0 / len(op.layer_indices)
        else:
            own[-1 if begun else 0] = 1.0
        row[1:] = np.minimum(np.cumsum(own), 1.0)
        row[-1] = 1.0
    return reach


def block_bytes(program: Program, tokens: int) -> float:
    """Bytes of `tokens` cached tokens on one device, for a model that keeps all of them.

    Raises Infeasible for one whose later tokens need more than the keys and values of all earlier
    ones (windows, recurrent state, an encoder): its prefixes can't be shared by block.
    """
    streams = program.streams[program.streams["kv_B"] > 0.0]
    plain = (streams["kind"] == records.CAUSAL) & (streams["window"] == 0)
    if program.state_B > 0.0 or not len(streams) or not plain.all():
        raise Infeasible(
            f"{program.graph.name}: a prefix cache needs attention to all earlier tokens in every "
            "layer; this model has windows, recurrent state or an encoder"
        )
    return float((streams["kv_B"] * streams["keep"]).sum() * tokens)


def token_classes(
    program: Program, reach: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Classes of operators as `state.Replica` has them, and the first operator of each.

    Microbatches and data-parallel groups see parts of a token, which aren't remembered.
    """
    classes = np.full(len(program.table.records), -1)
    leaders: list[int] = []
    if program.layout.pp > 1 or program.layout.attention_dp > 1 or program.split is not None:
        return classes, np.zeros(0, np.int64)
    numbers: dict[tuple[int, int, bytes], int] = {}
    for index, op in enumerate(program.table.records):
        if not _counts_tokens(op) or (op["experts"] > 0 and len(program.routing.local)):
            continue
        key = int(op["stream"]), int(op["phase"]), reach[index].tobytes()
        if key not in numbers:
            numbers[key] = len(leaders)
            leaders.append(index)
        classes[index] = numbers[key]
    return classes, np.array(leaders, np.int64)


def _counts_tokens(op: np.void) -> bool:
    """Whether a number of tokens decides what an operator costs."""
    alike = (
        OpKind.MATMUL,
        OpKind.EXPERTS,
        OpKind.VECTOR,
        OpKind.GATHER,
        OpKind.COLLECTIVE,
    )
    others = "flops_per_pair", "flops_per_cached", "kv_B_per_cached", "state_B_per_sequence"
    return op["kind"] in alike and not op["moves"] and not any(op[name] for name in others)


def scratch_of(program: Program, replica: Replica, *, parts: int) -> Scratch:
    """Room for iterations of up to `parts` parts."""
    operators, rows = len(replica.ops), program.feature_rows
    return Scratch(
        features=np.zeros((parts, rows, 4, 4)),
        experts=np.ones((parts, rows, 3)),
        rows=np.zeros((parts, operators, records.ROW_COLUMNS)),
        chosen=np.zeros((parts, operators, 2), np.int64),
        shares=np.zeros((parts, operators)),
        direct=np.zeros((parts, len(replica.leaders)), np.int64),
        growth=np.zeros(rows),
        alone=np.zeros((rows, 4, 4)),
        alone_experts=np.ones((rows, 3)),
    )


def most_tokens(scheduler: Scheduler, ahead: int) -> int:
    """Tokens of the largest usual iteration, with `ahead` tokens drafted for each sequence."""
    return scheduler.prompt_tokens + scheduler.max_batch * (1 + ahead)


def books_of(program: Program, replica: Replica, *, tokens: int, gaps: int, log: int) -> Books:
    """Empty books, which remember times of up to `tokens` tokens.

    With speculation a log has the features of both parts of an iteration.
    """
    operators, units = len(replica.ops), len(replica.units)
    remembered = min(tokens, REMEMBERED_TOKENS) + 1
    logged = 1 if program.speculation is None else 2
    return Books(
        memo=np.full((len(replica.leaders), remembered, 2), math.nan),
        visits=np.zeros((len(replica.leaders), remembered, 3)),
        seconds=np.zeros((operators, units + 1, 4)),
        joules=np.zeros((operators, units + 1, 3)),
        weights_B=np.zeros(operators),
        gaps=np.zeros((gaps, 2)),
        log=np.zeros((log, records.LOG_COLUMNS + 16 * len(program.streams) * logged)),
    )
