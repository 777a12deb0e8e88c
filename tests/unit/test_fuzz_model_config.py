"""Whatever a config.json or a model YAML holds: an architecture, or one ConfigError."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sim.config.document import Document
from sim.config.models import to_architecture
from sim.errors import ConfigError, Problem
from sim.workload.architecture import Architecture
from sim.workload.hugging_face import architecture_from_config, architecture_from_json
from sim.workload.hugging_face.families import FAMILIES
from sim.workload.layers import build_graph

CONFIG: dict[str, Any] = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 1000,
    "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "hybrid_override_pattern": "M*-M", "mamba_num_heads": 4, "mamba_head_dim": 8,
    "ssm_state_size": 8, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
    "v_head_dim": 16, "d_model": 256, "encoder_attention_heads": 4, "encoder_layers": 2,
    "decoder_layers": 2, "vision_config": {"hidden_size": 96},
}  # fmt: skip
"""Enough for every family."""

MORE = ("head_dim", "layer_types", "sliding_window", "torch_dtype", "quantization_config",
        "q_lora_rank", "n_routed_experts", "num_local_experts", "mlp_only_layers", "moe_layers",
        "attn_layer_period", "attn_layer_offset", "state_size", "expand", "id2label",
        "num_decoder_layers", "no_rope_layer_interval", "max_position_embeddings", "text_config",
        "tie_word_embeddings", "max_window_layers", "use_sliding_window")  # fmt: skip
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 9), st.floats(), st.text(max_size=8),
    st.sampled_from([10**12, 10**400, "auto", ["full_attention"] * 4, ["M"], [[1]], [{}]]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["quant_method", "bits", "hidden_size"]), st.integers()),
)  # fmt: skip


def refused(make: Callable[[], Architecture]) -> tuple[Problem, ...]:
    """What is wrong; nothing where an architecture came out, which then counts its parameters."""
    try:
        made = make()
    except ConfigError as error:
        return error.problems
    graph = build_graph(made)
    assert 0 < graph.parameters < math.inf
    assert 0 < graph.active_parameters_per_token <= graph.parameters
    return ()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_reads_the_unchanged_config(family: str) -> None:
    """So that the mutations below start from something valid."""
    assert not refused(lambda: architecture_from_config({**CONFIG, "model_type": family}, "a"))


@settings(max_examples=300)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    changed=st.dictionaries(st.sampled_from([*CONFIG, *MORE]), JUNK, max_size=5),
    dropped=st.sets(st.sampled_from(sorted(CONFIG)), max_size=2),
)
def test_a_mutated_config(family: str, changed: dict[str, Any], dropped: set[str]) -> None:
    kept = {key: value for key, value in CONFIG.items() if key not in dropped}
    config = {**kept, **changed, "model_type": family}
    event("refused" if refused(lambda: architecture_from_config(config, "a")) else "read")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 10_000), junk=st.binary(max_size=6), at=st.integers(0, 10_000))
def test_a_file_cut_or_overwritten(tmp_path: Path, cut: int, junk: bytes, at: int) -> None:
    whole = json.dumps({**CONFIG, "model_type": "llama"}, indent=1).encode()
    path = tmp_path / "config.json"
    at %= len(whole)
    path.write_bytes((whole[:at] + junk + whole[at + len(junk) :])[: cut % (len(whole) + 1)])
    assert all(each.file == str(path) for each in refused(lambda: architecture_from_json(path)))


MODEL: dict[str, Any] = {
    "title": "a", "hidden": 64, "layers": 4, "vocabulary": 100,
    "attention": {"heads": 4, "kv_heads": 2}, "ffn": {"intermediate": 128},
    "blocks": {"local": {"attention": {"window": 8}}, "moe": {"ffn": None, "experts":
               {"count": 8, "top_k": 2, "intermediate": 32}}},
    "pattern": ["local x2", "moe"],
    "encoder": {"hidden": 64, "layers": 2, "attention": {"heads": 4}, "ffn": {"intermediate": 8}},
}  # fmt: skip
SPACE = {"version": 2, "inner": 8, "state": 4, "heads": 2}
NUMBERS = st.integers(1, 8)
FITTING: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("layers",): NUMBERS, ("hidden",): NUMBERS.map(lambda n: 8 * n), ("vocabulary",): NUMBERS,
    ("attention", "heads"): NUMBERS, ("attention", "head_dim"): NUMBERS,
    ("attention",): st.sampled_from([None, {"heads": 2}]), ("norms",): NUMBERS,
    ("cross_attention",): st.just({"heads": 4}), ("ffn", "gated"): st.booleans(),
    ("blocks", "local", "attention", "window"): NUMBERS,
    ("blocks", "local"): st.sampled_from([{}, {"attention": None, "state_space": SPACE}]),
    ("blocks", "moe", "experts", "count"): NUMBERS,
    ("blocks", "moe", "experts", "top_k"): NUMBERS,
    ("pattern",): st.sampled_from([["local"], ["moe x3", "local"], ["moe x99999"], "x", []]),
    ("encoder", "layers"): NUMBERS, ("encoder", "tokens"): NUMBERS, ("encoder",): st.none(),
    ("weights_dtype",): st.sampled_from(["fp8", "int4"]), ("nonsense",): st.none(),
}  # fmt: skip
"""What may stand at a path, mostly right."""


@st.composite
def yaml_change(draw: st.DrawFn) -> tuple[tuple[str, ...], Any]:
    path = draw(st.sampled_from(sorted(FITTING)))
    return path, draw(st.one_of(FITTING[path], FITTING[path], FITTING[path], JUNK))


def test_the_unchanged_model_is_read() -> None:
    assert len(to_architecture(Document(file="model.yaml", data=MODEL)).layers) == 4


@settings(max_examples=300)
@given(st.lists(yaml_change(), min_size=1, max_size=4))
def test_a_mutated_model_yaml(changes: list[tuple[tuple[str, ...], Any]]) -> None:
    data = json.loads(json.dumps(MODEL))
    for path, value in changes:
        at: Any = data
        for part in path[:-1]:
            at = at.get(part) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[path[-1]] = value
    document = Document(file="model.yaml", data=data)
    event("refused" if refused(lambda: to_architecture(document)) else "read")
