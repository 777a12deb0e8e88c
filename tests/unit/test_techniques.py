"""Techniques: parameters are checked, null parameters change nothing, others do what they say."""

from __future__ import annotations

from dataclasses import fields

import pytest

from sim.config.json_schema import descriptions
from sim.errors import ConfigError
from sim.graph import Graph, Phase
from sim.techniques import TECHNIQUES, apply
from sim.workload.architecture import Architecture, Attention, Block, FeedForward
from sim.workload.layers import build_graph

LAYERS = 8


def small() -> Graph:
    block = Block(
        mixer=Attention(heads=4, kv_heads=2, head_dim=16), ffn=FeedForward(intermediate=128)
    )
    return build_graph(
        Architecture(
            name="small", title="Small", hidden=64, vocabulary=100, layers=(block,) * LAYERS
        )
    )


def pruned(layer: int, keep: float) -> Graph:
    return apply(small(), ({"kind": "token-pruning", "layer": layer, "keep": keep},))


def test_every_technique_is_documented() -> None:
    for kind, technique in TECHNIQUES.items():
        assert technique.kind == kind
        assert technique.title
        assert technique.citation
        assert technique.quality
        texts = descriptions(technique.parameters)
        assert all(texts.get(field.name) for field in fields(technique.parameters))


def test_null_token_pruning_is_the_identity() -> None:
    assert pruned(0, 1.0) == small()


@pytest.mark.parametrize("layer", [0, 3, LAYERS - 1])
def test_pruning_keeps_weights_and_splits_layers(layer: int) -> None:
    graph = pruned(layer, 0.25)
    assert graph.parameters == small().parameters
    assert graph.kv_bytes_per_token("fp16") == small().kv_bytes_per_token("fp16")
    attention = [op for op in graph.ops if op.name == "attention_prefill"]
    kept = {op.stream.keep: op.layers for op in attention}
    assert kept == ({1.0: layer} if layer else {}) | {0.25: LAYERS - layer}
    assert all(
        min(op.layer_indices) >= layer
        for op in graph.ops
        if op.stream.keep < 1.0 and op.phase == Phase.PREFILL
    )


def test_pruning_twice_multiplies() -> None:
    graph = apply(
        small(),
        (
            {"kind": "token-pruning", "layer": 2, "keep": 0.5},
            {"kind": "token-pruning", "layer": 4, "keep": 0.5},
        ),
    )
    kept = {op.stream.keep: op.layers for op in graph.ops if op.name == "attention_prefill"}
    assert kept == {1.0: 2, 0.5: 2, 0.25: LAYERS - 4}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layer": 2}, "keep: is missing"),
        ({"layer": 2, "kep": 0.5, "keep": 0.5}, "did you mean 'keep'"),
        ({"layer": 2, "keep": 0.0}, "from 0.01 to 1"),
        ({"layer": 2, "keep": "half"}, "number"),
        ({"layer": True, "keep": 0.5}, "whole number"),
        ({"layer": 2.5, "keep": 0.5}, "whole number"),
        ({"layer": LAYERS, "keep": 0.5}, "decoder layers 0 to 7"),
        ({"layer": -1, "keep": 7}, "layer"),
    ],
)
def test_bad_parameters_are_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        apply(small(), ({"kind": "token-pruning", **given},))


def dropped(part: str, layers: int) -> Graph:
    return apply(small(), ({"kind": "layer-drop", "part": part, "layers": layers},))


def runs(graph: Graph, name: str) -> set[int]:
    """Layers that run the operators of a name."""
    return {index for op in graph.ops if op.name == name for index in op.layer_indices}


def test_dropping_attention_leaves_the_last_layer_and_all_feed_forward_networks() -> None:
    graph = dropped("attention", 3)
    assert runs(graph, "attention_decode") == runs(graph, "qkv") == {0, 1, 2, 3, 7}
    assert runs(graph, "ffn_up") == runs(graph, "norm") == set(range(LAYERS))
    kv = graph.kv_bytes_per_token("fp16")
    assert kv == pytest.approx(5 / 8 * small().kv_bytes_per_token("fp16"))


def test_halves_of_a_layer_and_whole_ones_add_up() -> None:
    halves = [dropped(part, 3).parameters for part in ("attention", "feed-forward")]
    lost = sum(small().parameters - half for half in halves)
    assert lost == pytest.approx(small().parameters - dropped("block", 3).parameters)
    assert runs(dropped("block", 3), "norm") == {0, 1, 2, 3, 7}


@pytest.mark.parametrize(
    ("part", "layers", "words"),
    [
        ("atention", 3, "did you mean 'attention'"),
        ("block", LAYERS, "the last one stays"),
        ("block", 0, "whole number from 1"),
    ],
)
def test_what_can_t_be_dropped_is_told(part: str, layers: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dropped(part, layers)
