"""Parallelism: how many devices hold one copy of the model, and what each of them runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from sim.errors import ConfigError, Infeasible, Problem
from sim.graph import Collective, Graph, Kind, Op, Phase, Side
from sim.hardware import System
from sim.mapping.layout import Layout, Parallel
from sim.operators import COMMUNICATION


def plan(graph: Graph, system: System, wanted: Parallel) -> Layout:
    """The layout asked for, with what is left open chosen; ConfigError where it cannot be.

    Pipeline stages left open are one: whether weights fit is seen later (`prepare`).
    """
    tp, pp, ep, dp, groups = wanted.tp, wanted.pp or 1, wanted.ep, wanted.dp, wanted.attention_dp
    copies = 0 if wanted.experts is None else wanted.experts.redundant
    problems: list[Problem] = []
    if groups > 1 and not any(op.experts for op in graph.ops):
        message = f"{groups} groups share experts, but {graph.name} has none: use dp"
        raise ConfigError([_problem("parallel.attention_dp", message)])
    if tp is None:
        most = max(system.count // (pp * groups * (dp or 1)), 1)
        tp = _widest(graph, most, system.devices_per_node)
    for op in graph.ops:
        heads, kv_heads = op.heads, op.kv_heads
        if heads and heads % tp:
            problems.append(_problem("parallel.tp", f"{tp} does not divide the {heads} heads"))
        elif kv_heads and kv_heads % tp and tp % kv_heads:
            message = f"{tp} neither divides nor is divided by {kv_heads} KV heads"
            problems.append(_problem("parallel.tp", message))
    experts = max((op.experts for op in graph.ops), default=0)
    if wanted.experts is not None and not experts:
        message = f"{graph.name} has no experts: leave it out"
        problems.append(_problem("parallel.experts", message))
    elif ep == 1 and copies:
        message = f"{copies} redundant experts need ranks to lie on: write parallel.ep"
        problems.append(_problem("parallel.experts.redundant", message))
    else:
        problems += misplaced(copies, experts, ep, f"{ep} ranks")
    many = f"tp = {tp}" if groups == 1 else f"tp x attention_dp = {tp * groups}"
    if experts % ep and not copies:
        most_ep = math.gcd(experts, tp * groups)
        hint = f": ep = {most_ep} splits each over {tp * groups // most_ep} of {many} devices"
        message = f"{ep} does not divide the {experts} experts"
        problems.append(_problem("parallel.ep", message + hint))
    elif tp * groups % ep:
        message = f"{ep} does not divide {many}, whose devices it groups"
        problems.append(_problem("parallel.ep", message))
    if pp > graph.layers:
        problems.append(_problem("parallel.pp", f"{pp} stages for {graph.layers} layers"))
    devices = tp * pp * groups
    most = system.count // devices
    if most < 1 or (dp is not None and dp > most):
        shared = f" x attention_dp {groups}" if groups > 1 else ""
        problems.append(
            _problem(
                "parallel",
                f"tp {tp} x pp {pp}{shared} x dp {dp or 1} needs {devices * (dp or 1)} devices; "
                f"{system.name} has {system.count}",
            )
        )
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Layout(
        tp=tp,
        pp=pp,
        ep=ep,
        dp=most if dp is None else dp,
        attention_dp=groups,
        experts=wanted.experts,
    )


def misplaced(copies: int, experts: int, ep: int, ranks: str) -> list[Problem]:
    """What is wrong with `copies` of `experts` experts on `ep` ranks, which are called `ranks`."""
    message, left = "", (experts + copies) % ep
    if copies > experts * (ep - 1):
        message = f"{experts * (ep - 1)} already put all {experts} experts on each of {ranks}"
    elif copies and left:
        message = f"{experts} + {copies} experts do not fill {ranks} evenly: "
        fewer, more = copies - left, copies + ep - left
        message += f"{fewer} or {more} would" if fewer >= 0 else f"{more} would"
    return [_problem("parallel.experts.redundant", message)] if message else []


def _problem(path: str, message: str) -> Problem:
    return Problem(path=path, message=message)


def _widest(graph: Graph, devices: int, node: int) -> int:
    """Largest power of two of devices inside a node over which every operator's heads divide."""
    tp = 1
    while tp * 2 <= min(devices, node) and all(
        not op.heads
        or (
            op.heads % (tp * 2) == 0
            and (not op.kv_heads or op.kv_heads % (tp * 2) == 0 or tp * 2 % op.kv_heads == 0)
        )
        for op in graph.ops
    ):
        tp *= 2
    return tp


def shard(graph: Graph, layout: Layout, system: System) -> Graph:
    """What one device of the group runs, with the collectives that tie the group together.

    Pipeline stages stay folded: the graph has all layers, and a pass visits every stage.
    """
    node = min(layout.devices, system.devices_per_node)
    if node > 1 and system.device.link is None:
        raise Infeasible(
            f"{system.name}: {node} devices of a node work on one model, but "
            f"{system.device.title} has no link to others",
            tp=layout.tp,
            pp=layout.pp,
        )
    if layout.devices > system.devices_per_node and system.network is None:
        raise Infeasible(
            f"{system.name}: a replica of {layout.devices} devices spans nodes of "
            f"{system.devices_per_node}, but no network joins them",
            devices=layout.devices,
            devices_per_node=system.devices_per_node,
        )

    def rule(op: Op) -> tuple[Op, ...]:
        if layout.expert_devices:
            before, after = (tuple(_transfer(op, way, layout)) for way in ("column", "row"))
            return (*before, _on_its_side(op, layout), *after, *_collectives(op, layout, system))
        before = tuple(_exchange(op, "column", layout, system))
        after = tuple(_exchange(op, "row", layout, system))
        return (*before, slice_of(op, layout), *after, *_collectives(op, layout, system))

    sharded = graph.rewrite(rule)
    if layout.pp == 1:
        return sharded
    return replace(sharded, ops=(*sharded.ops, *_stage_transfers(graph, layout, system)))


def slice_of(op: Op, layout: Layout) -> Op:
    """`op` as one of `tp` devices runs it; weights, work and traffic divided as `shard` says.

    Of experts it has the mean rank's: tokens sent to others are neither read nor written here, and
    tp * attention_dp / ep devices share each matrix.
    """
    tp = layout.expert_group if op.all_groups else layout.tp
    if tp == 1 or op.shard == "none":
        return op
    ep = layout.ep if op.experts else 1
    ways = tp // ep
    kv_ways = min(tp, op.kv_heads) if op.kv_heads else tp
    columns = op.width + op.kv_width
    share = (op.width / tp + op.kv_width / kv_ways) / columns if columns else 1.0 / tp
    if op.shard in ("row", "vocabulary") or op.kind == Kind.ATTENTION:
        share = 1.0 / tp
    row = op.shard == "row"
    whole = row or op.kind == Kind.GATHER  # partial sums are as wide as the result
    return replace(
        op,
        flops_per_token=op.flops_per_token * share,
        flops_per_pair=op.flops_per_pair / tp,
        flops_per_cached=op.flops_per_cached * share,
        weights=op.weights * share,
        inputs=op.inputs / (tp if row or _splits_inputs(op) else ep),
        outputs=op.outputs / ep if whole else op.outputs * share,
        depth=math.ceil(op.depth / ways) if row else op.depth,
        width=op.width if row else math.ceil(op.width / ways),
        kv_width=math.ceil(op.kv_width / kv_ways),
        kv_read=op.kv_read / kv_ways if op.kv_heads else op.kv_read / tp,
        kv_write=op.kv_write / kv_ways if op.kv_heads else op.kv_write / tp,
        state=op.state / tp,
        heads=op.heads // tp if op.kind == Kind.ATTENTION else op.heads,
        kv_heads=op.kv_heads // kv_ways if op.kind == Kind.ATTENTION else op.kv_heads,
    )


def _splits_inputs(op: Op) -> bool:
    """Element-wise, scan, attention and look-up operators read only their own slice."""
    return op.kind in (Kind.VECTOR, Kind.SCAN, Kind.ATTENTION, Kind.GATHER)


def _collectives(op: Op, layout: Layout, system: System) -> Iterator[Op]:
    """All-reduce after partial sums; gathering of logits after a vocabulary-parallel head."""
    if layout.tp == 1:
        return
    if op.reduced:
        yield from _group(op, "all-reduce", op.reduced, layout, system)
    elif op.shard == "vocabulary" and op.kind == Kind.GATHER:
        yield from _group(op, "all-reduce", op.outputs, layout, system)
    elif op.shard == "vocabulary":
        yield from _group(op, "all-gather", op.outputs, layout, system)


def collective_after(
    op: Op,
    name: str,
    collective: Collective,
    message: float,
    group: int,
    *,
    across_nodes: bool = False,
    routed: bool = False,
) -> Op:
    """A collective of `message` elements a token among `group` devices, in the layers of `op`.

    Of a `routed` one a device receives what its expert rank has of the tokens.
    """
    return Op(
        name=name,
        kind=Kind.COLLECTIVE,
        operator_class=COMMUNICATION,
        layers=op.layers,
        layer_indices=op.layer_indices,
        stream=op.stream,
        phase=op.phase,
        message=message,
        collective=collective,
        group=group,
        across_nodes=across_nodes,
        routed=routed,
    )


def _group(
    op: Op, collective: Collective, message: float, layout: Layout, system: System
) -> Iterator[Op]:
    """One collective over the tensor-parallel group; inside and across nodes where it spans both.

    Across nodes an all-reduce is hierarchical: each device exchanges its share of the message with
    its peers in other nodes, between a reduce-scatter and an all-gather inside the node.
    """
    inside = min(layout.tp, system.devices_per_node)
    outside = math.ceil(layout.tp / inside)
    for group, size, across in ((inside, message, False), (outside, message / inside, True)):
        if group > 1:
            name = f"{op.name}.{collective}" + (".network" if across else "")
            yield collective_after(op, name, collective, size, group, across_nodes=across)


def _exchange(op: Op, shard: str, layout: Layout, system: System) -> Iterator[Op]:
    """All-to-all between data-parallel groups: tokens to their experts, results back.

    Of the products of experts, the "column" one is before its tokens come, the "row" one after.
    Each device sends the tokens of its part of the group. Inside and across nodes go one after the
    other. Devices that share an expert gather its tokens from each other, and reduce-scatter (as
    costly as a gather) their partial sums. With a placement, what the busiest rank receives counts
    where it is more than what a device sends.
    """
    routed = layout.experts is not None
    groups = layout.attention_dp
    if groups == 1 or op.kind != Kind.EXPERTS or op.shard != shard:
        return
    inside = max(min(system.devices_per_node // layout.tp, groups), 1)
    outside = math.ceil(groups / inside)
    elements = (op.inputs if shard == "column" else op.outputs) / layout.tp
    for group, share, across in ((inside, inside / groups, False), (outside, 1.0, True)):
        if group > 1:
            kind = "dispatch" if shard == "column" else "return"
            name = f"experts_{kind}.all-to-all" + (".network" if across else "")
            yield collective_after(
                op, name, "all-to-all", elements * share, group, across_nodes=across, routed=routed
            )
    sharers = min(layout.stage_devices // layout.ep, layout.tp)
    if sharers > 1:  # each received a part of the tokens of an expert it has a part of
        name = "experts_gather.all-gather" if shard == "column" else "experts_scatter.all-gather"
        yield collective_after(op, name, "all-gather", elements * sharers, sharers, routed=routed)


def _on_its_side(op: Op, layout: Layout) -> Op:
    """The slice of `op`, on the expert side where it works on what the router sent."""
    own = slice_of(op, layout)
    return replace(own, side=Side.EXPERTS, operator_class="experts") if op.all_groups else own


def _transfer(op: Op, shard: str, layout: Layout) -> Iterator[Op]:
    """What goes to the expert side before the first product of experts, and back after the last.

    A device of the attention side sends the token-expert pairs of its part of its group, and one
    of the expert side gets those of its experts; the busiest of all decides.
    """
    if op.kind != Kind.EXPERTS or op.shard != shard:
        return
    forth = shard == "column"
    elements = (op.inputs if forth else op.outputs) / layout.tp
    name = f"experts_{'dispatch' if forth else 'return'}.send"
    sent = collective_after(op, name, "send", elements, 2, routed=True)
    inflow = layout.stage_devices / layout.expert_devices
    yield replace(sent, side=Side.LINK_THERE if forth else Side.LINK_BACK, inflow=inflow)


def _stage_transfers(graph: Graph, layout: Layout, system: System) -> Iterator[Op]:
    """Hidden states handed from stage to stage, and the sampled token back to the first."""
    last = next(op for op in reversed(graph.ops) if op.phase in (Phase.ALL, Phase.PREFILL))
    node = [stage * layout.stage_devices // system.devices_per_node for stage in range(layout.pp)]
    across = sum(here != there for here, there in zip(node, [*node[1:], node[0]], strict=True))
    for count, network in ((layout.pp - across, False), (across, True)):
        if count:
            yield Op(
                name="stage.send" + (".network" if network else ""),
                kind=Kind.COLLECTIVE,
                operator_class=COMMUNICATION,
                layers=count,
                stream=last.stream,
                phase=last.phase,
                message=graph.hidden,
                collective="send",
                group=2,
                across_nodes=network,
            )


def stage_imbalance(graph: Graph, layout: Layout) -> float:
    """Layers of the longest pipeline stage over the mean."""
    return math.ceil(graph.layers / layout.pp) * layout.pp / graph.layers
