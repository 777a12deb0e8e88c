"""KV cache and state of eight kinds of model, against formulas written here by hand.

Two bytes an element. Keys and values: 2 x layers x KV heads x head dimension. MLA keeps one latent
of kv_lora_rank + qk_rope_head_dim. A Mamba layer keeps inner x state and inner x (conv - 1).
"""

from __future__ import annotations

from typing import Any

import pytest

from sim.graph import Graph
from sim.workload.hugging_face import architecture_from_config
from sim.workload.layers import build_graph

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8,
    "intermediate_size": 512, "vocab_size": 1000,
}  # fmt: skip


def graph(**config: Any) -> Graph:
    return build_graph(architecture_from_config(config, "test"))


def test_multi_head() -> None:
    made = graph(**LLAMA)
    assert made.kv_bytes_per_token("fp16") == 2 * 6 * 8 * 32 * 2
    assert made.state_bytes_per_sequence("fp16") == 0


def test_grouped_query() -> None:
    assert graph(**LLAMA, num_key_value_heads=2).kv_bytes_per_token("fp16") == 2 * 6 * 2 * 32 * 2


def test_multi_query() -> None:
    made = graph(**LLAMA, num_key_value_heads=1)
    assert made.kv_bytes_per_token("fp16") == 2 * 6 * 1 * 32 * 2
    assert made.kv_bytes_per_token("fp8") == 2 * 6 * 1 * 32


def test_latent() -> None:
    made = graph(
        model_type="deepseek_v2", hidden_size=256, num_hidden_layers=5, num_attention_heads=8,
        intermediate_size=512, vocab_size=1000, kv_lora_rank=64, qk_rope_head_dim=16,
        qk_nope_head_dim=32, v_head_dim=32, n_routed_experts=8, num_experts_per_tok=2,
        moe_intermediate_size=64, n_shared_experts=1, first_k_dense_replace=1,
    )  # fmt: skip
    assert made.kv_bytes_per_token("fp16") == 5 * (64 + 16) * 2


def test_sliding_window_grows_like_full_attention_until_the_window_cuts_it() -> None:
    made = graph(**{**LLAMA, "model_type": "mistral"}, num_key_value_heads=2, sliding_window=128)
    assert made.kv_bytes_per_token("fp16") == 2 * 6 * 2 * 32 * 2
    assert {stream.window for stream in made.streams if stream.window} == {128}


def test_local_and_global_layers_both_grow() -> None:
    made = graph(
        model_type="gemma2", hidden_size=256, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, intermediate_size=512, vocab_size=1000,
        sliding_window=128,
    )  # fmt: skip
    assert made.kv_bytes_per_token("fp16") == 2 * 6 * 2 * 64 * 2
    local = [op for op in made.ops if op.stream.window == 128 and op.name == "attention_decode"]
    assert sum(op.layers for op in local) == 3


def test_state_space() -> None:
    made = graph(
        model_type="mamba", hidden_size=64, num_hidden_layers=4, vocab_size=1000, state_size=16,
        expand=2, conv_kernel=4, time_step_rank=4,
    )  # fmt: skip
    assert made.kv_bytes_per_token("fp16") == 0
    assert made.state_bytes_per_sequence("fp16") == 4 * (128 * 16 + 128 * 3) * 2


def test_hybrid_of_mamba_1_and_attention() -> None:
    made = graph(
        model_type="jamba", hidden_size=64, num_hidden_layers=16, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=128, vocab_size=1000, num_experts=4,
        num_experts_per_tok=2, mamba_d_state=16, mamba_d_conv=4, mamba_expand=2, mamba_dt_rank=4,
        attn_layer_period=8, attn_layer_offset=4, expert_layer_period=2, expert_layer_offset=1,
    )  # fmt: skip
    assert made.kv_bytes_per_token("fp16") == 2 * 2 * 2 * 16 * 2  # layers 4 and 12
    assert made.state_bytes_per_sequence("fp16") == 14 * (128 * 16 + 128 * 3) * 2


def test_hybrid_of_mamba_2_and_attention() -> None:
    made = graph(
        model_type="nemotron_h", hidden_size=64, num_attention_heads=4, num_key_value_heads=2,
        attention_head_dim=16, intermediate_size=128, vocab_size=1000, mamba_num_heads=8,
        mamba_head_dim=16, ssm_state_size=32, n_groups=2, conv_kernel=4, num_hidden_layers=6,
        hybrid_override_pattern="M-M*M-",
    )  # fmt: skip
    assert made.kv_bytes_per_token("fp16") == 1 * 2 * 2 * 16 * 2
    inner, convolved = 8 * 16, 8 * 16 + 2 * 2 * 32
    assert made.state_bytes_per_sequence("fp16") == 3 * (inner * 32 + convolved * 3) * 2


def test_encoder_decoder() -> None:
    made = graph(
        model_type="t5", d_model=64, num_layers=3, num_decoder_layers=4, num_heads=4, d_kv=16,
        d_ff=128, vocab_size=1000,
    )  # fmt: skip
    own = 2 * 4 * 4 * 16 * 2
    assert made.kv_bytes_per_token("fp16") == own
    assert made.cross_kv_bytes_per_input_token("fp16") == own
    assert made.state_bytes_per_sequence("fp16", encoder_tokens=10) == 10 * own


def test_encoder_decoder_with_fixed_frames_keeps_them_as_state() -> None:
    made = graph(
        model_type="whisper", n_mels=80, n_audio_ctx=100, n_audio_state=64, n_audio_head=4,
        n_audio_layer=2, n_vocab=1000, n_text_ctx=50, n_text_state=64, n_text_head=4,
        n_text_layer=3,
    )  # fmt: skip
    assert made.kv_bytes_per_token("fp16") == 2 * 3 * 64 * 2
    assert made.state_bytes_per_sequence("fp16") == 100 * 2 * 3 * 64 * 2


BITS = {"fp32": 32, "bf16": 16, "fp8": 8, "int8": 8, "int4": 4.125, "mxfp4": 4.25, "nvfp4": 4.5}


@pytest.mark.parametrize(("dtype", "bits"), BITS.items())
def test_block_scales_are_counted(dtype: str, bits: float) -> None:
    made = graph(**LLAMA)
    assert made.weight_bytes(dtype) == made.parameters * bits / 8
