"""Keys of a config.json under all the names they go by, with every wrong value remembered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sim.errors import ConfigError, Problem

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "hidden": ("hidden_size", "d_model", "n_embd", "dim", "hidden_dim", "hidden"),
    "layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "num_blocks"),
    "heads": ("num_attention_heads", "n_heads", "n_head", "attn_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "n_kv_heads", "num_kv_heads"),
    "head_dim": ("head_dim", "attention_head_dim", "attn_size", "d_kv"),
    "intermediate": (
        "intermediate_size", "inter_dim", "ffn_dim", "ffn_embed_dim", "feedforward", "d_ff",
        "n_inner",
    ),
    "vocabulary": ("vocab_size", "n_vocab"),
    "context": ("max_position_embeddings", "max_seq_len", "n_positions", "seq_size", "n_ctx"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "top_k": (
        "num_experts_per_tok", "num_experts_per_token", "n_activated_experts", "experts_per_token",
    ),
    "expert_intermediate": ("moe_intermediate_size", "moe_inter_dim"),
    "shared_experts": ("n_shared_experts",),
    "dense_layers": ("first_k_dense_replace", "n_dense_layers"),
    "window": ("sliding_window",),
    "dtype": ("torch_dtype", "dtype"),
}  # fmt: skip
"""Our word for a dimension, and what Hugging Face, DeepSeek, calculon and others call it."""

LARGEST: Final = 1 << 40
"""No dimension of a model is larger; more is a typing mistake."""


@dataclass(kw_only=True)
class Config:
    """One mapping of a config.json. Wrong values are collected and answered with 1."""

    data: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What the family's library assumes where a file says nothing."""
    path: str = ""
    problems: list[Problem] = field(default_factory=list)

    def find(self, name: str) -> tuple[str, Any]:
        """The key a file uses for `name`, and its value; None where it has none."""
        names = ALIASES.get(name, (name,))
        for key in names:
            if self.data.get(key) is not None:
                return key, self.data[key]
        for key in names:
            if self.defaults.get(key) is not None:
                return key, self.defaults[key]
        return names[0], None

    def has(self, name: str) -> bool:
        """Whether there is a value for `name`."""
        return self.find(name)[1] is not None

    def wrong(self, key: str, message: str) -> None:
        """Remember a problem at `key`."""
        self.problems.append(Problem(path=f"{self.path}{key}", message=message))

    def whole(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """The whole number called `name`, from `least`; required without a default."""
        key, value = self.find(name)
        if value is None:
            if default is None:
                self.wrong(key, "is missing: a whole number is due")
                return 1
            return default
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value != int(value):
            self.wrong(key, f"{_shown(value)}: a whole number is due")
            return 1
        if not least <= value <= LARGEST:
            self.wrong(key, f"{_shown(value)}: a whole number from {least} is due")
            return 1
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """The truth value called `name`."""
        key, value = self.find(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(key, f"{_shown(value)}: true or false is due")
            return default
        return value

    def text(self, name: str, default: str = "") -> str:
        """The text called `name`."""
        key, value = self.find(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.wrong(key, f"{_shown(value)}: text is due")
            return default
        return value

    def items(self, name: str) -> list[Any] | None:
        """The list called `name`, or None."""
        key, value = self.find(name)
        if value is not None and not isinstance(value, list):
            self.wrong(key, f"{_shown(value)}: a list is due")
            return None
        return value

    def part(self, name: str, defaults: Mapping[str, Any] | None = None) -> Config:
        """The mapping called `name` (empty if absent), sharing this one's problems."""
        value = self.data.get(name)
        if value is not None and not isinstance(value, Mapping):
            self.wrong(name, f"{_shown(value)}: an object is due")
            value = None
        return Config(
            data=value or {},
            defaults=defaults or {},
            path=f"{self.path}{name}.",
            problems=self.problems,
        )

    def divides(self, parts: int, whole: int, key: str, what: str) -> None:
        """Remember a problem where `parts` does not divide `whole`."""
        if whole % parts:
            self.wrong(key, f"{parts} {what} do not divide {whole}")

    def stop_if_wrong(self) -> None:
        """ConfigError with everything found so far."""
        if self.problems:
            raise ConfigError(list(dict.fromkeys(self.problems)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else text[:37] + "..."
