"""What each family reads from its keys: windows, formats, defaults of its library, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from configs import LLAMA, MOE, changed, problems, windows

from sim.errors import ConfigError
from sim.workload.architecture import Attention, Experts, FeedForward, StateSpace
from sim.workload.hugging_face import architecture_from_config, architecture_from_json
from sim.workload.layers import build_graph


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hidden_size", 10**12, "from 1 to 16777216 is due"),
        ("hidden_size", 10**400, "from 1 to 16777216 is due"),  # no float holds it
        ("torch_dtype", "float7", "not known"),
        ("layer_types", ["full_attention"] * 3 + [7], "7: full_attention"),
        ("layer_types", ["linear_attention"] * 4, "sliding_attention or chunked_attention is due"),
        ("layer_types", ["full_attention"] * 3 + [["full_attention"]], "is due"),
    ],
)
def test_an_absurd_value_is_named(key: str, value: Any, words: str) -> None:
    assert words in problems(changed(**{key: value}))[key]


@pytest.mark.parametrize("value", [[[1]], ["0"], [-1], [True]])
def test_lists_of_layers_are_whole_numbers(value: Any) -> None:
    moe = changed(model_type="qwen3_moe", mlp_only_layers=value, **MOE)
    assert "a list of whole numbers" in problems(moe)["mlp_only_layers"]


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("t5", "num_layers"), ("t5", "num_decoder_layers"), ("whisper", "encoder_layers"),
        ("whisper", "decoder_layers"), ("bert", "num_hidden_layers"), ("vit", "num_hidden_layers"),
        ("mamba", "num_hidden_layers"),
    ],
)  # fmt: skip
def test_no_family_builds_a_billion_layers(family: str, key: str) -> None:
    sizes = {"d_model": 256, "num_layers": 2, "encoder_attention_heads": 4, "encoder_layers": 2,
             "decoder_layers": 2}  # fmt: skip
    config = {**LLAMA, **sizes, "model_type": family, key: 10**9}
    if key == "num_layers":
        del config["num_hidden_layers"]
    assert "to 1000 is due" in problems(config)[key]


def test_one_mistake_is_one_problem() -> None:
    """What follows from a wrong number is not told again: heads that do not divide it, say."""
    assert set(problems(changed(num_attention_heads=0))) == {"num_attention_heads"}
    moe = changed(model_type="qwen3_moe", **{**MOE, "num_experts": "x"})
    assert set(problems(moe)) == {"num_experts"}


def test_a_misspelt_key_is_guessed() -> None:
    wrong = {**changed(hidden_size=None), "hiden_size": 256}
    assert "'hiden_size' misspelt" in problems(wrong)["hidden_size"]


def test_lines_of_nested_keys(tmp_path: Path) -> None:
    """The same key stands in several objects: the line is of the one that is wrong."""
    path = tmp_path / "config.json"
    config = {
        "model_type": "gemma3",
        "vision_config": {"hidden_size": 64, "image_size": 224, "note": 'a "quoted": {'},
        "text_config": {"hidden_size": 0, "num_hidden_layers": 2, "intermediate_size": 64},
        "other": {"hidden_size": 9},
    }
    path.write_text(json.dumps(config, indent=1))
    with pytest.raises(ConfigError) as caught:
        architecture_from_json(path)
    (problem,) = [each for each in caught.value.problems if each.path == "text_config.hidden_size"]
    lines = path.read_text().splitlines()
    assert lines[int(str(problem.line)) - 1].strip() == '"hidden_size": 0,'


@pytest.mark.parametrize(
    ("quantisation", "dtype"),
    [
        ({"quant_method": "fp8", "fmt": "e4m3"}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
        (None, "bf16"),
    ],
)
def test_formats_of_quantised_files(quantisation: Any, dtype: str) -> None:
    config = changed(quantization_config=quantisation, torch_dtype="bfloat16")
    assert architecture_from_config(config, "a").weights_dtype == dtype


@pytest.mark.parametrize(
    ("quantisation", "key"),
    [({"quant_method": "magic"}, "quant_method"), ({"quant_method": "gptq", "bits": 3}, "bits")],
)
def test_unknown_quantisation_is_refused(quantisation: Any, key: str) -> None:
    assert f"quantization_config.{key}" in problems(changed(quantization_config=quantisation))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("llama", "bf16"), ("opt", "fp16"), ("bert", "fp32"), ("gpt2", "fp32")],
)
def test_a_file_without_a_format_has_that_of_its_family(kind: str, dtype: str) -> None:
    made = architecture_from_config(changed(model_type=kind, num_key_value_heads=None), "a")
    assert made.weights_dtype == dtype


def test_qwen_windows_are_off_unless_switched_on() -> None:
    assert windows(changed(model_type="qwen2", sliding_window=128)) == [None] * 4
    moe = changed(model_type="qwen2_moe", sliding_window=128, use_sliding_window=True,
                  max_window_layers=3, shared_expert_intermediate_size=64, **MOE)  # fmt: skip
    assert windows(moe) == [None, None, None, 128]


def test_layer_types_decide_over_the_habit_of_a_family() -> None:
    kinds = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
    config = changed(sliding_window=64, layer_types=kinds)
    for family in ("llama", "gemma2", "gemma3"):
        assert windows({**config, "model_type": family}) == [None, None, 64, None]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("mistral", [64] * 7),
        ("phi3", [64] * 7),
        ("gemma2", [64, None, 64, None, 64, None, 64]),
        ("gemma3", [64, 64, 64, 64, 64, None, 64]),
        ("gpt_oss", [64, None, 64, None, 64, None, 64]),
    ],
)
def test_windows_where_the_file_lists_no_layers(family: str, expected: list[int | None]) -> None:
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    config = changed(model_type=family, sliding_window=64, num_hidden_layers=7, **experts)
    assert windows(config) == expected


LLAMA4 = changed(
    model_type="llama4_text", num_local_experts=8, num_experts_per_tok=1, attention_chunk_size=64,
    intermediate_size_mlp=1024, interleave_moe_layer_step=2,
)  # fmt: skip


def test_llama_4_interleaves_chunks_and_experts() -> None:
    made = architecture_from_config(LLAMA4, "a")
    assert windows(LLAMA4) == [64, 64, 64, None]
    mixer = made.layers[0].mixer
    assert isinstance(mixer, Attention)
    assert mixer.local == "chunked"
    kinds = [type(block.ffn) for block in made.layers]
    assert kinds == [FeedForward, Experts, FeedForward, Experts]
    dense, moe = made.layers[0].ffn, made.layers[1].ffn
    assert isinstance(dense, FeedForward)
    assert isinstance(moe, Experts)
    assert (dense.intermediate, moe.intermediate, moe.shared_intermediate) == (1024, 512, 512)
    listed = architecture_from_config({**LLAMA4, "moe_layers": [0]}, "a").layers
    assert [type(block.ffn) for block in listed] == [Experts, *[FeedForward] * 3]


def test_the_format_of_a_nested_text_model_is_that_of_the_outer_file() -> None:
    outer = {
        "model_type": "llama4", "text_config": {**LLAMA4, "torch_dtype": "float32"},
        "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"},
    }  # fmt: skip
    assert architecture_from_config(outer, "a").weights_dtype == "fp8"


def test_gemma_3_4b_leaves_its_heads_out() -> None:
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "sliding_window": 1024}  # fmt: skip
    made = architecture_from_config({"model_type": "gemma3", "text_config": text}, "a")
    mixer = made.layers[0].mixer
    assert isinstance(mixer, Attention)
    assert (mixer.heads, mixer.kv_heads, mixer.head_dim) == (8, 4, 256)
    # 675 M of embeddings and 3,209 M of other weights: Gemma 3 report, arXiv 2503.19786, table 1
    assert build_graph(made).parameters == pytest.approx((675 + 3209) * 1e6, rel=0.005)


@pytest.mark.parametrize("rank", ["auto", None, 16])
def test_the_rank_of_the_step_size_may_be_automatic(rank: Any) -> None:
    config = {"model_type": "mamba", "hidden_size": 250, "num_hidden_layers": 2, "vocab_size": 9,
              "time_step_rank": rank}  # fmt: skip
    mixer = architecture_from_config(config, "a").layers[0].mixer
    assert isinstance(mixer, StateSpace)
    assert mixer.dt_rank == 16  # 250 / 16, rounded up


@pytest.mark.parametrize(
    "name", ["Qwen3MoeForCausalLM", "LlamaForCausalLM", "GPT2LMHeadModel", "OPTForCausalLM"]
)
def test_a_family_by_its_class(name: str) -> None:
    config = {**changed(model_type=None, **MOE), "architectures": [name]}
    assert len(architecture_from_config(config, "a").layers) == 4


@pytest.mark.parametrize("name", [["AdoptForCausalLM"], [], {}, [3], "Phi3SmallForCausalLM"])
def test_a_class_that_only_sounds_like_a_family(name: Any) -> None:
    found = problems({**changed(model_type=None), "architectures": name})
    assert "missing" in found["model_type"]


def test_projected_embeddings_are_refused() -> None:
    config = changed(model_type="opt", num_key_value_heads=None, word_embed_proj_dim=128)
    assert "not supported" in problems(config)["word_embed_proj_dim"]


def test_whisper_in_the_words_of_hugging_face() -> None:
    native = {
        "model_type": "whisper", "n_mels": 80, "n_audio_ctx": 100, "n_audio_state": 64,
        "n_audio_head": 4, "n_audio_layer": 2, "n_vocab": 1000, "n_text_ctx": 50,
        "n_text_layer": 3,
    }  # fmt: skip
    theirs = {
        "model_type": "whisper", "num_mel_bins": 80, "max_source_positions": 100, "d_model": 64,
        "encoder_attention_heads": 4, "encoder_layers": 2, "vocab_size": 1000,
        "max_target_positions": 50, "decoder_layers": 3, "encoder_ffn_dim": 256,
    }  # fmt: skip
    assert architecture_from_config(native, "a") == architecture_from_config(theirs, "a")


def test_vit_counts_its_labels() -> None:
    config = {"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}}
    assert architecture_from_config(config, "a").head_outputs == 2
    assert "image" in problems({**config, "patch_size": 300})["patch_size"]


def test_jamba_with_one_expert_is_dense() -> None:
    config = changed(model_type="jamba", num_experts=1, num_experts_per_tok=1)
    kinds = {type(block.ffn) for block in architecture_from_config(config, "a").layers}
    assert kinds == {FeedForward}


def test_deepseek_v2_lite_projects_queries_directly() -> None:
    config = {
        "model_type": "deepseek_v2", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 10,
        "num_attention_heads": 4, "intermediate_size": 96, "q_lora_rank": None, "kv_lora_rank": 16,
        "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
    }  # fmt: skip
    by_hand = (
        2 * 10 * 64  # embedding and head
        + 64 * 4 * 12  # queries
        + 64 * (16 + 4) + 16  # latent, shared key, norm of the latent
        + 16 * 4 * (8 + 8)  # keys and values from the latent
        + 4 * 8 * 64  # output
        + 3 * 64 * 96  # dense feed-forward
        + 3 * 64  # norms: two in the layer, one at the end
    )  # fmt: skip
    assert build_graph(architecture_from_config(config, "a")).parameters == by_hand
