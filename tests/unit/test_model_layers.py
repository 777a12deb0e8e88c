"""Work and traffic of each kind of layer, against counts made here by hand from the papers.

Every number below is written out from the shapes of matrices; nothing is taken from the code.
"""

from __future__ import annotations

import pytest

from sim.dtypes import Precision
from sim.graph import Graph, Op, Phase, lower
from sim.workload.architecture import (
    Architecture,
    Attention,
    Block,
    Encoder,
    Experts,
    FeedForward,
    LatentAttention,
    StateSpace,
)
from sim.workload.layers import build_graph

HIDDEN, VOCABULARY = 64, 1000
FFN = FeedForward(intermediate=96)


def graph(*blocks: Block, encoder: Encoder | None = None, **more: bool) -> Graph:
    return build_graph(
        Architecture(
            name="a",
            title="a",
            hidden=HIDDEN,
            vocabulary=VOCABULARY,
            layers=blocks,
            encoder=encoder,
            **more,
        )
    )


def op(made: Graph, name: str) -> Op:
    (found,) = [each for each in made.ops if each.name == name]
    return found


def flops_per_token(made: Graph, phase: Phase) -> float:
    """Multiply-adds of matrices (x 2), without attention pairs, norms and activations."""
    kinds = ("fc", "experts", "lm-head")
    return sum(
        each.flops_per_token * each.layers
        for each in made.ops
        if each.operator_class in kinds and each.phase in (Phase.ALL, phase, Phase.LOGITS)
    )


def test_dense_layers_do_two_flops_a_weight() -> None:
    block = Block(mixer=Attention(heads=4, kv_heads=2, head_dim=16), ffn=FFN)
    made = graph(*[block] * 3)
    matrices = HIDDEN * (64 + 2 * 32) + 64 * HIDDEN + 3 * HIDDEN * 96
    norms = 2 * HIDDEN
    assert made.parameters == 3 * (matrices + norms) + HIDDEN + 2 * VOCABULARY * HIDDEN
    assert flops_per_token(made, Phase.DECODE) == 2 * (3 * matrices + VOCABULARY * HIDDEN)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_attention_does_four_flops_a_query_dimension_and_pair(phase: str) -> None:
    made = graph(Block(mixer=Attention(heads=4, kv_heads=2, head_dim=16), ffn=FFN))
    found = op(made, f"attention_{phase}")
    assert found.flops_per_pair == 2 * 4 * 16 + 2 * 4 * 16 + 5 * 4  # scores, values, softmax
    assert (found.kv_read, found.kv_write) == (2 * 2 * 16, 2 * 2 * 16)
    assert (found.inputs, found.outputs) == (4 * 16, 4 * 16)  # queries in, values out: no scores


def test_biases_sinks_and_norms_of_attention_are_weights() -> None:
    plain = Attention(heads=4, kv_heads=2, head_dim=16)
    rich = Attention(heads=4, kv_heads=2, head_dim=16, bias=True, output_bias=True, qk_norm=True,
                     sinks=True)  # fmt: skip
    more = graph(Block(mixer=rich)).parameters - graph(Block(mixer=plain)).parameters
    assert more == (64 + 32 + 32) + HIDDEN + 2 * 16 + 4


LATENT = LatentAttention(heads=4, q_rank=24, kv_rank=32, nope_dim=16, rope_dim=8, v_dim=12)
"""DeepSeek-V2, arXiv 2405.04434, section 2.1 and appendix C, small."""


def test_latent_attention_has_the_weights_of_the_paper() -> None:
    made = graph(Block(mixer=LATENT, norms=1))
    weights = (
        HIDDEN * 24 + 24  # W_DQ and norm
        + 24 * 4 * (16 + 8)  # W_UQ and W_QR
        + HIDDEN * (32 + 8) + 32  # W_DKV, W_KR and norm
        + 32 * 4 * (16 + 12)  # W_UK and W_UV
        + 4 * 12 * HIDDEN  # W_O
    )  # fmt: skip
    assert made.parameters == weights + 2 * HIDDEN + 2 * VOCABULARY * HIDDEN


def test_latent_prompts_attend_with_full_heads_and_decoding_with_the_latent() -> None:
    made = graph(Block(mixer=LATENT))
    prompt, decode = op(made, "attention_prefill"), op(made, "attention_decode")
    assert prompt.flops_per_pair == 2 * 4 * (16 + 8) + 2 * 4 * 12 + 5 * 4
    assert decode.flops_per_pair == 2 * 4 * (32 + 8) + 2 * 4 * 32 + 5 * 4
    assert decode.kv_read == 32 + 8  # one latent and one shared key, whatever the heads
    assert decode.inputs == 4 * (32 + 8)
    assert decode.outputs == 4 * 32


def test_absorbing_costs_as_much_as_expanding_one_token() -> None:
    made = graph(Block(mixer=LATENT))
    absorb = op(made, "mla_absorb")
    assert absorb.flops_per_token == 2 * 4 * (16 * 32 + 32 * 12)  # W_UK to queries, W_UV to values
    assert not absorb.owned  # the weights are those of mla_up
    # queries and latent values in; latent queries and values out
    assert absorb.inputs == 4 * (16 + 8) + 4 * 32
    assert absorb.outputs == 4 * (32 + 8) + 4 * 12
    assert op(made, "mla_up").flops_per_cached == absorb.flops_per_token


def test_experts_touch_all_weights_but_work_on_top_k() -> None:
    experts = Experts(count=8, top_k=2, intermediate=32, shared_intermediate=48, shared_gate=True,
                      bias=True, router_bias=True)  # fmt: skip
    made = graph(Block(ffn=experts, norms=1))
    one = 3 * HIDDEN * 32 + 2 * 32 + HIDDEN  # with biases
    shared = 3 * HIDDEN * 48 + HIDDEN
    rest = HIDDEN * 8 + 8 + 2 * HIDDEN + 2 * VOCABULARY * HIDDEN
    assert made.parameters == 8 * one + shared + rest
    assert made.active_parameters_per_token == 2 * one + shared + rest
    matrices = 2 * 3 * HIDDEN * 32 + shared + HIDDEN * 8 + VOCABULARY * HIDDEN
    assert flops_per_token(made, Phase.DECODE) == 2 * matrices


def test_mamba_1_has_the_parameters_and_state_of_the_paper() -> None:
    """arXiv 2312.00752, section 3.4, and its reference implementation."""
    space = StateSpace(version=1, inner=128, state=16, conv=4, dt_rank=4)
    made = graph(Block(mixer=space, norms=1))
    weights = (
        HIDDEN * 256  # in: x and z
        + 128 * 4 + 128  # convolution and bias
        + 128 * (4 + 32)  # step size, B, C
        + 4 * 128 + 128  # step size to channels, bias
        + 128 * 16 + 128  # A and D
        + 128 * HIDDEN  # out
    )  # fmt: skip
    assert made.parameters == weights + 2 * HIDDEN + 2 * VOCABULARY * HIDDEN
    scan = op(made, "ssm_scan_decode")
    assert scan.state == 128 * 16 + 128 * 3
    assert scan.inputs == 256 + 128 + 32  # x and z, step sizes, B and C
    assert not scan.owned  # the weights are those of the prompt's scan
    assert made.kv_bytes_per_token("fp16") == 0


def test_mamba_2_has_the_parameters_and_state_of_the_paper() -> None:
    """arXiv 2405.21060, section 7, and its reference implementation."""
    space = StateSpace(version=2, inner=128, state=16, conv=4, heads=8, groups=2)
    made = graph(Block(mixer=space, norms=1))
    convolved = 128 + 2 * 2 * 16
    weights = (
        HIDDEN * (2 * 128 + 2 * 2 * 16 + 8)  # z, x, B, C, step sizes
        + convolved * 4 + convolved
        + 3 * 8 + 128  # A, D, bias of the step size; gated norm
        + 128 * HIDDEN
    )  # fmt: skip
    assert made.parameters == weights + 2 * HIDDEN + 2 * VOCABULARY * HIDDEN
    assert op(made, "ssm_scan_decode").state == 128 * 16 + convolved * 3


def test_cross_attention_reads_what_the_encoder_wrote() -> None:
    mixer = Attention(heads=4, kv_heads=4, head_dim=16, bias=True, output_bias=True)
    block = Block(mixer=mixer, cross_attention=mixer, ffn=FFN, norms=3)
    encoder = Encoder(hidden=HIDDEN, layers=(Block(mixer=mixer, ffn=FFN),), tokens=50,
                      patch_inputs=12)  # fmt: skip
    made = graph(block, encoder=encoder)
    keys_values = op(made, "cross_kv")
    assert keys_values.weights == HIDDEN * 128 + 128
    assert keys_values.stream.tokens == 50
    assert keys_values.kv_write == 128
    decode = op(made, "cross_attention_decode")
    assert (decode.kv_read, decode.kv_write) == (128, 0)
    assert made.state_bytes_per_sequence("fp16") == 50 * 128 * 2
    assert made.kv_bytes_per_token("fp16") == 128 * 2  # only the decoder's own


def test_an_encoder_of_text_looks_tokens_up_in_the_decoder_s_table() -> None:
    mixer = Attention(heads=4, kv_heads=4, head_dim=16)
    encoder = Encoder(hidden=HIDDEN, layers=(Block(mixer=mixer, ffn=FFN),))
    made = graph(Block(mixer=mixer, cross_attention=mixer, ffn=FFN), encoder=encoder)
    table = op(made, "encoder.embedding")
    assert not table.owned
    record = lower(made, Precision()).records
    row = record[made.ops.index(table)]
    assert row["weight_B_per_token"] == HIDDEN * 2
    assert row["weight_B"] == 0


def test_a_projector_works_on_the_tokens_that_leave_it() -> None:
    encoder = Encoder(hidden=32, layers=(Block(ffn=FFN),), tokens=16, output_tokens=4,
                      patch_inputs=12, projector_parameters=32 * HIDDEN)  # fmt: skip
    made = graph(Block(ffn=FFN), encoder=encoder)
    projector = op(made, "encoder.projector")
    assert 16 * projector.flops_per_token == 4 * 2 * 32 * HIDDEN
    assert 16 * (projector.inputs + projector.outputs) == 4 * (32 + HIDDEN)


def test_a_tied_head_is_read_but_not_counted() -> None:
    tied, apart = graph(Block(ffn=FFN), tied_embeddings=True), graph(Block(ffn=FFN))
    assert apart.parameters - tied.parameters == VOCABULARY * HIDDEN
    for made in (tied, apart):
        row = lower(made, Precision()).records[-1]
        assert row["weight_B"] == VOCABULARY * HIDDEN * 2


def test_formats_reach_the_bytes_they_are_of() -> None:
    """Weights, experts, KV and activations each have their own format; scales count (4.25 bits)."""
    experts = Experts(count=8, top_k=2, intermediate=32)
    mixer = Attention(heads=4, kv_heads=2, head_dim=16)
    made = graph(Block(mixer=mixer, ffn=experts))
    table = lower(made, Precision(weights="bf16", kv="fp8", experts="mxfp4"))
    rows = dict(zip([each.name for each in made.ops], table.records, strict=True))
    assert rows["qkv"]["weight_B"] == HIDDEN * 128 * 2
    assert rows["qkv"]["activation_B_per_token"] == (HIDDEN + 128) * 2
    assert rows["router"]["weight_B"] == HIDDEN * 8 * 2
    assert rows["experts_up"]["weight_B"] == 8 * HIDDEN * 64 * 4.25 / 8
    assert rows["attention_decode"]["kv_B_per_cached"] == 64
    assert made.weight_bytes("bf16", "mxfp4") == (
        (made.parameters - 8 * 3 * HIDDEN * 32) * 2 + 8 * 3 * HIDDEN * 32 * 4.25 / 8
    )


def test_equal_layers_are_one_row_and_remember_which_they_are() -> None:
    local = Block(mixer=Attention(heads=4, kv_heads=2, head_dim=16, window=8), ffn=FFN)
    full = Block(mixer=Attention(heads=4, kv_heads=2, head_dim=16), ffn=FFN)
    made = graph(local, local, full, local, local, full)
    rows = [each for each in made.ops if each.name == "attention_decode"]
    assert [(each.layers, each.layer_indices, each.stream.window) for each in rows] == [
        (4, (0, 1, 3, 4), 8), (2, (2, 5), None),
    ]  # fmt: skip
