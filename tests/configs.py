"""A small config.json to change, and what reading it gives; shared by tests of families."""

from __future__ import annotations

from typing import Any

import pytest

from sim.errors import ConfigError
from sim.workload.architecture import Attention
from sim.workload.hugging_face import architecture_from_config

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 1000,
}  # fmt: skip
MOE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}


def changed(**keys: Any) -> dict[str, Any]:
    return {key: value for key, value in {**LLAMA, **keys}.items() if value is not None}


def windows(config: dict[str, Any]) -> list[int | None]:
    """The window of each layer."""
    mixers = [block.mixer for block in architecture_from_config(config, "test").layers]
    return [mixer.window for mixer in mixers if isinstance(mixer, Attention)]


def problems(config: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        architecture_from_config(config, "test")
    return {str(each.path): each.message for each in caught.value.problems}
