"""Reading config.json: every family, every mistake one clear error, no file brings it down."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from configs import LLAMA, MOE, changed, problems, windows
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import ConfigError
from sim.workload.architecture import Architecture, Attention, Experts, FeedForward, LatentAttention
from sim.workload.hugging_face import architecture_from_config, architecture_from_json
from sim.workload.hugging_face.families import FAMILIES
from sim.workload.layers import build_graph


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hidden_size", None, "is missing"),
        ("hidden_size", 0, "whole number from 1 to"),
        ("num_hidden_layers", -3, "whole number from 1 to"),
        ("num_hidden_layers", 10**9, "from 1 to 1000 is due"),
        ("intermediate_size", 1e30, "whole number from 1 to"),
        ("intermediate_size", 512.5, "whole number"),
        ("intermediate_size", math.nan, "whole number"),
        ("intermediate_size", math.inf, "whole number"),
        ("vocab_size", "many", "whole number"),
        ("vocab_size", True, "whole number"),
        ("vocab_size", [1], "whole number"),
        ("num_attention_heads", 7, "do not divide"),
        ("num_key_value_heads", 3, "do not divide"),
        ("tie_word_embeddings", "yes", "true or false"),
        ("torch_dtype", 16, "text is due"),
        ("layer_types", "sliding", "a list is due"),
        ("layer_types", ["full_attention"], "1 entries for 4 layers"),
        ("quantization_config", 8, "an object is due"),
    ],
)
def test_an_absurd_dimension_is_named(key: str, value: Any, words: str) -> None:
    found = problems(changed(**{key: value}))
    assert words in found[key]


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(changed(hidden_size=None, num_hidden_layers=0, vocab_size="x"))
    assert {"hidden_size", "num_hidden_layers", "vocab_size"} <= set(found)


def test_more_experts_a_token_than_there_are() -> None:
    found = problems(changed(model_type="qwen3_moe", **{**MOE, "num_experts_per_tok": 9}))
    assert "only 8 experts" in found["num_experts_per_tok"]


def test_pattern_with_unknown_letters() -> None:
    config = changed(model_type="nemotron_h", hybrid_override_pattern="M-X", mamba_num_heads=4,
                     mamba_head_dim=8, ssm_state_size=8)  # fmt: skip
    assert "letters" in problems(config)["hybrid_override_pattern"]


@pytest.mark.parametrize("kind", ["llma", "mixtrl", 3, None, ["llama"]])
def test_an_unknown_family_says_what_is_known(kind: Any) -> None:
    found = problems({**changed(), "model_type": kind})
    assert "mixtral" in found["model_type"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b'{"model_type": "llama",', "is not JSON"),
        (b"\xff\xfe\x00\x01", "not a text file"),
        (b"[1, 2]", "a JSON object"),
        (b"3", "a JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": ' * 50_000, "is not JSON"),
        (b'{"hidden_size": ' + b"9" * 10_000 + b"}", ""),
    ],
)
def test_a_file_that_is_no_config_is_one_error(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        architecture_from_json(path)
    assert all(each.file == str(path) for each in caught.value.problems)
    assert words in caught.value.problems[0].message


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"did you mean .*config\.json"):
        architecture_from_json(tmp_path / "confg.json")


def test_the_line_of_a_wrong_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(changed(num_hidden_layers=-1), indent=2))
    with pytest.raises(ConfigError) as caught:
        architecture_from_json(path)
    (problem,) = caught.value.problems
    assert "num_hidden_layers" in path.read_text().splitlines()[int(str(problem.line)) - 1]


def test_a_config_json_is_named_after_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(changed()))
    assert architecture_from_json(folder / "config.json").name == "my-model"
    (folder / "other.json").write_text(json.dumps(changed()))
    assert architecture_from_json(folder / "other.json").name == "other"


def test_names_of_other_formats_mean_the_same() -> None:
    hugging_face = changed(model_type="opt", num_key_value_heads=None, max_position_embeddings=64)
    fairseq = {
        "hidden_dim": 256, "num_layers": 4, "n_head": 8, "ffn_embed_dim": 512, "vocab_size": 1000,
        "max_seq_len": 64,
    }  # fmt: skip
    assert build_graph(architecture_from_config(hugging_face, "a")).ops == (
        build_graph(architecture_from_config(fairseq, "b")).ops
    )


def test_tied_embeddings_count_once() -> None:
    apart = build_graph(architecture_from_config(changed(), "a")).parameters
    tied = build_graph(architecture_from_config(changed(tie_word_embeddings=True), "a")).parameters
    assert apart - tied == 1000 * 256


def test_qwen_biases_and_norms() -> None:
    second = architecture_from_config(changed(model_type="qwen2"), "a").layers[0].mixer
    third = architecture_from_config(changed(model_type="qwen3", head_dim=64), "a").layers[0].mixer
    assert isinstance(second, Attention)
    assert isinstance(third, Attention)
    assert (second.bias, second.output_bias, second.qk_norm) == (True, False, False)
    assert (third.bias, third.qk_norm, third.head_dim) == (False, True, 64)


def test_a_window_that_is_switched_off_is_none() -> None:
    off = changed(model_type="qwen2", sliding_window=128, use_sliding_window=False)
    on = {**off, "use_sliding_window": True, "max_window_layers": 2}
    assert windows(off) == [None] * 4
    assert windows(on) == [None, None, 128, 128]


def test_experts_in_every_other_layer() -> None:
    config = changed(model_type="qwen2_moe", decoder_sparse_step=2,
                     shared_expert_intermediate_size=96, **MOE)  # fmt: skip
    kinds = [type(block.ffn) for block in architecture_from_config(config, "a").layers]
    assert kinds == [FeedForward, Experts, FeedForward, Experts]


def test_gpt_oss_experts_are_published_in_mxfp4() -> None:
    config = changed(
        model_type="gpt_oss", num_local_experts=8, num_experts_per_tok=2, sliding_window=128,
        quantization_config={"quant_method": "mxfp4"},
        layer_types=["sliding_attention", "full_attention"] * 2,
    )  # fmt: skip
    made = architecture_from_config(config, "a")
    assert (made.weights_dtype, made.quantised_experts_dtype) == ("bf16", "mxfp4")
    assert windows(config) == [128, None, 128, None]


def test_multi_token_prediction_layers_are_not_counted() -> None:
    config = {
        **changed(model_type="deepseek_v3"), "q_lora_rank": 64, "kv_lora_rank": 32,
        "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_shared_experts": 1,
        "first_k_dense_replace": 1,
    }  # fmt: skip
    plain = architecture_from_config(config, "a")
    assert plain == architecture_from_config({**config, "num_nextn_predict_layers": 1}, "a")
    assert isinstance(plain.layers[0].mixer, LatentAttention)
    assert [type(block.ffn) for block in plain.layers] == [FeedForward, Experts, Experts, Experts]


def given_or_refused(config: dict[str, Any]) -> Architecture | None:
    """The architecture, or None where the config is refused as one should be."""
    try:
        return architecture_from_config(config, "fuzz")
    except ConfigError:
        return None


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip
KEYS = sorted({*LLAMA, *MOE, "head_dim", "layer_types", "sliding_window", "torch_dtype",
               "quantization_config", "text_config", "vision_config", "hybrid_override_pattern",
               "kv_lora_rank", "q_lora_rank", "n_routed_experts", "num_local_experts", "d_model",
               "mlp_only_layers", "attn_layer_period", "state_size", "expand"})  # fmt: skip


@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(st.sampled_from(KEYS), junk, max_size=6))
def test_any_config_gives_an_architecture_or_a_config_error(
    family: str, keys: dict[str, Any]
) -> None:
    config = {**LLAMA, **MOE, "hybrid_override_pattern": "M*-M", **keys, "model_type": family}
    made = given_or_refused(config)
    assert made is None or build_graph(made).parameters > 0
