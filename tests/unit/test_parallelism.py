"""What one device of a group runs, holds and sends, by hand for each way of cutting a model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import DENSE, DEVICES, GQA, MODELS, device, model, system

from sim.dtypes import Precision
from sim.errors import ConfigError, Infeasible
from sim.graph import Graph, Kind, Op
from sim.mapping.assemblies import assemble
from sim.mapping.layout import Layout, Parallel
from sim.mapping.parallelism import plan, shard, stage_imbalance
from sim.workload.architecture import Block
from sim.workload.layers import build_graph

ONE = DEVICES["one unit"]


def parts(kind: str, count: int, *, node: int = 4, **wanted: int) -> tuple[Graph, Graph]:
    """The graph of a model and what one device of `count` runs of it."""
    graph, machines = build_graph(MODELS[kind]), system(ONE, count, node)
    layout = plan(graph, machines, Parallel(**wanted))
    return graph, shard(graph, layout, machines)


def ops(graph: Graph, name: str) -> list[Op]:
    return [op for op in graph.ops if op.name == name]


def one(graph: Graph, name: str) -> Op:
    (op,) = ops(graph, name)
    return op


@pytest.mark.parametrize(
    "name", ["attention_out", "ffn_up", "ffn_down", "lm_head", "embedding", "attention_decode"]
)
def test_work_and_weights_are_divided_among_devices(name: str) -> None:
    whole, slice_ = (one(graph, name) for graph in parts("dense", 4, tp=4))
    assert slice_.weights == whole.weights / 4
    assert slice_.flops_per_token == whole.flops_per_token / 4
    assert slice_.flops_per_pair == whole.flops_per_pair / 4


def test_kv_heads_are_copied_where_there_are_fewer_than_devices() -> None:
    """4 query heads and 2 KV heads of 16 on 4 devices: a query head and a KV head on each."""
    whole, slices = parts("dense", 4, tp=4)
    qkv = one(slices, "qkv")
    assert qkv.outputs == 16 + 2 * 16
    assert qkv.weights == 64 * (16 + 2 * 16)
    assert qkv.flops_per_token == 2 * qkv.weights
    assert one(slices, "attention_decode").kv_read == 2 * 16
    assert one(whole, "attention_decode").kv_read == 2 * 2 * 16
    assert one(parts("dense", 2, tp=2)[1], "attention_decode").kv_read == 2 * 16


def test_latent_cache_is_copied_to_every_device() -> None:
    whole, slices = parts("mla", 4, tp=4)
    for name in ("attention_prefill", "attention_decode"):
        assert one(slices, name).kv_read == one(whole, name).kv_read == 32 + 8
        assert one(slices, name).flops_per_pair == one(whole, name).flops_per_pair / 4


def test_norms_and_routers_are_replicated() -> None:
    whole, slices = parts("moe", 4, tp=4)
    for name in ("norm", "router", "shared_gate", "final_norm"):
        assert one(slices, name) == one(whole, name)


@pytest.mark.parametrize("ep", [1, 2, 4])
def test_expert_parallel_splits_experts_before_their_matrices(ep: int) -> None:
    """8 experts, top 2, hidden 64, 96 wide and gated, on 4 devices."""
    slices = parts("moe", 4, tp=4, ep=ep)[1]
    up, down = one(slices, "experts_up"), one(slices, "experts_down")
    ways = 4 // ep
    assert up.weights == 8 * 64 * 192 / 4
    assert down.weights == 8 * 96 * 64 / 4
    assert up.width == 192 / ways  # of one expert
    assert (down.depth, down.width) == (96 / ways, 64)
    # the mean rank gets 2 / ep of a token's experts: all of the input, its share of the inner width
    assert (up.inputs, up.outputs) == (2 * 64 / ep, 2 * 192 / ep / ways)
    assert (down.inputs, down.outputs) == (2 * 96 / ep / ways, 2 * 64 / ep)
    assert up.flops_per_token == 2 * 2 * 64 * 192 / 4


def test_a_layer_is_reduced_twice_and_logits_are_gathered() -> None:
    slices = parts("dense", 4, tp=4)[1]
    sent = {op.name: (op.collective, op.message, op.group, op.layers) for op in slices.ops
            if op.kind == Kind.COLLECTIVE}  # fmt: skip
    assert sent == {
        "embedding.all-reduce": ("all-reduce", 64, 4, 1),
        "attention_out.all-reduce": ("all-reduce", 64, 4, 4),
        "ffn_down.all-reduce": ("all-reduce", 64, 4, 4),
        "lm_head.all-gather": ("all-gather", 1000, 4, 1),
    }


def test_shared_and_routed_experts_are_reduced_together() -> None:
    slices = parts("moe", 4, tp=4)[1]
    reduced = [op.name for op in slices.ops if op.collective == "all-reduce" and op.layers == 4]
    assert reduced == ["attention_out.all-reduce", "experts_combine.all-reduce"]


def test_a_group_across_nodes_reduces_inside_and_between() -> None:
    slices = parts("dense", 4, node=2, tp=4)[1]
    inside, between = ops(slices, "ffn_down.all-reduce"), ops(
        slices, "ffn_down.all-reduce.network"
    )  # fmt: skip
    assert [(op.group, op.message, op.across_nodes) for op in inside] == [(2, 64, False)]
    assert [(op.group, op.message, op.across_nodes) for op in between] == [(2, 32, True)]


@pytest.mark.parametrize(
    ("node", "inside", "across"),
    [(8, 4, 0), (4, 2, 2), (2, 0, 4), (1, 0, 4)],
)
def test_stage_transfers_cross_nodes_only_where_stages_do(
    node: int, inside: int, across: int
) -> None:
    """Four stages of two devices; the last hands its token back to the first."""
    slices = parts("dense", 8, node=node, tp=2, pp=4)[1]
    counts = {op.across_nodes: op.layers for op in slices.ops if op.collective == "send"}
    assert counts == {side: n for side, n in ((False, inside), (True, across)) if n}


def test_one_device_has_the_whole_graph_and_sends_nothing() -> None:
    for kind in MODELS:
        whole, slices = parts(kind, 1)
        assert slices == whole


def test_devices_that_share_an_expert_gather_its_tokens() -> None:
    """Two groups of four: with ep 8 each expert is on one device, with ep 2 on the four of a node.

    What a device received by all-to-all is a quarter of what the four together then hold.
    """
    message = {}
    for ep in (2, 8):
        slices = parts("moe", 8, node=4, tp=4, attention_dp=2, ep=ep)[1]
        message[ep] = {op.name: (op.message, op.group) for op in slices.ops if op.message}
    assert not [name for name in message[8] if name.startswith("experts_gather")]
    sent, _ = message[2]["experts_dispatch.all-to-all.network"]
    assert message[2]["experts_gather.all-gather"] == (pytest.approx(4 * sent), 4)
    assert "experts_scatter.all-gather" in message[2]


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_devices_together_hold_the_model_and_what_is_copied(kind: str) -> None:
    """Weights of 4 devices exceed the model's by the copies of replicated operators only."""
    whole, slices = parts(kind, 4, tp=4)
    copied = 3 * sum(op.weights * op.layers for op in whole.ops if op.owned and op.shard == "none")
    # 2 KV heads on 4 devices: their columns of qkv are held twice
    copied += sum(
        op.layers * op.weights * op.kv_width / (op.width + op.kv_width)
        for op in whole.ops
        if op.owned and op.kv_width and op.kv_heads == 2
    )
    assert 4 * slices.parameters == pytest.approx(whole.parameters + copied, rel=1e-12)


# --- the plan ---------------------------------------------------------------------------------


def layout(kind: str = "dense", count: int = 8, node: int = 4, **wanted: int) -> Layout:
    return plan(build_graph(MODELS[kind]), system(ONE, count, node), Parallel(**wanted))


def test_plan_fills_the_node_and_repeats() -> None:
    assert layout() == Layout(tp=4, pp=1, ep=1, dp=2)
    assert layout(count=6, node=8) == Layout(tp=4, pp=1, ep=1, dp=1)
    assert layout(pp=2, count=4) == Layout(tp=2, pp=2, ep=1, dp=1)
    assert layout(tp=1, dp=3) == Layout(tp=1, pp=1, ep=1, dp=3)


@pytest.mark.parametrize(
    ("wanted", "path", "words"),
    [
        ({"tp": 3}, "parallel.tp", "3 does not divide the 4 heads"),
        ({"tp": 4, "ep": 3}, "parallel.ep", "3 does not divide the 8 experts"),
        ({"tp": 2, "ep": 4}, "parallel.ep", "4 does not divide tp = 2"),
        ({"tp": 4, "ep": 16}, "parallel.ep", "8 experts: ep = 4 splits each over 1 of tp = 4"),
        ({"pp": 5, "tp": 1}, "parallel.pp", "5 stages for 4 layers"),
        ({"tp": 4, "dp": 3}, "parallel", "needs 12 devices; toys has 8"),
    ],
)
def test_impossible_layouts_are_explained(wanted: dict[str, int], path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        layout("moe", **wanted)
    assert any(p.path == path and words in p.message for p in caught.value.problems)


def test_tp_must_fit_the_kv_heads() -> None:
    odd = model(Block(mixer=replace(GQA, heads=12, kv_heads=4), ffn=DENSE.ffn))
    with pytest.raises(ConfigError, match="6 neither divides nor is divided by 4 KV heads"):
        plan(build_graph(odd), system(ONE, 6, 8), Parallel(tp=6))


def test_several_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        layout("moe", tp=3, ep=5, pp=9)
    assert [each.path for each in caught.value.problems] == [
        "parallel.tp", "parallel.ep", "parallel.pp", "parallel",
    ]  # fmt: skip


@pytest.mark.parametrize("wanted", [{"tp": 2}, {"tp": 1, "pp": 2}])
def test_devices_without_a_link_cannot_share_a_model(wanted: dict[str, int]) -> None:
    graph, machines = build_graph(MODELS["dense"]), system(device(link=None), 2)
    with pytest.raises(Infeasible, match="no link"):
        shard(graph, plan(graph, machines, Parallel(**wanted)), machines)


def test_a_replica_larger_than_a_node_needs_a_network() -> None:
    graph, machines = build_graph(MODELS["dense"]), replace(system(ONE, 4, 2), network=None)
    with pytest.raises(Infeasible, match="no network joins them"):
        shard(graph, plan(graph, machines, Parallel(tp=2, pp=2)), machines)


def test_longest_stage_of_an_uneven_pipeline() -> None:
    graph = build_graph(model(*(DENSE,) * 5))
    assert stage_imbalance(graph, Layout(tp=1, pp=2, ep=1, dp=1)) == pytest.approx(3 / 2.5)
    assert stage_imbalance(graph, Layout(tp=1, pp=5, ep=1, dp=1)) == 1.0


def test_a_device_without_the_arithmetic_is_infeasible() -> None:
    half = replace(DEVICES["PIM"].processors[1], operators=())
    graph, machines = build_graph(MODELS["dense"]), system(device(half))
    layout = plan(graph, machines, Parallel())
    single = Precision(weights="fp32", kv="fp32", activations="fp32")
    with pytest.raises(Infeasible, match="no processor that runs fc computes in fp32"):
        assemble(graph, machines, layout, single)
    assert assemble(graph, machines, layout, Precision()).table.records.size > 0
